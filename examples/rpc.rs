//! Tutorial 5, remote procedure call: ask a question through one queue, get the answer by another.
//!
//! ```text
//!                   ┌──► [ requests ] ─────────┬──► server
//!     client ───────┤     reply_to,            └──► server
//!        ▲                correlation_id             │
//!        └────────────── [ replies ] ◄───────────────┘
//!                         correlation_id
//! ```
//!
//! The client's replies all come by one queue, and not in the order of the questions: a hard one
//! takes longer. The correlation id that a server copies from the request into the reply says
//! which caller an answer is for. The service here takes a number apart into its prime factors.
//!
//! The same once more without a queue for the replies: who names `amq.rabbitmq.reply-to` is answered
//! directly, over the channel that it has asked on. That costs nothing to set up; but a reply that nobody
//! is there for is lost, where a queue would keep it for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_lite::StreamExt;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer};
use leveret_examples::{Result, broker_uri, text, unique_name};
use tokio::sync::{Mutex, oneshot};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

#[tokio::main]
async fn main() -> Result<()> {
    for way in [Replies::OwnQueue, Replies::Direct] {
        run(&broker_uri(), way).await?;
    }
    Ok(())
}

/// Which way the answers come.
#[derive(Clone, Copy, Debug)]
pub enum Replies {
    /// By a queue that lives as long as the connection.
    OwnQueue,
    /// By none.
    Direct,
}

/// Asks all of [`QUESTIONS`] at the same time; returns them with their answers, as these came in.
pub async fn run(uri: &str, way: Replies) -> Result<Vec<(String, String)>> {
    let name = ConnectionProperties::default().with_connection_name("rpc".into());
    let connection = Connection::connect(uri, name).await?;
    let channel = connection.create_channel().await?;
    let requests = unique_name("tutorial.factors");
    channel
        .queue_declare(
            requests.clone(),
            QueueDeclareOptions::durable(),
            FieldTable::default(),
        )
        .await?;

    let mut servers = JoinSet::new();
    for _ in 0..SERVERS {
        servers.spawn(serve(start_server(&connection, &requests).await?));
    }
    let client = Arc::new(Client::start(&connection, requests.clone(), way).await?);
    let answers = ask_all(&client).await?;

    // When a queue goes, the broker cancels its consumers: the servers end by themselves.
    channel
        .queue_delete(requests, QueueDeleteOptions::default())
        .await?;
    while let Some(server) = servers.join_next().await {
        server??;
    }
    connection.close(200, "Goodbye".into()).await?;
    Ok(answers)
}

async fn ask_all(client: &Arc<Client>) -> Result<Vec<(String, String)>> {
    let mut callers = JoinSet::new();
    for question in QUESTIONS {
        let client = Arc::clone(client);
        callers.spawn(async move { (question, client.call(question).await) });
    }
    let mut answers = Vec::new();
    while let Some(caller) = callers.join_next().await {
        let (question, answer) = caller?;
        let answer = answer?;
        println!("{question} = {answer}");
        answers.push((question.to_owned(), answer));
    }
    Ok(answers)
}

/// The asking side: any number of callers share one reply queue.
struct Client {
    channel: Channel,
    requests: ShortString,
    replies: ShortString,
    next_id: AtomicU64,
    waiting: Waiting,
}

/// Whom to give an answer to, by correlation id.
type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<String>>>>;

impl Client {
    async fn start(connection: &Connection, requests: ShortString, way: Replies) -> Result<Self> {
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let replies = match way {
            Replies::OwnQueue => own_queue(&channel).await?,
            Replies::Direct => "amq.rabbitmq.reply-to".into(),
        };
        // Replies are not acknowledged; those that come directly cannot be.
        let no_ack = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let incoming = channel
            .basic_consume(replies.clone(), "".into(), no_ack, FieldTable::default())
            .await?;
        let waiting = Waiting::default();
        // Ends with the connection.
        tokio::spawn(hand_out_replies(incoming, Arc::clone(&waiting)));
        Ok(Self {
            channel,
            requests,
            replies,
            next_id: AtomicU64::new(1),
            waiting,
        })
    }

    /// Asks `question` and waits for its answer, [`PATIENCE`] at most.
    async fn call(&self, question: &str) -> Result<String> {
        // The reply queue is ours alone, so a counter makes an id that no other reply there has.
        let id = self.next_id.fetch_add(1, Ordering::Relaxed).to_string();
        let (answer_here, answer) = oneshot::channel();
        // Before the request is on its way: the answer must find its caller, however fast it is.
        self.waiting.lock().await.insert(id.clone(), answer_here);
        let outcome = self.ask(question, &id, answer).await;
        // Whoever gave up must not be waited for; a late answer then finds nobody and is dropped.
        self.waiting.lock().await.remove(&id);
        outcome
    }

    async fn ask(
        &self,
        question: &str,
        id: &str,
        answer: oneshot::Receiver<String>,
    ) -> Result<String> {
        self.request(question, id).await?;
        Ok(timeout(PATIENCE, answer).await??)
    }

    async fn request(&self, question: &str, id: &str) -> Result<()> {
        // Mandatory: if the queue is gone, better to hear it at once than to wait in vain.
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let properties = BasicProperties::default()
            .with_reply_to(self.replies.clone())
            .with_correlation_id(id.into());
        let confirmation = self
            .channel
            .basic_publish(
                "".into(),
                self.requests.clone(),
                mandatory,
                question.as_bytes(),
                properties,
            )
            .await?
            .await?;
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => Err(format!("no queue {}", self.requests).into()),
            _ => Err("the broker did not take the request".into()),
        }
    }
}

async fn own_queue(channel: &Channel) -> Result<ShortString> {
    let queue = channel
        .queue_declare(
            "".into(),
            QueueDeclareOptions::exclusive(),
            FieldTable::default(),
        )
        .await?;
    Ok(queue.name().clone())
}

async fn hand_out_replies(mut incoming: Consumer, waiting: Waiting) {
    while let Some(Ok(reply)) = incoming.next().await {
        let Some(id) = reply.properties.correlation_id() else {
            continue;
        };
        if let Some(caller) = waiting.lock().await.remove(id.as_str()) {
            // The caller may have given up in this very moment; then nobody wants the answer.
            let _ = caller.send(text(&reply));
        }
    }
}

/// The answering side.
struct Server {
    channel: Channel,
    incoming: Consumer,
}

async fn start_server(connection: &Connection, requests: &ShortString) -> Result<Server> {
    let channel = connection.create_channel().await?;
    // One request at a time, so that easy ones do not queue up behind a hard one.
    channel.basic_qos(1, BasicQosOptions::default()).await?;
    let incoming = channel
        .basic_consume(
            requests.clone(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    Ok(Server { channel, incoming })
}

async fn serve(mut server: Server) -> Result<()> {
    while let Some(request) = server.incoming.next().await {
        let request = request?;
        let question = text(&request);
        // Long computations have no place on the threads that move messages.
        let answer = spawn_blocking(move || factorise(&question)).await?;
        reply(&server.channel, &request, &answer).await?;
        // Acknowledged last: if this server dies before, another one answers.
        request.ack(BasicAckOptions::default()).await?;
    }
    // Explicitly: a channel that is only dropped is closed in the background, some time later, and
    // the connection would meanwhile be closing too.
    server.channel.close(200, "Goodbye".into()).await?;
    Ok(())
}

async fn reply(channel: &Channel, request: &Delivery, answer: &str) -> Result<()> {
    let Some(reply_to) = request.properties.reply_to() else {
        // Nobody waits for an answer.
        return Ok(());
    };
    let mut properties = BasicProperties::default();
    if let Some(id) = request.properties.correlation_id() {
        properties = properties.with_correlation_id(id.clone());
    }
    channel
        .basic_publish(
            "".into(),
            reply_to.clone(),
            BasicPublishOptions::default(),
            answer.as_bytes(),
            properties,
        )
        .await?;
    Ok(())
}

/// The prime factors of a number, as text: `"12"` gives `"2 x 2 x 3"`.
///
/// A question that makes no sense gets an answer too, or its caller would wait for nothing.
fn factorise(question: &str) -> String {
    match question.parse() {
        Ok(number @ 2..=LARGEST) => {
            let factors: Vec<_> = prime_factors(number).iter().map(u64::to_string).collect();
            factors.join(" x ")
        }
        _ => format!("not a number from 2 to {LARGEST}"),
    }
}

fn prime_factors(mut number: u64) -> Vec<u64> {
    let mut factors = Vec::new();
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            factors.push(divisor);
            number /= divisor;
        } else {
            divisor += 1;
        }
    }
    factors.push(number);
    factors
}

/// All asked at once; the first is the hard one and will hardly be answered first.
pub const QUESTIONS: [&str; 7] = [
    "99999820000081",
    "12",
    "91",
    "97",
    "1001",
    "65536",
    "a dozen",
];

/// How many servers share the request queue.
const SERVERS: usize = 2;

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest number taken apart: ten million steps at most, a fraction of a second.
const LARGEST: u64 = 100_000_000_000_000;
