//! [`Load`]: what clients do to a broker while it lives: publish with confirms, consume, churn
//! objects, look for them, and drain queues. Everything goes into the history.
//!
//! What it is not: it asserts nothing about what a crash leaves; clients end quietly when their
//! connection does. Only a broker that answers with an error of its own is a fault.
//!
//! Invariants: every publisher and reader has a number of its own over the whole history; a
//! publisher's messages have growing numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{
    Channel, Confirmation, Connection, ConnectionProperties, ErrorKind, ExchangeKind,
    PublisherConfirm,
};
use tokio::sync::watch;

use crate::check::check;
use crate::content::{body, is_persistent, properties, recognise};
use crate::history::{Event, History, MessageId};

/// The queues that stay over the whole history, all durable.
pub(crate) const QUEUES: [&str; 4] = ["q0", "q1", "q2", "q3"];

/// A durable fanout exchange, bound to [`FANNED_OUT`].
pub(crate) const FANOUT: &str = "fan";

/// Where a message to [`FANOUT`] goes.
pub(crate) const FANNED_OUT: [&str; 2] = ["q2", "q3"];

/// A durable direct exchange whose bindings to [`PROBE`] come and go.
pub(crate) const KEYS: &str = "keys";

/// A queue whose messages nobody counts.
pub(crate) const PROBE: &str = "probe";

/// Longest time for anything a client does to a broker that lives.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How many broken promises a failure shows; the first say most.
const VIOLATIONS_SHOWN_MAX: usize = 20;

/// What a client is told that asks a failed store to keep something.
const INTERNAL_ERROR: u16 = 541;

/// What all clients of one history share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    pub(crate) history: History,
    messages: Arc<AtomicU64>,
    numbers: Arc<AtomicU32>,
    faults: Arc<Mutex<Vec<String>>>,
    store_may_fail: bool,
}

/// Turns true when clients are to end in good order.
pub(crate) type Stop = watch::Receiver<bool>;

/// Waits with a bound.
pub(crate) async fn within<F: Future>(patience: Duration, what: &str, future: F) -> F::Output {
    let outcome = tokio::time::timeout(patience, future).await;
    outcome.unwrap_or_else(|_| panic!("{what}: not within {patience:?}"))
}

pub(crate) async fn connect(uri: &str) -> lapin::Result<Connection> {
    Connection::connect(uri, ConnectionProperties::default()).await
}

/// Opens a connection and one channel.
pub(crate) async fn open(uri: &str) -> lapin::Result<(Connection, Channel)> {
    let connection = connect(uri).await?;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}

pub(crate) async fn confirm_select(channel: &Channel) -> lapin::Result<()> {
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
}

impl Load {
    /// A load on a store that may be made to fail: then 541 is a proper answer.
    pub(crate) fn on_a_failing_store() -> Self {
        Self {
            store_may_fail: true,
            ..Self::default()
        }
    }

    /// A number nobody has had.
    pub(crate) fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A message nobody has published.
    pub(crate) fn message(&self) -> MessageId {
        self.messages.fetch_add(1, Ordering::Relaxed)
    }

    /// A persistent message nobody has published.
    pub(crate) fn persistent_message(&self) -> MessageId {
        loop {
            let message = self.message();
            if is_persistent(message) {
                return message;
            }
        }
    }

    /// The end of a client. Only a broker that was killed may end it without a word.
    pub(crate) fn ended(&self, client: &str, outcome: lapin::Result<()>) {
        let Err(error) = outcome else { return };
        let ErrorKind::ProtocolError(refusal) = error.kind() else {
            return;
        };
        if refusal.get_id() != INTERNAL_ERROR || !self.store_may_fail {
            let fault = format!("{client}: {error}");
            self.faults.lock().unwrap().push(fault);
        }
    }

    /// Declares everything that stays.
    pub(crate) async fn declare_what_stays(&self, channel: &Channel) -> lapin::Result<()> {
        for queue in QUEUES.into_iter().chain([PROBE]) {
            self.declare_queue(channel, queue).await?;
        }
        self.declare_exchange(channel, FANOUT, ExchangeKind::Fanout)
            .await?;
        self.declare_exchange(channel, KEYS, ExchangeKind::Direct)
            .await?;
        for queue in FANNED_OUT {
            bind(channel, queue, FANOUT, "").await?;
        }
        Ok(())
    }

    pub(crate) async fn declare_queue(&self, channel: &Channel, queue: &str) -> lapin::Result<()> {
        let object = queue_object(queue);
        self.history.add(Event::Declaring {
            object: object.clone(),
        });
        let options = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        let arguments = FieldTable::default();
        channel
            .queue_declare(queue.into(), options, arguments)
            .await?;
        self.history.add(Event::Declared { object });
        Ok(())
    }

    pub(crate) async fn declare_exchange(
        &self,
        channel: &Channel,
        exchange: &str,
        kind: ExchangeKind,
    ) -> lapin::Result<()> {
        let object = exchange_object(exchange);
        self.history.add(Event::Declaring {
            object: object.clone(),
        });
        let options = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        let arguments = FieldTable::default();
        channel
            .exchange_declare(exchange.into(), kind, options, arguments)
            .await?;
        self.history.add(Event::Declared { object });
        Ok(())
    }

    /// Publishes a message that is to reach these queues, and returns its confirm to come.
    pub(crate) async fn publish(
        &self,
        channel: &Channel,
        publisher: u32,
        message: MessageId,
        way: Way<'_>,
    ) -> lapin::Result<PublisherConfirm> {
        self.history.add(Event::Publishing {
            message,
            publisher,
            queues: way.queues(),
            persistent: is_persistent(message),
        });
        let (exchange, key) = way.address();
        let options = BasicPublishOptions::default();
        channel
            .basic_publish(
                exchange.into(),
                key.into(),
                options,
                &body(message),
                properties(message),
            )
            .await
    }

    /// Waits for a confirm and writes it down; true for an ack.
    pub(crate) async fn await_confirm(
        &self,
        message: MessageId,
        confirm: PublisherConfirm,
    ) -> lapin::Result<bool> {
        let is_ack = matches!(confirm.await?, Confirmation::Ack(_));
        if is_ack {
            self.history.add(Event::Confirmed { message });
        }
        Ok(is_ack)
    }

    /// Publishes one message after the other, each confirmed before the next; stops at the first
    /// that is not. Returns how many were.
    pub(crate) async fn publish_one_by_one(
        &self,
        channel: &Channel,
        queue: &str,
        count: usize,
    ) -> lapin::Result<usize> {
        let publisher = self.number();
        for done in 0..count {
            let message = self.persistent_message();
            let confirm = self
                .publish(channel, publisher, message, Way::Queue(queue))
                .await?;
            if !self.await_confirm(message, confirm).await? {
                return Ok(done);
            }
        }
        Ok(count)
    }

    /// Looks for every object that was ever declared.
    pub(crate) async fn look(&self, uri: &str) -> lapin::Result<()> {
        let connection = connect(uri).await?;
        let objects: BTreeSet<String> = self
            .history
            .events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Declaring { object } => Some(object),
                _ => None,
            })
            .collect();
        for object in objects {
            let is_there = is_there(&connection, &object).await?;
            self.history.add(Event::Looked { object, is_there });
        }
        connection.close(200, "".into()).await
    }

    /// Takes and acks everything there is in every queue that was published to.
    pub(crate) async fn drain(&self, uri: &str) -> lapin::Result<()> {
        let mut queues = BTreeSet::new();
        for event in self.history.events() {
            if let Event::Publishing {
                queues: reached, ..
            } = event
            {
                queues.extend(reached);
            }
        }
        let connection = connect(uri).await?;
        for queue in queues {
            if is_there(&connection, &queue_object(&queue)).await? {
                self.drain_queue(&connection, &queue).await?;
            }
        }
        connection.close(200, "".into()).await
    }

    async fn drain_queue(&self, connection: &Connection, queue: &str) -> lapin::Result<()> {
        let channel = connection.create_channel().await?;
        let reader = self.number();
        let options = BasicGetOptions::default();
        while let Some(got) = channel.basic_get(queue.into(), options).await? {
            if let Some(message) = self.delivered(queue, reader, &got.delivery) {
                let queue = queue.to_owned();
                self.history.add(Event::Acking { queue, message });
            }
            got.delivery.ack(BasicAckOptions::default()).await?;
        }
        let queue = queue.to_owned();
        self.history.add(Event::Drained { queue });
        self.leave(&channel, reader).await
    }

    /// Writes a delivery down.
    pub(crate) fn delivered(
        &self,
        queue: &str,
        reader: u32,
        delivery: &lapin::message::Delivery,
    ) -> Option<MessageId> {
        let (message, intact) = recognise(delivery);
        self.history.add(Event::Delivered {
            queue: queue.to_owned(),
            message,
            reader,
            redelivered: delivery.redelivered,
            intact,
        });
        message
    }

    /// Closes a reader's channel in good order.
    pub(crate) async fn leave(&self, channel: &Channel, reader: u32) -> lapin::Result<()> {
        self.history.add(Event::Leaving { reader });
        channel.close(200, "".into()).await?;
        self.history.add(Event::Left { reader });
        Ok(())
    }

    /// Looks for every object, drains every queue, and says what was wrong with all of it.
    pub(crate) async fn look_and_drain(&self, uri: &str) {
        within(PATIENCE, "looking", self.look(uri)).await.unwrap();
        let draining = self.drain(uri);
        within(2 * PATIENCE, "draining", draining).await.unwrap();
    }

    /// Fails the test if a promise was broken.
    #[track_caller]
    pub(crate) fn judge(&self, run: &str) {
        let events = self.history.events();
        let (confirmed, delivered) = (self.history.confirmed(), self.history.delivered());
        let total = events.len();
        eprintln!("{run}: {total} events, {confirmed} confirms, {delivered} deliveries");
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{run}: refused: {faults:#?}");
        let violations = check(&events);
        let mut broken = BTreeMap::new();
        for violation in &violations {
            *broken.entry(violation.rule).or_insert(0) += 1;
        }
        let shown: Vec<_> = violations.iter().take(VIOLATIONS_SHOWN_MAX).collect();
        assert!(violations.is_empty(), "{run}: {broken:?}, first {shown:#?}");
    }
}

/// How a message is published.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way<'n> {
    /// Through the default exchange.
    Queue(&'n str),
    /// Through [`FANOUT`].
    Fanout,
}

impl Way<'_> {
    fn queues(self) -> Vec<String> {
        match self {
            Self::Queue(queue) => vec![queue.to_owned()],
            Self::Fanout => FANNED_OUT.map(str::to_owned).to_vec(),
        }
    }

    fn address(&self) -> (&str, &str) {
        match self {
            Self::Queue(queue) => ("", queue),
            Self::Fanout => (FANOUT, ""),
        }
    }
}

pub(crate) async fn bind(
    channel: &Channel,
    queue: &str,
    exchange: &str,
    key: &str,
) -> lapin::Result<()> {
    let options = QueueBindOptions::default();
    let arguments = FieldTable::default();
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            key.into(),
            options,
            arguments,
        )
        .await
}

pub(crate) fn queue_object(queue: &str) -> String {
    format!("queue {queue}")
}

pub(crate) fn exchange_object(exchange: &str) -> String {
    format!("exchange {exchange}")
}

/// A binding of [`PROBE`] to [`KEYS`].
pub(crate) fn binding_object(key: &str) -> String {
    format!("binding {key}")
}

/// Looks for an object on a channel of its own, because its absence may close the channel.
async fn is_there(connection: &Connection, object: &str) -> lapin::Result<bool> {
    let channel = connection.create_channel().await?;
    let (kind, name) = object.split_once(' ').unwrap();
    let arguments = FieldTable::default();
    let found = match kind {
        "queue" => {
            let options = QueueDeclareOptions {
                passive: true,
                ..Default::default()
            };
            let declared = channel.queue_declare(name.into(), options, arguments).await;
            declared.map(drop)
        }
        "exchange" => {
            let options = ExchangeDeclareOptions {
                passive: true,
                ..Default::default()
            };
            let kind = ExchangeKind::Direct;
            channel
                .exchange_declare(name.into(), kind, options, arguments)
                .await
        }
        _ => return leads_anywhere(&channel, name).await,
    };
    match found {
        Ok(()) => channel.close(200, "".into()).await.map(|()| true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(refusal) if refusal.get_id() == 404)
}

/// True if a message with this key is routed rather than returned.
async fn leads_anywhere(channel: &Channel, key: &str) -> lapin::Result<bool> {
    confirm_select(channel).await?;
    let options = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let sent = channel.basic_publish(KEYS.into(), key.into(), options, b"", Default::default());
    let answer = sent.await?.await?;
    channel.close(200, "".into()).await?;
    Ok(matches!(answer, Confirmation::Ack(None)))
}
