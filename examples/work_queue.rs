//! Tutorial 1, work queue: share out tasks among workers, each task to exactly one of them.
//!
//! ```text
//!                                        ┌──► Ada
//!     publisher ──► [ ▤ ▤ ▤ tasks ] ─────┤
//!                                        └──► Grace
//! ```
//!
//! A task must survive a worker that dies and a broker that restarts, and must not wait behind a
//! long one while another worker is idle. Four things see to that: a durable queue, persistent
//! messages, an acknowledgement only when the work is done, and a prefetch of one.

use std::time::Duration;

use futures_lite::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use leveret_examples::{Result, broker_uri, text, unique_name};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<()> {
    run(&broker_uri()).await?;
    Ok(())
}

/// Has [`WORKERS`] do all of [`TASKS`]; returns who did what, in the order of completion.
pub async fn run(uri: &str) -> Result<Vec<Done>> {
    let name = ConnectionProperties::default().with_connection_name("work queue".into());
    let connection = Connection::connect(uri, name).await?;
    let channel = connection.create_channel().await?;
    let queue = unique_name("tutorial.tasks");
    declare(&channel, &queue).await?;

    // In real life each worker is a program of its own; here they run inside this one.
    let (report, mut reports) = mpsc::channel(TASKS.len());
    let mut workers = JoinSet::new();
    for worker in WORKERS {
        let channel = connection.create_channel().await?;
        let tasks = consume(&channel, &queue).await?;
        workers.spawn(work(worker, channel, tasks, report.clone()));
    }
    drop(report);

    publish(&channel, &queue).await?;

    let mut all_done = Vec::new();
    while all_done.len() < TASKS.len()
        && let Some(done) = reports.recv().await
    {
        println!("{:>5} finished: {}", done.worker, done.task);
        all_done.push(done);
    }

    // When a queue goes, the broker cancels its consumers: the workers' streams end by themselves.
    channel
        .queue_delete(queue, QueueDeleteOptions::default())
        .await?;
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    connection.close(200, "Goodbye".into()).await?;
    Ok(all_done)
}

/// One finished task.
#[derive(Debug)]
pub struct Done {
    /// Who did it.
    pub worker: &'static str,
    /// The task, as it was published.
    pub task: String,
}

/// Declaring is idempotent: publisher and workers may all do it, and whoever starts first wins.
async fn declare(channel: &Channel, queue: &ShortString) -> Result<()> {
    channel
        .queue_declare(
            queue.clone(),
            // A durable queue survives a restart of the broker ...
            QueueDeclareOptions::durable(),
            FieldTable::default(),
        )
        .await?;
    Ok(())
}

async fn publish(channel: &Channel, queue: &ShortString) -> Result<()> {
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    for task in TASKS {
        let confirmation = channel
            .basic_publish(
                // The default exchange delivers to the queue that the routing key names.
                "".into(),
                queue.clone(),
                BasicPublishOptions::default(),
                task.as_bytes(),
                // ... and with it its persistent messages.
                BasicProperties::default().with_delivery_mode(PERSISTENT),
            )
            // The first await sends the task, the second hears that the broker has it.
            .await?
            .await?;
        if !confirmation.is_ack() {
            return Err(format!("the broker did not take the task {task:?}").into());
        }
    }
    Ok(())
}

async fn consume(channel: &Channel, queue: &ShortString) -> Result<Consumer> {
    // Without a prefetch limit the broker deals the whole queue out at once, in turn, and a worker
    // with a long task would sit on others that an idle colleague could do.
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let consumer = channel
        .basic_consume(
            queue.clone(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    Ok(consumer)
}

async fn work(
    worker: &'static str,
    channel: Channel,
    mut tasks: Consumer,
    report: mpsc::Sender<Done>,
) -> Result<()> {
    while let Some(delivery) = tasks.next().await {
        let delivery = delivery?;
        let task = text(&delivery);
        tokio::time::sleep(effort(&task)).await;
        // Only now: had this worker died before, the broker would give the task to another one.
        delivery.ack(BasicAckOptions::default()).await?;
        report.send(Done { worker, task }).await?;
    }
    // Explicitly: a channel that is only dropped is closed in the background, some time later, and
    // the connection would meanwhile be closing too.
    channel.close(200, "Goodbye".into()).await?;
    Ok(())
}

/// Each dot in a task stands for a bit of work.
fn effort(task: &str) -> Duration {
    EFFORT_PER_DOT * task.matches('.').count() as u32
}

/// The workers; each gets its next task when it has acknowledged the last.
pub const WORKERS: [&str; 2] = ["Ada", "Grace"];

/// The tasks; whoever gets the first is busy while the other does most of the rest.
pub const TASKS: [&str; 9] = [
    "render the film ....................",
    "resize photo 1 .",
    "resize photo 2 .",
    "resize photo 3 .",
    "send the newsletter ..",
    "resize photo 4 .",
    "resize photo 5 .",
    "resize photo 6 .",
    "resize photo 7 .",
];

const EFFORT_PER_DOT: Duration = Duration::from_millis(30);

/// The delivery mode of a message that is kept on disk; 1 would be transient.
const PERSISTENT: u8 = 2;
