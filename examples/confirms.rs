//! Tutorial 6, publisher confirms: know that the broker has taken responsibility for a message.
//!
//! ```text
//!     publisher ── 1 ─ 2 ─ 3 ─ 4 ──► broker        basic.publish
//!               ◄── ack 1 ─ ack 2..4 ──            one confirm may cover several messages
//! ```
//!
//! Without confirms a publisher learns nothing: a lost message looks like one that arrived.
//! With them it can wait for each message, for a batch, or keep a window of messages on their way.
//! A message may also be confirmed because it could go nowhere; `mandatory` has it returned first.

use std::collections::VecDeque;
use std::time::Instant;

use lapin::message::BasicReturnMessage;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm,
};
use leveret_examples::{Result, broker_uri, unique_name};

#[tokio::main]
async fn main() -> Result<()> {
    run(&broker_uri()).await?;
    Ok(())
}

/// Publishes [`MESSAGES`] messages in each of three ways, and one that has nowhere to go.
pub async fn run(uri: &str) -> Result<Outcome> {
    let name = ConnectionProperties::default().with_connection_name("publisher confirms".into());
    let connection = Connection::connect(uri, name).await?;
    let channel = connection.create_channel().await?;
    let queue = unique_name("tutorial.confirms");
    channel
        .queue_declare(
            queue.clone(),
            QueueDeclareOptions::durable(),
            FieldTable::default(),
        )
        .await?;
    // From here on the broker confirms every message published on this channel.
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;

    let start = Instant::now();
    let one_by_one = publish_one_by_one(&channel, &queue).await?;
    println!("{one_by_one} one by one:  {:?}", start.elapsed());

    let start = Instant::now();
    let in_batches = publish_in_batches(&channel, &queue).await?;
    println!("{in_batches} in batches:  {:?}", start.elapsed());

    let start = Instant::now();
    let in_a_window = publish_in_a_window(&channel, &queue).await?;
    println!("{in_a_window} in a window: {:?}", start.elapsed());

    let returned = publish_to_nowhere(&channel).await?;
    println!("returned: {} {}", returned.reply_code, returned.reply_text);

    let in_queue = channel
        .queue_delete(queue, QueueDeleteOptions::default())
        .await?;
    println!("{in_queue} messages were in the queue");
    connection.close(200, "Goodbye".into()).await?;
    Ok(Outcome {
        one_by_one,
        in_batches,
        in_a_window,
        returned,
        in_queue,
    })
}

/// What the publisher heard from the broker.
#[derive(Debug)]
pub struct Outcome {
    /// How many messages were confirmed, each waited for by itself.
    pub one_by_one: u32,
    /// How many were confirmed batch by batch.
    pub in_batches: u32,
    /// How many were confirmed while others were on their way.
    pub in_a_window: u32,
    /// The message that had nowhere to go.
    pub returned: BasicReturnMessage,
    /// How many messages the queue held in the end.
    pub in_queue: u32,
}

/// The simplest way, and the slowest: a round trip for each message.
async fn publish_one_by_one(channel: &Channel, queue: &ShortString) -> Result<u32> {
    let mut confirmed = 0;
    for number in 0..MESSAGES {
        let confirm = publish(channel, queue, number).await?;
        confirmed += wait_for(confirm).await?;
    }
    Ok(confirmed)
}

/// A round trip for each batch; if something goes wrong, the whole batch is in doubt.
async fn publish_in_batches(channel: &Channel, queue: &ShortString) -> Result<u32> {
    let mut confirmed = 0;
    let mut batch = Vec::with_capacity(BATCH);
    for number in 0..MESSAGES {
        batch.push(publish(channel, queue, number).await?);
        if batch.len() == BATCH {
            confirmed += wait_for_all(&mut batch).await?;
        }
    }
    // The last batch may not be a full one.
    confirmed += wait_for_all(&mut batch).await?;
    Ok(confirmed)
}

async fn wait_for_all(batch: &mut Vec<PublisherConfirm>) -> Result<u32> {
    let mut confirmed = 0;
    for confirm in batch.drain(..) {
        confirmed += wait_for(confirm).await?;
    }
    Ok(confirmed)
}

/// Never stops to wait as long as the broker keeps up, and never has more than a window in doubt.
async fn publish_in_a_window(channel: &Channel, queue: &ShortString) -> Result<u32> {
    let mut confirmed = 0;
    let mut on_their_way = VecDeque::with_capacity(WINDOW);
    for number in 0..MESSAGES {
        if on_their_way.len() == WINDOW
            && let Some(oldest) = on_their_way.pop_front()
        {
            confirmed += wait_for(oldest).await?;
        }
        on_their_way.push_back(publish(channel, queue, number).await?);
    }
    for confirm in on_their_way {
        confirmed += wait_for(confirm).await?;
    }
    Ok(confirmed)
}

/// Publishes a message that no queue is there for, and returns what came back.
async fn publish_to_nowhere(channel: &Channel) -> Result<BasicReturnMessage> {
    let nowhere = unique_name("tutorial.nowhere");
    // The broker returns the message and then confirms it: it has nothing more to do with it.
    let confirmation = publish(channel, &nowhere, 0).await?.await?;
    match confirmation {
        Confirmation::Ack(Some(returned)) => Ok(returned),
        other => Err(format!("expected a returned message, got {other:?}").into()),
    }
}

/// Sends one message; the returned future is its confirm.
async fn publish(channel: &Channel, queue: &ShortString, number: u32) -> Result<PublisherConfirm> {
    // Without `mandatory` the broker drops and confirms a message that no queue is there for.
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let confirm = channel
        .basic_publish(
            "".into(),
            queue.clone(),
            mandatory,
            format!("message {number}").as_bytes(),
            // Confirmed then means: on disk, as queue and message are to survive a restart.
            BasicProperties::default().with_delivery_mode(PERSISTENT),
        )
        .await?;
    Ok(confirm)
}

/// Only an ack without a returned message counts; on bad news a real publisher would try again.
async fn wait_for(confirm: PublisherConfirm) -> Result<u32> {
    match confirm.await? {
        Confirmation::Ack(None) => Ok(1),
        bad_news => Err(format!("the message is not in its queue: {bad_news:?}").into()),
    }
}

/// How many messages are published in each of the three ways; the last batch is not a full one.
pub const MESSAGES: u32 = 250;

/// How many messages are published before their confirms are waited for.
const BATCH: usize = 100;

/// How many messages may be on their way, unconfirmed, at any time.
const WINDOW: usize = 100;

/// The delivery mode of a message that is kept on disk; 1 would be transient.
const PERSISTENT: u8 = 2;
