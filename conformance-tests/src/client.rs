//! Short forms for what a normal client does, on lapin. [`crate::Trial::channel`] gives the channel.
//!
//! What it is not: a way around lapin; everything lapin offers can be called on the channel itself.

use std::fmt::Debug;
use std::time::Duration;

use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Consumer, ErrorKind, ExchangeKind, Queue};

use crate::failure::{Failure, expect_eq};
use crate::raw::Text;

/// How long a delivery may take.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(5);

/// Options of a durable queue, the suite's ordinary queue.
#[must_use]
pub fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions {
        durable: true,
        ..Default::default()
    }
}

/// Declares a durable queue without arguments.
///
/// # Errors
/// The broker refuses.
pub async fn declare_queue(channel: &Channel, name: &str) -> Result<Queue, Failure> {
    let arguments = FieldTable::default();
    Ok(channel
        .queue_declare(name.into(), durable(), arguments)
        .await?)
}

/// Declares a transient exchange without arguments.
///
/// # Errors
/// The broker refuses.
pub async fn declare_exchange(
    channel: &Channel,
    name: &str,
    kind: ExchangeKind,
) -> Result<(), Failure> {
    let options = ExchangeDeclareOptions::default();
    let arguments = FieldTable::default();
    Ok(channel
        .exchange_declare(name.into(), kind, options, arguments)
        .await?)
}

/// Binds a queue to an exchange.
///
/// # Errors
/// The broker refuses.
pub async fn bind(
    channel: &Channel,
    queue: &str,
    exchange: &str,
    routing_key: &str,
) -> Result<(), Failure> {
    let options = QueueBindOptions::default();
    let arguments = FieldTable::default();
    Ok(channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            routing_key.into(),
            options,
            arguments,
        )
        .await?)
}

/// Publishes a text without properties. In confirm mode it waits for the broker's answer, otherwise
/// for nothing.
///
/// # Errors
/// The channel is gone, or the broker nacks.
pub async fn publish(
    channel: &Channel,
    exchange: &str,
    routing_key: &str,
    body: &str,
) -> Result<(), Failure> {
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    let confirm = channel
        .basic_publish(
            exchange.into(),
            routing_key.into(),
            options,
            body.as_bytes(),
            properties,
        )
        .await?;
    match confirm.await? {
        Confirmation::Nack(_) => Err(Failure::expected("an ack", "a nack")),
        _ => Ok(()),
    }
}

/// Puts the channel into confirm mode.
///
/// # Errors
/// The broker refuses.
pub async fn confirm_select(channel: &Channel) -> Result<(), Failure> {
    Ok(channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?)
}

/// Takes one message that counts as acked, as text; `None` when the queue is empty.
///
/// # Errors
/// The broker refuses.
pub async fn take(channel: &Channel, queue: &str) -> Result<Option<String>, Failure> {
    let options = BasicGetOptions { no_ack: true };
    let got = channel.basic_get(queue.into(), options).await?;
    Ok(got.map(|message| String::from_utf8_lossy(&message.delivery.data).into_owned()))
}

/// Takes one message and checks its body; `None` stands for an empty queue.
///
/// # Errors
/// Something else is there.
pub async fn expect_take(
    channel: &Channel,
    queue: &str,
    text: Option<&str>,
) -> Result<(), Failure> {
    let came = take(channel, queue).await?;
    expect_eq(format!("what lies in {queue}"), came.as_deref(), text)
}

/// Starts a consumer that acks.
///
/// # Errors
/// The broker refuses.
pub async fn consume(channel: &Channel, queue: &str) -> Result<Consumer, Failure> {
    let options = BasicConsumeOptions::default();
    let arguments = FieldTable::default();
    Ok(channel
        .basic_consume(queue.into(), "".into(), options, arguments)
        .await?)
}

/// The consumer's next delivery.
///
/// # Errors
/// None comes in time, or the consumer ends.
pub async fn next_delivery(consumer: &mut Consumer) -> Result<Delivery, Failure> {
    use futures_lite::StreamExt as _;
    match tokio::time::timeout(DELIVERY_PATIENCE, consumer.next()).await {
        Ok(Some(delivery)) => Ok(delivery?),
        Ok(None) => Err(Failure::expected("a delivery", "the end of the consumer")),
        Err(_) => Err(Failure::expected("a delivery", "nothing")),
    }
}

/// Checks that the broker refused with this code and text. Whether that closes the channel or the
/// connection follows from the code (ERR-01).
///
/// # Errors
/// It was accepted, or refused otherwise.
pub fn expect_error<T: Debug>(
    result: lapin::Result<T>,
    code: u16,
    text: impl Into<Text>,
) -> Result<(), Failure> {
    let text = text.into();
    let wanted = format!("an error with code {code} and {text}");
    let error = match result {
        Ok(value) => return Err(Failure::expected(wanted, format!("{value:?}"))),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::ProtocolError(refusal)
            if refusal.get_id() == code && text.matches(refusal.get_message().as_str()) =>
        {
            Ok(())
        }
        _ => Err(Failure::expected(wanted, error)),
    }
}
