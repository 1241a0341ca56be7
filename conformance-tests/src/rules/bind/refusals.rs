//! Binds and unbinds that are refused.

use leveret_protocol::method::{exchange, queue};
use leveret_protocol::{Method, MethodId, TableBuf, Value};

use super::{bind, bind_exchange, no_exchange, no_queue, unbind};
use crate::failure::Failure;
use crate::raw::{Expected, RawConnection, durable_queue, transient_exchange};
use crate::trial::Trial;

variants! { REPLY_QUEUES: "BIND-20" {
    NO_SUCH_QUEUE "404" "There is no queue of such a name.";
    CANNOT_BE_BOUND "403" "Such a queue cannot be bound.";
} }

rules! {
    "BIND-04" missing_queue [raw] "A missing queue is 404.";
    "BIND-04" missing_exchange [raw] "So is a missing exchange, which is told first.";
    "BIND-05" default_exchange [raw] "The default exchange takes no binding.";
    "BIND-11" bind_of_exclusive_queue [raw] "Another connection's queue cannot be bound.";
    "BIND-11" unbind_of_exclusive_queue [raw] "… nor unbound, where there is a binding.";
    "BIND-13" missing_ends [raw] "A missing source or destination is 404.";
    "BIND-18" arguments_before_exclusivity [raw] "Arguments are checked before exclusivity.";
    "BIND-20" direct_reply_to [raw, variants(&[REPLY_QUEUES])]
        "A direct reply-to queue cannot be bound.";
}

/// Sends on channel 1, is refused, and opens the channel again.
async fn expect_refused<'m>(
    raw: &mut RawConnection,
    method: impl Into<Method<'m>>,
    code: u16,
    text: &str,
    id: MethodId,
) -> Result<(), Failure> {
    raw.send_method(1, method).await?;
    raw.expect_channel_close(1, code, text, id).await?;
    raw.open_channel(1).await
}

async fn missing_queue(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let missing = t.name("missing");
    let text = no_queue(&missing, t.vhost());
    let bind = bind(&missing, "amq.direct", "k");
    expect_refused(&mut raw, bind, 404, &text, queue::Bind::ID).await?;
    let nowait = queue::Bind {
        nowait: true,
        ..bind
    };
    expect_refused(&mut raw, nowait, 404, &text, queue::Bind::ID).await
}

async fn missing_exchange(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, missing) = (t.name("q"), t.name("missing"));
    raw.declare_queue(1, &queue).await?;
    let text = no_exchange(&missing, t.vhost());
    let id = queue::Bind::ID;
    expect_refused(&mut raw, bind(&queue, &missing, "k"), 404, &text, id).await?;
    let both = t.name("also-missing");
    expect_refused(&mut raw, bind(&both, &missing, "k"), 404, &text, id).await
}

async fn default_exchange(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let text = "ACCESS_REFUSED - operation not permitted on the default exchange";
    let bind = bind(&queue, "", "k");
    expect_refused(&mut raw, bind, 403, text, queue::Bind::ID).await?;
    let unbind = unbind(&queue, "", &queue);
    expect_refused(&mut raw, unbind, 403, text, queue::Unbind::ID).await?;
    raw.publish(1, "", &queue, "still bound").await?;
    raw.take_text(1, &queue, "still bound").await.map(drop)
}

/// A connection that has an exclusive queue, another connection, and the refusal it meets.
async fn exclusive_queue(
    t: &Trial,
) -> Result<(RawConnection, RawConnection, String, String), Failure> {
    let (mut owner, other) = (t.raw().await?, t.raw().await?);
    let queue = t.name("q");
    let exclusive = queue::Declare {
        exclusive: true,
        ..durable_queue(&queue)
    };
    owner.declare(1, exclusive).await?;
    let text = format!(
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost \
         '{}'. It could be originally declared on another connection or the exclusive property \
         value does not match that of the original declaration.",
        t.vhost()
    );
    Ok((owner, other, queue, text))
}

async fn bind_of_exclusive_queue(t: &Trial) -> Result<(), Failure> {
    let (_owner, mut other, queue, text) = exclusive_queue(t).await?;
    let bind = bind(&queue, "amq.direct", "k");
    expect_refused(&mut other, bind, 405, &text, queue::Bind::ID).await
}

async fn unbind_of_exclusive_queue(t: &Trial) -> Result<(), Failure> {
    let (mut owner, mut other, queue, text) = exclusive_queue(t).await?;
    let exchange = t.name("x");
    owner
        .declare_exchange(1, transient_exchange(&exchange, "direct"))
        .await?;
    other.unbind(1, &queue, &exchange, "k").await?;
    owner.bind(1, &queue, &exchange, "k").await?;
    other.unbind(1, &queue, &exchange, "another key").await?;
    let unbind = unbind(&queue, &exchange, "k");
    expect_refused(&mut other, unbind, 405, &text, queue::Unbind::ID).await?;
    owner.publish(1, &exchange, "k", "still bound").await?;
    owner.take_text(1, &queue, "still bound").await.map(drop)
}

async fn missing_ends(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (missing, also) = (t.name("missing"), t.name("also-missing"));
    let text = no_exchange(&missing, t.vhost());
    let id = exchange::Bind::ID;
    let source = bind_exchange("amq.fanout", &missing, "k");
    expect_refused(&mut raw, source, 404, &text, id).await?;
    let destination = bind_exchange(&missing, "amq.fanout", "k");
    expect_refused(&mut raw, destination, 404, &text, id).await?;
    let both = bind_exchange(&also, &missing, "k");
    expect_refused(&mut raw, both, 404, &text, id).await
}

async fn arguments_before_exclusivity(t: &Trial) -> Result<(), Failure> {
    let (_owner, mut other, queue, _) = exclusive_queue(t).await?;
    let arguments = TableBuf::new().with("x-match", Value::LongStr(b"foo"));
    let bind = queue::Bind {
        arguments: arguments.view(),
        ..bind(&queue, "amq.headers", "k")
    };
    let text = "PRECONDITION_FAILED - Invalid x-match field value <<\"foo\">>; \
                expected all, any, all-with-x, or any-with-x";
    expect_refused(&mut other, bind, 406, text, queue::Bind::ID).await
}

async fn direct_reply_to(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = "amq.rabbitmq.reply-to.nobody";
    raw.send_method(1, bind(name, "amq.direct", "k")).await?;
    let close = |code, text: &str| Expected::channel_close(1, code, text, queue::Bind::ID);
    let volatile = "ACCESS_REFUSED - cannot bind or unbind to a volatile (direct reply-to) queue";
    let alternatives = [
        (NO_SUCH_QUEUE, close(404, &no_queue(name, t.vhost()))),
        (CANNOT_BE_BOUND, close(403, volatile)),
    ];
    raw.expect_variant(t, &alternatives).await.map(drop)
}
