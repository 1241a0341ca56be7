//! The whole path, from the bytes of publishes to the bytes of deliveries: two connections of one broker
//! over streams in memory, polled by hand.
//!
//! ```text
//!   publishes ──▶ publisher's connection ──▶ queues ──▶ consumer's connection ──▶ deliveries
//!                      └─▶ confirms                           └◀── acks
//! ```
//!
//! Nothing else runs: the tasks that the broker shares are never polled.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use leveret::config::AuthMechanism;
use leveret::{Broker, Config};
use leveret_protocol::client::{write_method, write_protocol_header};
use leveret_protocol::method::{basic, channel, confirm, connection, queue};
use leveret_protocol::{Method, Properties, ShortStr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use super::messages::{FRAME_MAX, headers, properties, publishes};
use super::{MESSAGES, Part};

/// What is on its way between a client and the broker.
#[derive(Default)]
struct Wire {
    to_broker: Bytes,
    to_client: Vec<u8>,
}

/// The broker's end of a wire, and the client's.
#[derive(Clone, Default)]
struct Stream(Arc<Mutex<Wire>>);

impl Stream {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().expect("nobody panics under it")
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.wire();
        if wire.to_broker.is_empty() {
            return Poll::Pending;
        }
        let len = wire.to_broker.len().min(into.remaining());
        into.put_slice(&wire.to_broker.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire().to_client.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// One client and its connection in the broker.
struct Client {
    stream: Stream,
    connection: Pin<Box<dyn Future<Output = ()>>>,
}

impl Client {
    fn new(broker: &Broker) -> Self {
        let stream = Stream::default();
        let (broker, theirs) = (broker.clone(), stream.clone());
        Self {
            stream,
            connection: Box::pin(async move { broker.serve(theirs).await }),
        }
    }

    fn send(&self, bytes: Bytes) {
        let mut wire = self.stream.wire();
        assert!(wire.to_broker.is_empty());
        wire.to_broker = bytes;
    }

    fn poll(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let ended = self.connection.as_mut().poll(&mut context).is_ready();
        assert!(!ended, "{:?}", self.stream.wire().to_client);
    }

    /// How many bytes it was sent.
    fn received(&self) -> usize {
        self.stream.wire().to_client.len()
    }

    fn forget_received(&self) {
        self.stream.wire().to_client.clear();
    }
}

/// A publisher, a consumer, and what they do in a round.
struct Pair {
    publisher: Client,
    consumer: Client,
    publishes: Bytes,
    /// Bytes of all deliveries of a round; zero while that is not known.
    expected: usize,
    acks: Option<Acks>,
    /// The last field, so that the connections go before it.
    runtime: Runtime,
}

/// Acknowledgements of each delivery.
struct Acks {
    next_tag: u64,
    ready: Bytes,
}

impl Acks {
    fn prepare(&mut self) {
        let mut out = BytesMut::new();
        for delivery_tag in self.next_tag..self.next_tag + MESSAGES as u64 {
            let ack = basic::Ack {
                delivery_tag,
                multiple: false,
            };
            write_method(1, ack, &mut out);
        }
        self.ready = out.freeze();
    }
}

impl Part for Pair {
    fn prepare(&mut self) {
        self.publisher.forget_received();
        self.consumer.forget_received();
        if let Some(acks) = &mut self.acks {
            acks.prepare();
        }
    }

    fn round(&mut self) {
        self.publisher.send(self.publishes.clone());
        self.run();
        if let Some(acks) = &mut self.acks {
            acks.next_tag += MESSAGES as u64;
            self.consumer.send(acks.ready.clone());
            self.run();
        }
        let received = self.consumer.received();
        if self.expected == 0 {
            self.expected = received;
        }
        assert!(received == self.expected && received > 0);
    }
}

impl Pair {
    /// Polls both until neither has anything to do.
    fn run(&mut self) {
        let _within = self.runtime.enter();
        let mut before = usize::MAX;
        loop {
            self.publisher.poll();
            self.consumer.poll();
            let unread = self.publisher.stream.wire().to_broker.len();
            let now = self.consumer.received() + unread;
            if now == before {
                return;
            }
            before = now;
        }
    }

    fn part(case: &Case<'_>) -> Box<dyn Part> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        // Neither is to look at the time, or to wait for a password to be looked at.
        let config = Config {
            auth_mechanisms: vec![AuthMechanism::Anonymous],
            anonymous_login_user: "guest".to_owned(),
            heartbeat_s: 0,
            consumer_timeout_ms: 0,
            ..Config::default()
        };
        let broker = Broker::start(config).expect("a broker");
        let mut pair = Self {
            publisher: Client::new(&broker),
            consumer: Client::new(&broker),
            publishes: publishes(case.exchange, "q0", case.properties, case.len),
            expected: 0,
            acks: case.ack.then(|| Acks {
                next_tag: 1,
                ready: Bytes::new(),
            }),
            runtime,
        };
        pair.consumer.send(case.consumer_opening());
        pair.run();
        pair.publisher.send(case.publisher_opening());
        pair.run();
        Box::new(pair)
    }
}

/// What is published and how.
struct Case<'a> {
    len: usize,
    exchange: &'a str,
    queues: usize,
    properties: &'a Properties<'a>,
    ack: bool,
    confirm: bool,
}

const PLAIN: Case<'static> = Case {
    len: 16,
    exchange: "",
    queues: 1,
    properties: &NO_PROPERTIES,
    ack: false,
    confirm: false,
};

const NO_PROPERTIES: Properties<'static> = Properties {
    content_type: None,
    content_encoding: None,
    headers: None,
    delivery_mode: None,
    priority: None,
    correlation_id: None,
    reply_to: None,
    expiration: None,
    message_id: None,
    timestamp: None,
    kind: None,
    user_id: None,
    app_id: None,
    cluster_id: None,
};

impl Case<'_> {
    fn publisher_opening(&self) -> Bytes {
        let mut out = opening();
        if self.confirm {
            write_method(1, confirm::Select::default(), &mut out);
        }
        out.freeze()
    }

    fn consumer_opening(&self) -> Bytes {
        let mut out = opening();
        for number in 0..self.queues {
            let name = format!("q{number}");
            self.consume(&name, &mut out);
        }
        out.freeze()
    }

    fn consume(&self, name: &str, out: &mut BytesMut) {
        let name = ShortStr(name.as_bytes());
        let declare = queue::Declare {
            queue: name,
            ..Default::default()
        };
        let bind = queue::Bind {
            queue: name,
            exchange: ShortStr(self.exchange.as_bytes()),
            ..Default::default()
        };
        let consume = basic::Consume {
            queue: name,
            no_ack: !self.ack,
            ..Default::default()
        };
        write_method(1, declare, out);
        if !self.exchange.is_empty() {
            write_method(1, bind, out);
        }
        write_method(1, Method::from(consume), out);
    }
}

/// What opens a connection and a channel.
fn opening() -> BytesMut {
    let mut out = BytesMut::new();
    write_protocol_header(&mut out);
    let start_ok = connection::StartOk {
        mechanism: ShortStr(b"ANONYMOUS"),
        ..Default::default()
    };
    write_method(0, start_ok, &mut out);
    let tune_ok = connection::TuneOk {
        channel_max: 1,
        frame_max: FRAME_MAX,
        heartbeat: 0,
    };
    write_method(0, tune_ok, &mut out);
    let open = connection::Open {
        virtual_host: ShortStr(b"/"),
        ..Default::default()
    };
    write_method(0, open, &mut out);
    write_method(1, channel::Open::default(), &mut out);
    out
}

pub(super) fn auto_ack_16() -> Box<dyn Part> {
    Pair::part(&PLAIN)
}

pub(super) fn ack_16() -> Box<dyn Part> {
    Pair::part(&Case { ack: true, ..PLAIN })
}

pub(super) fn properties_16() -> Box<dyn Part> {
    let headers = headers();
    Pair::part(&Case {
        properties: &properties(&headers),
        ..PLAIN
    })
}

pub(super) fn confirm_16() -> Box<dyn Part> {
    Pair::part(&Case {
        confirm: true,
        ..PLAIN
    })
}

pub(super) fn auto_ack_1024() -> Box<dyn Part> {
    Pair::part(&Case { len: 1024, ..PLAIN })
}

/// Ten deliveries for each message.
pub(super) fn fanout_10() -> Box<dyn Part> {
    Pair::part(&Case {
        exchange: "amq.fanout",
        queues: 10,
        ..PLAIN
    })
}
