//! Declaring: names, what is answered, and passive declares.

use leveret_protocol::method::queue::{Bind, BindOk, Declare, DeclareOk, Delete, DeleteOk};
use leveret_protocol::{ShortStr, TableBuf, Value};

use super::{
    consume_blocked, expect_declare_refused, expect_gone, fill, get_unacked, locked, not_found,
    passive, transient,
};
use crate::client;
use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::{Expected, Text, durable_queue, transient_exchange};
use crate::trial::Trial;

variants! { TRANSIENT_QUEUES: "QUEUE-32" {
    ALLOWED "allowed" "A queue may be neither durable nor exclusive.";
    DENIED "denied" "A queue that is neither durable nor exclusive ends the connection with 541.";
} }

rules! {
    "QUEUE-01" new_queue "A new queue is answered with its name and two zeros.";
    "QUEUE-02" existing_queue [raw] "An existing queue is answered with its counts.";
    "QUEUE-03" unacked_is_not_counted [raw] "The message count is that of ready messages.";
    "QUEUE-04" counts_may_lag [raw] "Publishes may be counted late; get and purge wait for them.";
    "QUEUE-05" server_named [raw] "A queue without a name is given one.";
    "QUEUE-06" passive_without_name [raw] "A passive declare of the empty name is 404.";
    "QUEUE-07" reserved_prefix [raw] "New names must not start with amq.";
    "QUEUE-07" reserved_prefix_of_existing [raw] "… even where such a queue exists.";
    "QUEUE-08" passive_declare_of_missing [raw] "A passive declare of a missing queue is 404.";
    "QUEUE-09" passive_declare_compares_nothing [raw] "A passive declare checks the name alone.";
    "QUEUE-09" passive_declare_of_locked [raw] "… and whether another connection owns the queue.";
    "QUEUE-10" passive_nowait [raw] "With no-wait a passive declare answers errors only.";
    "QUEUE-15" nowait_declare [raw] "With no-wait there is no reply, yet the queue exists.";
    "QUEUE-29" any_characters [raw] "Names may hold spaces, slashes, NUL and any UTF-8.";
    "QUEUE-29" line_breaks_are_stripped [raw] "CR and LF are taken out of names.";
    "QUEUE-30" queue_limit [raw, fixtures, lock("leveret-two-queues")] "A vhost's limit is kept.";
    "QUEUE-31" untestable
        "A queue whose node is down is 404."
        "needs a cluster of which a node is down";
    "QUEUE-32" transient_queue [raw, variants(&[TRANSIENT_QUEUES])]
        "A transient queue lasts as long as the broker.";
    "QUEUE-34" default_exchange_at_once [raw] "The default exchange reaches a queue at once.";
}

async fn new_queue(t: &Trial) -> Result<(), Failure> {
    let channel = t.channel().await?;
    let name = t.name("q");
    let queue = client::declare_queue(&channel, &name).await?;
    expect_eq("name", queue.name().as_str(), name.as_str())?;
    expect_eq("message count", queue.message_count(), 0)?;
    expect_eq("consumer count", queue.consumer_count(), 0)
}

async fn existing_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    fill(&mut raw, &name, &["a", "b", "c"]).await?;
    let counts = raw.declare_queue(1, &name).await?;
    expect_eq("messages without consumers", counts.message_count, 3)?;
    expect_eq("no consumers", counts.consumer_count, 0)?;
    // Both consumers are blocked by their prefetch.
    for consumers in 1..=2 {
        consume_blocked(&mut raw, 1, &name, 1).await?;
        let counts = raw.declare_queue(1, &name).await?;
        expect_eq("name", counts.name, name.as_str())?;
        expect_eq("messages", counts.message_count, 3 - consumers)?;
        expect_eq("consumers", counts.consumer_count, consumers)?;
    }
    Ok(())
}

async fn unacked_is_not_counted(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    fill(&mut raw, &name, &["a", "b"]).await?;
    for ready in [1, 0] {
        get_unacked(&mut raw, &name).await?;
        let counts = raw.declare_queue(1, &name).await?;
        expect_eq("ready messages", counts.message_count, ready)?;
    }
    Ok(())
}

async fn counts_may_lag(t: &Trial) -> Result<(), Failure> {
    const PUBLISHED: u32 = 50;
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    for _ in 0..PUBLISHED {
        raw.publish(1, "", &name, "counted late").await?;
    }
    let counts = raw.declare_queue(1, &name).await?;
    let came = format!("{} messages were counted", counts.message_count);
    ensure(counts.message_count <= PUBLISHED, came)?;
    let purged = raw.purge(1, &name).await?;
    expect_eq("purged messages", purged, PUBLISHED)?;
    raw.publish(1, "", &name, "seen by get").await?;
    raw.take_text(1, &name, "seen by get").await.map(drop)
}

async fn server_named(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let mut names = Vec::new();
    for _ in 0..3 {
        let name = raw.declare_queue(1, "").await?.name;
        t.deletes(&name);
        raw.inspect_queue(1, &name).await?;
        let random = name.strip_prefix("amq.gen-").unwrap_or_default();
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let named_well = random.len() == 22 && random.chars().all(is_base64);
        ensure(named_well, format!("the queue was named {name:?}"))?;
        ensure(!names.contains(&name), format!("{name:?} came twice"))?;
        names.push(name);
    }
    Ok(())
}

async fn passive_without_name(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    // A queue declared before does not stand in for the name here.
    raw.declare_queue(1, &t.name("q")).await?;
    expect_gone(&mut raw, "", t.vhost()).await
}

fn reserved(name: &str) -> String {
    format!("ACCESS_REFUSED - queue name '{name}' contains reserved prefix 'amq.*'")
}

async fn reserved_prefix(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = format!("amq.{}", t.name("q"));
    expect_declare_refused(&mut raw, durable_queue(&name), 403, reserved(&name)).await?;
    expect_gone(&mut raw, &name, t.vhost()).await
}

async fn reserved_prefix_of_existing(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = raw.declare_queue(1, "").await?.name;
    t.deletes(&name);
    expect_declare_refused(&mut raw, durable_queue(&name), 403, reserved(&name)).await?;
    raw.inspect_queue(1, &name).await.map(drop)
}

async fn passive_declare_of_missing(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    for name in [name.clone(), format!("amq.{name}")] {
        for nowait in [false, true] {
            let declare = Declare {
                nowait,
                ..passive(&name)
            };
            let text = not_found(&name, t.vhost());
            expect_declare_refused(&mut raw, declare, 404, text).await?;
        }
    }
    Ok(())
}

async fn passive_declare_compares_nothing(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    let wrong = Value::LongStr(b"not even a number");
    let arguments = TableBuf::new().with("x-message-ttl", wrong);
    for exclusive in [false, true] {
        let different = Declare {
            auto_delete: true,
            exclusive,
            arguments: arguments.view(),
            ..passive(&name)
        };
        let found = raw.declare(1, different).await?;
        expect_eq("name", found.name, name.as_str())?;
    }
    raw.declare_queue(1, &name).await.map(drop)
}

async fn passive_declare_of_locked(t: &Trial) -> Result<(), Failure> {
    let (mut owner, mut other) = (t.raw().await?, t.raw().await?);
    let name = t.name("q");
    let exclusive = Declare {
        exclusive: true,
        ..durable_queue(&name)
    };
    owner.declare(1, exclusive).await?;
    owner.inspect_queue(1, &name).await?;
    let text = locked(&name, t.vhost());
    expect_declare_refused(&mut other, passive(&name), 405, text).await
}

async fn passive_nowait(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    let nowait = Declare {
        nowait: true,
        ..passive(&name)
    };
    let text = not_found(&name, t.vhost());
    expect_declare_refused(&mut raw, nowait, 404, text).await?;
    raw.declare_queue(1, &name).await?;
    raw.send_method(1, nowait).await?;
    raw.barrier(1).await
}

async fn nowait_declare(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    let declare = Declare {
        nowait: true,
        ..durable_queue(&name)
    };
    raw.send_method(1, declare).await?;
    raw.barrier(1).await?;
    raw.inspect_queue(1, &name).await.map(drop)
}

async fn any_characters(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let prefix = t.name("q");
    let long = "n".repeat(ShortStr::LEN_MAX - prefix.len());
    for suffix in ["with space", "a/b", "nul\0nul", "ünï→", "#*'\"", &long] {
        let name = format!("{prefix}{suffix}");
        t.deletes(&name);
        let declared = raw.declare_queue(1, &name).await?;
        expect_eq("name", declared.name, name.as_str())?;
        raw.publish(1, "", &name, suffix).await?;
        raw.take_text(1, &name, suffix).await?;
    }
    Ok(())
}

async fn line_breaks_are_stripped(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (name, exchange) = (t.name("pq"), t.name("x"));
    let broken = name.replace("pq", "p\r\nq");
    let declared = raw.declare_queue(1, &broken).await?;
    expect_eq("declared name", declared.name, name.as_str())?;
    raw.declare_exchange(1, transient_exchange(&exchange, "fanout"))
        .await?;
    let bind = Bind {
        queue: broken.as_str().into(),
        exchange: exchange.as_str().into(),
        ..Default::default()
    };
    raw.call(1, bind, BindOk::ID).await?;
    raw.publish(1, &exchange, "", "bound").await?;
    raw.take_text(1, &name, "bound").await?;
    let delete = Delete {
        queue: broken.as_str().into(),
        ..Default::default()
    };
    raw.call(1, delete, DeleteOk::ID).await?;
    expect_gone(&mut raw, &name, t.vhost()).await
}

async fn queue_limit(t: &Trial) -> Result<(), Failure> {
    const VHOST: &str = "leveret-two-queues";
    let handshake = crate::raw::Handshake {
        vhost: VHOST.to_owned(),
        ..t.handshake()
    };
    let mut raw = t.raw_with(&handshake).await?;
    raw.open_channel(1).await?;
    let [first, second, third] = ["1", "2", "3"].map(|suffix| t.name_in(VHOST, suffix));
    raw.declare_queue(1, &first).await?;
    raw.declare_queue(1, &second).await?;
    let text = format!(
        "PRECONDITION_FAILED - cannot declare queue '{third}': queue limit in vhost '{VHOST}' (2) \
         is reached"
    );
    expect_declare_refused(&mut raw, durable_queue(&third), 406, text).await?;
    raw.declare_queue(1, &first).await?;
    raw.delete_queue(1, &second).await?;
    raw.declare_queue(1, &third).await.map(drop)
}

async fn transient_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.send_method(1, transient(&name)).await?;
    let declared = Expected::method(1, DeclareOk::ID);
    let deprecated = Text::starts("INTERNAL_ERROR");
    let denied = Expected::connection_close_for_any_method(541, deprecated);
    let answers = [(ALLOWED, declared), (DENIED, denied)];
    if raw.expect_variant(t, &answers).await? == DENIED {
        return Ok(());
    }
    raw.close().await?;
    // Transient means gone with the broker, not with the connection.
    let mut other = t.raw().await?;
    other.inspect_queue(1, &name).await.map(drop)
}

async fn default_exchange_at_once(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.publish_mandatory(1, "", &name, "too early").await?;
    raw.expect_return(1).await?;
    raw.declare_queue(1, &name).await?;
    raw.publish_mandatory(1, "", &name, "at once").await?;
    raw.take_text(1, &name, "at once").await.map(drop)
}
