//! The pseudo-queue and reply addresses as names of queues.

use leveret_protocol::method::{basic, queue};

use super::{REPLY_QUEUE, of_replies, start};
use crate::failure::{Failure, expect_eq};
use crate::raw::{DeclaredQueue, RawConnection, durable_queue};
use crate::trial::Trial;

rules! {
    "RPC-10" declared_while_there [raw] "An address can be declared while its consumer is there.";
    "RPC-10" declared_when_gone [raw] "… and is no queue when that has gone.";
    "RPC-11" bare_name_is_declared [raw] "The pseudo-queue can always be declared.";
    "RPC-11" last_declared [raw] "… and is then what an empty name stands for.";
    "RPC-12" malformed [raw] "What looks like an address is no queue, and leads nowhere.";
    "RPC-13" no_queue_otherwise [raw] "It is no queue for anything else, and gone when deleted.";
}

fn no_queue(name: &str, vhost: &str) -> String {
    format!("NOT_FOUND - no queue '{name}' in vhost '{vhost}'")
}

fn passive(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        queue: name.into(),
        passive: true,
        ..Default::default()
    }
}

fn expect_one_consumer(declared: &DeclaredQueue, name: &str) -> Result<(), Failure> {
    expect_eq("name", declared.name.as_str(), name)?;
    expect_eq("messages", declared.message_count, 0)?;
    expect_eq("consumers", declared.consumer_count, 1)
}

async fn declared_while_there(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    let mut replier = t.raw().await?;
    for declare in [passive(&address), durable_queue(&address)] {
        let declared = replier.declare(1, declare).await?;
        expect_one_consumer(&declared, &address)?;
    }
    Ok(())
}

async fn expect_no_queue(
    raw: &mut RawConnection,
    declare: queue::Declare<'_>,
    vhost: &str,
) -> Result<(), Failure> {
    raw.send_method(1, declare).await?;
    let text = no_queue(&declare.queue.to_text(), vhost);
    raw.expect_channel_close(1, 404, text, queue::Declare::ID)
        .await?;
    raw.open_channel(1).await
}

async fn declared_when_gone(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let mut replier = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    raw.cancel(1, "replies").await?;
    expect_no_queue(&mut replier, passive(&address), t.vhost()).await?;
    expect_no_queue(&mut replier, durable_queue(&address), t.vhost()).await?;
    raw.consume_with(1, of_replies("again")).await?;
    raw.close_channel(1).await?;
    expect_no_queue(&mut replier, passive(&address), t.vhost()).await
}

async fn bare_name_is_declared(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    for declare in [passive(REPLY_QUEUE), durable_queue(REPLY_QUEUE)] {
        let declared = raw.declare(1, declare).await?;
        expect_one_consumer(&declared, REPLY_QUEUE)?;
    }
    Ok(())
}

async fn last_declared(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.declare(1, durable_queue(REPLY_QUEUE)).await?;
    let consume = basic::Consume {
        queue: "".into(),
        ..of_replies("replies")
    };
    raw.consume_with(1, consume).await?;
    super::address(t, &mut raw, 1).await.map(drop)
}

async fn malformed(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    let shorter = &address[..address.len() - 4];
    let longer = format!("{address}AAAA");
    let unknown = format!("{REPLY_QUEUE}x");
    let nobody = format!("{REPLY_QUEUE}.nobody");
    for name in [shorter, &longer, &unknown, &nobody] {
        let mut other = t.raw().await?;
        expect_no_queue(&mut other, passive(name), t.vhost()).await?;
        expect_no_queue(&mut other, durable_queue(name), t.vhost()).await?;
        other.publish_mandatory(1, "", name, "nowhere").await?;
        let returned = other.expect_return(1).await?;
        expect_eq("routing key", returned.routing_key.as_str(), name)?;
    }
    raw.barrier(1).await
}

async fn no_queue_otherwise(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let address = start(t, &mut raw, 1).await?;
    let mut other = t.raw().await?;
    for name in [REPLY_QUEUE, &address] {
        let text = no_queue(name, t.vhost());
        let get = basic::Get {
            queue: name.into(),
            ..Default::default()
        };
        other.send_method(1, get).await?;
        other
            .expect_channel_close(1, 404, text.as_str(), basic::Get::ID)
            .await?;
        other.open_channel(1).await?;
        let purge = queue::Purge {
            queue: name.into(),
            ..Default::default()
        };
        other.send_method(1, purge).await?;
        other
            .expect_channel_close(1, 404, text.as_str(), queue::Purge::ID)
            .await?;
        other.open_channel(1).await?;
        expect_eq("deleted", other.delete_queue(1, name).await?, 0)?;
    }
    raw.publish(1, "", &address, "it is there all the same")
        .await?;
    super::expect_reply(&mut raw, 1, &address, "it is there all the same")
        .await
        .map(drop)
}
