//! Queues that belong to one connection.

use leveret_protocol::method::basic;
use leveret_protocol::method::queue::{Bind, Declare, Delete, Purge, Unbind};
use leveret_protocol::{Method, MethodId, TableBuf, Value};

use super::queue::{
    declare_with_dead_letters, expect_declare_refused, expect_gone, expect_nothing_came_to, fill,
    locked, passive,
};
use crate::failure::{Failure, expect_eq};
use crate::raw::{Expected, RawConnection, Text, durable_queue};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("EXCL", &[RULES]);

rules! {
    "EXCL-01" belongs_to_the_connection [raw] "All channels of the connection may use it.";
    "EXCL-02" gone_after_close [raw] "It is gone when its connection's close is answered.";
    "EXCL-02" gone_after_drop [raw] "It goes when its connection is lost.";
    "EXCL-03" others_are_refused [raw] "No other connection may use it.";
    "EXCL-03" others_may_not_declare [raw] "… or declare it, however they do so.";
    "EXCL-04" anyone_may_publish [raw] "Any connection may publish to it.";
    "EXCL-05" durable_makes_no_difference [raw] "It is transient, whatever the durable flag says.";
    "EXCL-06" locked_comes_first [raw] "405 comes before every 406.";
    "EXCL-07" stays_exclusive [raw] "Its own connection cannot declare it shared.";
    "EXCL-08" outlives_its_consumers [raw] "It is not deleted with its last consumer.";
    "EXCL-08" unless_auto_delete [raw] "… unless it is declared auto-delete too.";
    "EXCL-09" end_does_not_dead_letter [raw] "Its end does not dead-letter.";
    "EXCL-10" no_takeover [raw] "The same user on another connection is another connection.";
}

fn exclusive(name: &str) -> Declare<'_> {
    Declare {
        exclusive: true,
        queue: name.into(),
        ..Default::default()
    }
}

/// A connection that owns an exclusive queue, another connection, and the queue's name.
async fn owned(t: &Trial) -> Result<(RawConnection, RawConnection, String), Failure> {
    let (mut owner, other) = (t.raw().await?, t.raw().await?);
    let name = t.name("q");
    owner.declare(1, exclusive(&name)).await?;
    Ok((owner, other, name))
}

async fn belongs_to_the_connection(t: &Trial) -> Result<(), Failure> {
    let (mut owner, _, name) = owned(t).await?;
    owner.open_channel(2).await?;
    owner.declare(2, exclusive(&name)).await?;
    owner.publish(2, "", &name, "on the second channel").await?;
    owner.close_channel(1).await?;
    owner
        .take_text(2, &name, "on the second channel")
        .await
        .map(drop)
}

async fn gone_after_close(t: &Trial) -> Result<(), Failure> {
    let (owner, mut other, name) = owned(t).await?;
    owner.close().await?;
    expect_gone(&mut other, &name, t.vhost()).await
}

async fn gone_after_drop(t: &Trial) -> Result<(), Failure> {
    let (owner, mut other, name) = owned(t).await?;
    drop(owner);
    await_unlocked(&mut other, &name).await?;
    expect_gone(&mut other, &name, t.vhost()).await
}

/// Asks for the queue until it is no longer locked. The broker tells nobody when it notices the end
/// of a connection, so asking is the only way to know; the test's deadline bounds it.
async fn await_unlocked(raw: &mut RawConnection, name: &str) -> Result<(), Failure> {
    let refused = |code| Expected::ChannelClose {
        channel: 1,
        code: Some(code),
        text: Text::any(),
        culprit: Some(Declare::ID),
    };
    let mut is_locked = true;
    while is_locked {
        raw.send_method(1, passive(name)).await?;
        let answer = raw.expect_any_of(&[refused(404), refused(405)]).await?;
        is_locked = answer == 1;
        raw.open_channel(1).await?;
    }
    Ok(())
}

/// What another connection may try with a queue, apart from declaring it.
fn attempts(name: &str) -> [(Method<'_>, MethodId); 6] {
    let queue = name.into();
    let bind = Bind {
        queue,
        exchange: "amq.fanout".into(),
        ..Default::default()
    };
    let unbind = Unbind {
        queue,
        exchange: "amq.direct".into(),
        routing_key: queue,
        ..Default::default()
    };
    let consume = basic::Consume {
        queue,
        ..Default::default()
    };
    let get = basic::Get {
        queue,
        ..Default::default()
    };
    let purge = Purge {
        queue,
        ..Default::default()
    };
    let delete = Delete {
        queue,
        ..Default::default()
    };
    [
        (bind.into(), Bind::ID),
        (unbind.into(), Unbind::ID),
        (consume.into(), basic::Consume::ID),
        (get.into(), basic::Get::ID),
        (purge.into(), Purge::ID),
        (delete.into(), Delete::ID),
    ]
}

async fn others_are_refused(t: &Trial) -> Result<(), Failure> {
    let (mut owner, mut other, name) = owned(t).await?;
    owner.bind(1, &name, "amq.direct", &name).await?;
    for (attempt, id) in attempts(&name) {
        other.send_method(1, attempt).await?;
        let refused = other.expect_channel_close(1, 405, locked(&name, t.vhost()), id);
        let refused = refused.await;
        refused.map_err(|failure| failure.at(format!("{attempt:?}")))?;
        other.open_channel(1).await?;
    }
    owner.publish(1, "amq.direct", &name, "still bound").await?;
    owner.take_text(1, &name, "still bound").await.map(drop)
}

async fn others_may_not_declare(t: &Trial) -> Result<(), Failure> {
    let (_owner, mut other, name) = owned(t).await?;
    for passive in [false, true] {
        for exclusive in [false, true] {
            let declare = Declare {
                passive,
                exclusive,
                queue: name.as_str().into(),
                ..Default::default()
            };
            let text = locked(&name, t.vhost());
            expect_declare_refused(&mut other, declare, 405, text).await?;
        }
    }
    Ok(())
}

async fn anyone_may_publish(t: &Trial) -> Result<(), Failure> {
    let (mut owner, mut other, name) = owned(t).await?;
    fill(&mut other, &name, &["from elsewhere"]).await?;
    owner.take_text(1, &name, "from elsewhere").await.map(drop)
}

async fn durable_makes_no_difference(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    for first in [false, true] {
        let name = t.name(if first { "durable" } else { "transient" });
        for durable in [first, false, true] {
            let declare = Declare {
                durable,
                ..exclusive(&name)
            };
            raw.declare(1, declare).await?;
        }
    }
    Ok(())
}

async fn locked_comes_first(t: &Trial) -> Result<(), Failure> {
    let (mut owner, mut other, name) = owned(t).await?;
    fill(&mut owner, &name, &["a", "b"]).await?;
    owner.prefetch(1, 1, false).await?;
    owner.consume(1, &name).await?;
    owner.expect_delivery(1).await?;
    for (if_unused, if_empty) in [(true, false), (false, true)] {
        let delete = Delete {
            queue: name.as_str().into(),
            if_unused,
            if_empty,
            ..Default::default()
        };
        other.send_method(1, delete).await?;
        let text = locked(&name, t.vhost());
        other.expect_channel_close(1, 405, text, Delete::ID).await?;
        other.open_channel(1).await?;
    }
    let arguments = TableBuf::new().with("x-max-length", Value::I32(1));
    let different = Declare {
        auto_delete: true,
        arguments: arguments.view(),
        ..durable_queue(&name)
    };
    let text = locked(&name, t.vhost());
    expect_declare_refused(&mut other, different, 405, text).await
}

async fn stays_exclusive(t: &Trial) -> Result<(), Failure> {
    let (mut owner, _, name) = owned(t).await?;
    let shared = Declare {
        exclusive: false,
        ..exclusive(&name)
    };
    let text = locked(&name, t.vhost());
    expect_declare_refused(&mut owner, shared, 405, text).await
}

async fn outlives_its_consumers(t: &Trial) -> Result<(), Failure> {
    let (mut owner, _, name) = owned(t).await?;
    let tag = owner.consume(1, &name).await?;
    owner.cancel(1, &tag).await?;
    owner.inspect_queue(1, &name).await.map(drop)
}

async fn unless_auto_delete(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    let declare = Declare {
        auto_delete: true,
        ..exclusive(&name)
    };
    raw.declare(1, declare).await?;
    let tag = raw.consume(1, &name).await?;
    raw.cancel(1, &tag).await?;
    expect_gone(&mut raw, &name, t.vhost()).await
}

async fn end_does_not_dead_letter(t: &Trial) -> Result<(), Failure> {
    let (mut owner, mut other) = (t.raw().await?, t.raw().await?);
    let (name, dead) = (t.name("q"), t.name("dead"));
    declare_with_dead_letters(&mut owner, exclusive(&name), &dead).await?;
    fill(&mut owner, &name, &["unacked", "ready"]).await?;
    owner.get(1, &name).await?;
    owner.close().await?;
    expect_gone(&mut other, &name, t.vhost()).await?;
    expect_nothing_came_to(&mut other, &dead).await
}

async fn no_takeover(t: &Trial) -> Result<(), Failure> {
    let (mut owner, mut other, name) = owned(t).await?;
    // The queue belongs to the connection even while that has no channel.
    owner.close_channel(1).await?;
    let text = locked(&name, t.vhost());
    expect_declare_refused(&mut other, exclusive(&name), 405, text).await?;
    owner.close().await?;
    let declared = other.declare(1, exclusive(&name)).await?;
    expect_eq("message count", declared.message_count, 0)?;
    // Whoever declares it next owns it.
    let mut third = t.raw().await?;
    let text = locked(&name, t.vhost());
    expect_declare_refused(&mut third, passive(&name), 405, text).await
}
