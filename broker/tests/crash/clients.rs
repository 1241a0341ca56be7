//! The clients that run at the same time against a broker that may die under them.
//!
//! What it is not: the history and the single steps; see [`crate::load`].

use std::sync::Arc;
use std::time::Duration;

use futures_lite::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicQosOptions,
    BasicRejectOptions, ExchangeDeleteOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, ExchangeKind};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::content::Random;
use crate::history::Event;
use crate::load::{
    KEYS, Load, PATIENCE, PROBE, QUEUES, Stop, Way, bind, binding_object, confirm_select,
    exchange_object, open, queue_object, within,
};

/// Publishes of one channel that may wait for their confirm.
const IN_FLIGHT_MAX: usize = 64;

/// Deliveries a reader may hold.
const PREFETCH: u16 = 32;

/// How long clients get to notice that their broker is gone.
const NOTICE_PATIENCE: Duration = Duration::from_secs(2);

/// How long a refused publisher waits before it tries another message.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// How often the script goes through its steps.
const SCRIPT_ROUNDS: usize = 4;

/// What the script publishes to each queue in each of its rounds. At some 5 KiB each, one round over
/// all queues fills a segment.
const SCRIPT_MESSAGES: usize = 60;

/// How many messages of each queue the script leaves there.
const SCRIPT_KEEPS: u32 = 5;

/// Names that churn has of each kind; few, so that they come back.
const CHURN_NAMES: u64 = 4;

/// How much a round publishes at most, over all channels of one publisher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    pub(crate) publishers: usize,
    pub(crate) messages_each: usize,
}

/// Clients at work.
pub(crate) struct Clients {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Clients {
    /// Starts publishers, two readers on one queue and one on each of two others, and the churn. One
    /// queue has no reader, so that it becomes long.
    pub(crate) fn start(load: &Load, uri: &str, amount: Amount, random: &mut Random) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for _ in 0..amount.publishers {
            let publisher = Publisher {
                load: load.clone(),
                random: random.split(),
                stop: stopped.clone(),
                messages_max: amount.messages_each,
            };
            let uri = uri.to_owned();
            tasks.spawn(async move { publisher.run(&uri).await });
        }
        for queue in [QUEUES[0], QUEUES[0], QUEUES[1], QUEUES[2]] {
            let reader = Reader {
                load: load.clone(),
                queue,
                number: load.number(),
                random: random.split(),
                stop: stopped.clone(),
            };
            let uri = uri.to_owned();
            tasks.spawn(async move { reader.run(&uri).await });
        }
        let churn = Churn {
            load: load.clone(),
            publisher: load.number(),
            random: random.split(),
            stop: stopped,
        };
        let uri = uri.to_owned();
        tasks.spawn(async move { churn.run(&uri).await });
        Self { tasks, stop }
    }

    /// Ends the clients of a broker that was killed. Those that do not notice by themselves, as a
    /// client in the middle of opening may not, are cut off: nobody will answer them.
    pub(crate) async fn ended(mut self) {
        let noticing = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(NOTICE_PATIENCE, noticing)
            .await
            .is_err()
        {
            self.tasks.shutdown().await;
        }
    }

    /// Asks them to end in good order and waits until they have.
    pub(crate) async fn stopped(self) {
        self.stop.send_replace(true);
        let all = self.tasks.join_all();
        within(PATIENCE, "the clients' own end", all).await;
    }
}

/// Publishes persistent messages until this many are confirmed; what is refused is followed by
/// another after a pause.
pub(crate) async fn publish_in_a_window(
    load: &Load,
    channel: &Channel,
    queue: &'static str,
    count: usize,
) -> lapin::Result<()> {
    let publisher = load.number();
    let mut confirms = JoinSet::new();
    let mut confirmed = 0;
    while confirmed < count {
        let wanted = (count - confirmed).min(IN_FLIGHT_MAX);
        while confirms.len() < wanted {
            let message = load.persistent_message();
            let publishing = load.publish(channel, publisher, message, Way::Queue(queue));
            let (load, confirm) = (load.clone(), publishing.await?);
            confirms.spawn(async move { load.await_confirm(message, confirm).await });
        }
        let Some(outcome) = confirms.join_next().await else {
            continue;
        };
        if outcome.unwrap()? {
            confirmed += 1;
        } else {
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
    }
    Ok(())
}

/// A short sequence of everything a store has to write, the same each time.
pub(crate) struct Script<'l> {
    load: &'l Load,
}

impl<'l> Script<'l> {
    pub(crate) fn new(load: &'l Load) -> Self {
        Self { load }
    }

    /// Ends when all of it is answered or the broker is gone.
    pub(crate) async fn run(&self, uri: &str) {
        let outcome = self.steps(uri).await;
        self.load.ended("the script", outcome);
    }

    async fn steps(&self, uri: &str) -> lapin::Result<()> {
        let (connection, channel) = open(uri).await?;
        self.load.declare_what_stays(&channel).await?;
        confirm_select(&channel).await?;
        let mut churn = Churn {
            load: self.load.clone(),
            publisher: self.load.number(),
            random: Random::new(1),
            stop: watch::channel(false).1,
        };
        for _ in 0..SCRIPT_ROUNDS {
            for queue in QUEUES {
                publish_in_a_window(self.load, &channel, queue, SCRIPT_MESSAGES).await?;
            }
            churn.fill_queue(&channel, "churn-0").await?;
            churn.purge_queue(&channel, "churn-0").await?;
            churn.fill_queue(&channel, "churn-0").await?;
            churn.delete_queue(&channel, "churn-0").await?;
            churn.bind(&channel, "churn-1").await?;
            churn.unbind(&channel, "churn-1").await?;
            self.take_most(&connection).await?;
        }
        connection.close(200, "".into()).await
    }

    /// Acks all but the last few messages of each queue, so that whole segments become free and
    /// others keep a little.
    async fn take_most(&self, connection: &lapin::Connection) -> lapin::Result<()> {
        for queue in QUEUES {
            let channel = connection.create_channel().await?;
            let reader = self.load.number();
            let options = BasicGetOptions::default();
            while let Some(got) = channel.basic_get(queue.into(), options).await? {
                let Some(message) = self.load.delivered(queue, reader, &got.delivery) else {
                    continue;
                };
                if got.message_count < SCRIPT_KEEPS {
                    continue;
                }
                let queue = queue.to_owned();
                self.load.history.add(Event::Acking { queue, message });
                got.delivery.ack(BasicAckOptions::default()).await?;
            }
            self.load.leave(&channel, reader).await?;
        }
        Ok(())
    }
}

struct Publisher {
    load: Load,
    random: Random,
    stop: Stop,
    messages_max: usize,
}

impl Publisher {
    async fn run(mut self, uri: &str) {
        let outcome = self.publish(uri).await;
        self.load.ended("a publisher", outcome);
    }

    async fn publish(&mut self, uri: &str) -> lapin::Result<()> {
        let (connection, channel) = open(uri).await?;
        confirm_select(&channel).await?;
        let number = self.load.number();
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let mut confirms = JoinSet::new();
        for _ in 0..self.messages_max {
            let permit = Arc::clone(&in_flight).acquire_owned().await.unwrap();
            if *self.stop.borrow() {
                break;
            }
            let way = self.way();
            let (load, message) = (self.load.clone(), self.load.message());
            let confirm = load.publish(&channel, number, message, way).await?;
            confirms.spawn(async move {
                let outcome = load.await_confirm(message, confirm).await;
                load.ended("a publisher", outcome.map(drop));
                drop(permit);
            });
        }
        confirms.join_all().await;
        connection.close(200, "".into()).await
    }

    fn way(&mut self) -> Way<'static> {
        if self.random.chance(20) {
            return Way::Fanout;
        }
        Way::Queue(self.random.one_of::<&'static str>(&QUEUES))
    }
}

struct Reader {
    load: Load,
    queue: &'static str,
    number: u32,
    random: Random,
    stop: Stop,
}

impl Reader {
    async fn run(mut self, uri: &str) {
        let outcome = self.read(uri).await;
        self.load.ended("a reader", outcome);
    }

    async fn read(&mut self, uri: &str) -> lapin::Result<()> {
        let (connection, channel) = open(uri).await?;
        channel
            .basic_qos(PREFETCH, BasicQosOptions::default())
            .await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let mut consumer = channel
            .basic_consume(self.queue.into(), "".into(), options, arguments)
            .await?;
        let mut stop = self.stop.clone();
        loop {
            let next = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => None,
                next = consumer.next() => next,
            };
            let Some(delivery) = next else { break };
            self.take(delivery?).await?;
        }
        self.load.leave(&channel, self.number).await?;
        connection.close(200, "".into()).await
    }

    /// Acks most, drops some, sends some back, and keeps some until it leaves.
    async fn take(&mut self, delivery: Delivery) -> lapin::Result<()> {
        let Some(message) = self.load.delivered(self.queue, self.number, &delivery) else {
            return Ok(());
        };
        let queue = self.queue.to_owned();
        match self.random.below(100) {
            0..70 => {
                self.load.history.add(Event::Acking { queue, message });
                delivery.ack(BasicAckOptions::default()).await?;
            }
            70..75 => {
                self.load.history.add(Event::Acking { queue, message });
                let options = BasicRejectOptions { requeue: false };
                delivery.reject(options).await?;
            }
            75..98 => {
                self.load.history.add(Event::Returning { queue, message });
                let options = BasicNackOptions {
                    requeue: true,
                    ..Default::default()
                };
                delivery.nack(options).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Declares and deletes without end, all on one channel, and publishes to what it declared.
struct Churn {
    load: Load,
    publisher: u32,
    random: Random,
    stop: Stop,
}

impl Churn {
    async fn run(mut self, uri: &str) {
        let outcome = self.churn(uri).await;
        self.load.ended("the churn", outcome);
    }

    async fn churn(&mut self, uri: &str) -> lapin::Result<()> {
        let (connection, channel) = open(uri).await?;
        confirm_select(&channel).await?;
        while !*self.stop.borrow() {
            let name = format!("churn-{}", self.random.below(CHURN_NAMES));
            match self.random.below(8) {
                0 | 1 => self.fill_queue(&channel, &name).await?,
                2 => self.delete_queue(&channel, &name).await?,
                3 => self.purge_queue(&channel, &name).await?,
                4 => self.bind(&channel, &name).await?,
                5 => self.unbind(&channel, &name).await?,
                6 => {
                    let kind = ExchangeKind::Direct;
                    self.load.declare_exchange(&channel, &name, kind).await?;
                }
                _ => self.delete_exchange(&channel, &name).await?,
            }
        }
        connection.close(200, "".into()).await
    }

    async fn fill_queue(&mut self, channel: &Channel, name: &str) -> lapin::Result<()> {
        self.load.declare_queue(channel, name).await?;
        for _ in 0..self.random.below(6) {
            let message = self.load.message();
            let way = Way::Queue(name);
            let publishing = self.load.publish(channel, self.publisher, message, way);
            let confirm = publishing.await?;
            self.load.await_confirm(message, confirm).await?;
        }
        Ok(())
    }

    async fn delete_queue(&mut self, channel: &Channel, name: &str) -> lapin::Result<()> {
        let (queue, object) = (name.to_owned(), queue_object(name));
        let history = &self.load.history;
        history.add(Event::Emptying {
            queue: queue.clone(),
        });
        history.add(Event::Deleting {
            object: object.clone(),
        });
        let options = QueueDeleteOptions::default();
        channel.queue_delete(name.into(), options).await?;
        history.add(Event::Emptied { queue });
        history.add(Event::Deleted { object });
        Ok(())
    }

    async fn purge_queue(&mut self, channel: &Channel, name: &str) -> lapin::Result<()> {
        self.load.declare_queue(channel, name).await?;
        let queue = name.to_owned();
        let history = &self.load.history;
        history.add(Event::Emptying {
            queue: queue.clone(),
        });
        let options = QueuePurgeOptions::default();
        channel.queue_purge(name.into(), options).await?;
        history.add(Event::Emptied { queue });
        Ok(())
    }

    async fn bind(&mut self, channel: &Channel, key: &str) -> lapin::Result<()> {
        let object = binding_object(key);
        self.load.history.add(Event::Declaring {
            object: object.clone(),
        });
        bind(channel, PROBE, KEYS, key).await?;
        self.load.history.add(Event::Declared { object });
        Ok(())
    }

    async fn unbind(&mut self, channel: &Channel, key: &str) -> lapin::Result<()> {
        let object = binding_object(key);
        self.load.history.add(Event::Deleting {
            object: object.clone(),
        });
        let arguments = FieldTable::default();
        channel
            .queue_unbind(PROBE.into(), KEYS.into(), key.into(), arguments)
            .await?;
        self.load.history.add(Event::Deleted { object });
        Ok(())
    }

    async fn delete_exchange(&mut self, channel: &Channel, name: &str) -> lapin::Result<()> {
        let object = exchange_object(name);
        self.load.history.add(Event::Deleting {
            object: object.clone(),
        });
        let options = ExchangeDeleteOptions::default();
        channel.exchange_delete(name.into(), options).await?;
        self.load.history.add(Event::Deleted { object });
        Ok(())
    }
}
