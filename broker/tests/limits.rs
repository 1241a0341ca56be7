//! Limits that a test of any broker cannot show, because they have to be set: how long a delivery may
//! wait for its ack, how much may be unsettled, and how many consumers a channel may have.
//!
//! The client is a socket that blocks, so that what the broker does by itself is seen as it comes.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use leveret::{Broker, Config};
use leveret_protocol::client::write_publish;
use leveret_protocol::content::{ContentHeader, FRAME_HEADER};
use leveret_protocol::framer::{self, Cut};
use leveret_protocol::method::connection::{self, Method as Connection};
use leveret_protocol::method::{FRAME_METHOD, basic, channel, queue};
use leveret_protocol::{LongStr, Method, MethodId, PROTOCOL_HEADER, Properties, ShortStr};
use tokio::runtime::Runtime;

/// Longest wait for a frame, so that a broken broker fails a test instead of holding it up.
const PATIENCE: Duration = Duration::from_secs(20);
const FRAME_MAX: usize = 131_072;
/// How the payloads of these methods begin.
const DELIVER: [u8; 4] = [0, 60, 0, 60];
const DECLARE_OK: [u8; 4] = [0, 50, 0, 11];
const QUEUE: ShortStr<'static> = ShortStr(b"q");

/// A broker with a client on it; both end with the test.
struct Bench {
    socket: TcpStream,
    received: BytesMut,
    _broker: Broker,
    _runtime: Runtime,
}

/// What a close says: code, text, and the method to blame.
type Close = (u16, String, MethodId);

impl Bench {
    fn new(config: Config) -> Self {
        let runtime = Runtime::new().unwrap();
        let broker = Broker::start(config).unwrap();
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let address = runtime.block_on(broker.listen(any_port)).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut bench = Self {
            socket,
            received: BytesMut::new(),
            _broker: broker,
            _runtime: runtime,
        };
        bench.shake_hands();
        bench
    }

    fn shake_hands(&mut self) {
        self.socket.write_all(&PROTOCOL_HEADER).unwrap();
        self.expect(connection::Start::ID);
        let login = connection::StartOk {
            mechanism: ShortStr(b"PLAIN"),
            response: LongStr(b"\0guest\0guest"),
            locale: ShortStr(b"en_US"),
            ..Default::default()
        };
        self.send(0, login);
        self.expect(connection::Tune::ID);
        let tune = connection::TuneOk {
            channel_max: 10,
            frame_max: FRAME_MAX as u32,
            heartbeat: 0,
        };
        self.send(0, tune);
        let open = connection::Open {
            virtual_host: ShortStr(b"/"),
            ..Default::default()
        };
        self.send(0, open);
        self.expect(connection::OpenOk::ID);
    }

    fn open_channel(&mut self, number: u16) {
        self.send(number, channel::Open::default());
        self.expect(channel::OpenOk::ID);
    }

    /// Declares the queue with a message in it.
    fn fill_queue(&mut self) {
        let declare = queue::Declare {
            queue: QUEUE,
            ..Default::default()
        };
        self.send(1, declare);
        self.expect(queue::DeclareOk::ID);
        let publish = basic::Publish {
            routing_key: QUEUE,
            ..Default::default()
        };
        self.send(1, publish);
        let header = ContentHeader {
            class_id: 60,
            weight: 0,
            body_size: 0,
            properties: &Properties::default().to_bytes(),
        };
        let mut frame = BytesMut::new();
        header.write_frame(1, &mut frame);
        self.socket.write_all(&frame).unwrap();
    }

    /// Publishes to the queue a body of so many bytes.
    fn publish(&mut self, body_bytes: usize) {
        let publish = basic::Publish {
            routing_key: QUEUE,
            ..Default::default()
        };
        let body = vec![7; body_bytes];
        let mut bytes = BytesMut::new();
        write_publish(
            1,
            publish,
            &Properties::default(),
            &body,
            FRAME_MAX as u32,
            &mut bytes,
        );
        self.socket.write_all(&bytes).unwrap();
    }

    /// Waits for so many deliveries, with which none comes that is one too many.
    #[track_caller]
    fn expect_deliveries(&mut self, deliveries: usize, channel: u16) {
        (0..deliveries).for_each(|_| while !self.next_frame().2.starts_with(&DELIVER) {});
        let ask = queue::Declare {
            queue: QUEUE,
            passive: true,
            ..Default::default()
        };
        self.send(channel, ask);
        loop {
            let (_, _, payload) = self.next_frame();
            assert!(!payload.starts_with(&DELIVER), "one more is delivered");
            if payload.starts_with(&DECLARE_OK) {
                return;
            }
        }
    }

    fn consume(&mut self, number: u16) {
        let consume = basic::Consume {
            queue: QUEUE,
            ..Default::default()
        };
        self.send(number, consume);
    }

    fn send<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        let mut frame = BytesMut::new();
        method.into().write_frame(channel, &mut frame);
        self.socket.write_all(&frame).unwrap();
    }

    /// The next frame's type, channel and payload.
    fn next_frame(&mut self) -> (u8, u16, Vec<u8>) {
        loop {
            let cut = framer::cut(&self.received, FRAME_MAX).unwrap();
            if let Cut::Frame(frame) = cut {
                let (kind, channel, payload) = (frame.kind, frame.channel, frame.payload.to_vec());
                let len = frame.wire_len();
                self.received.advance(len);
                return (kind, channel, payload);
            }
            let mut bytes = [0; 4096];
            let read = self.socket.read(&mut bytes).unwrap();
            assert_ne!(read, 0, "the broker has closed the connection");
            self.received.extend_from_slice(&bytes[..read]);
        }
    }

    #[track_caller]
    fn expect(&mut self, id: MethodId) {
        let (kind, _, payload) = self.next_frame();
        assert_eq!(kind, FRAME_METHOD);
        let method = Method::parse(&payload).unwrap();
        assert_eq!(method.id(), id, "{method:?}");
    }

    /// A message without a body, brought by this method.
    #[track_caller]
    fn expect_message(&mut self, id: MethodId) {
        self.expect(id);
        assert_eq!(self.next_frame().0, FRAME_HEADER);
    }

    /// A close, next, and the channel it comes on.
    #[track_caller]
    fn expect_close(&mut self) -> (u16, Close) {
        let (_, on, payload) = self.next_frame();
        match Method::parse(&payload).unwrap() {
            Method::Channel(channel::Method::Close(close)) => {
                let id = MethodId::new(close.class_id, close.method_id);
                (on, (close.reply_code, close.reply_text.to_string(), id))
            }
            Method::Connection(Connection::Close(close)) => {
                let id = MethodId::new(close.class_id, close.method_id);
                (on, (close.reply_code, close.reply_text.to_string(), id))
            }
            other => panic!("{other:?} instead of a close"),
        }
    }
}

fn with_consumer_timeout() -> Bench {
    let mut bench = Bench::new(Config {
        consumer_timeout_ms: 100,
        ..Config::default()
    });
    bench.open_channel(1);
    bench.fill_queue();
    bench
}

fn timed_out(channel: u16) -> Close {
    let text = format!(
        "PRECONDITION_FAILED - delivery acknowledgement on channel {channel} timed out. Timeout \
         value used: 100 ms. This timeout value can be configured, see consumers doc guide to \
         learn more"
    );
    (406, text, MethodId::NONE)
}

#[test]
fn deliv_13_a_delivery_that_is_not_acked_in_time_closes_its_channel() {
    let mut bench = with_consumer_timeout();
    bench.consume(1);
    bench.expect(basic::ConsumeOk::ID);
    bench.expect_message(basic::Deliver::ID);
    assert_eq!(bench.expect_close(), (1, timed_out(1)));
    bench.send(1, channel::CloseOk {});
    // The message is in its queue again, and the connection is not touched.
    bench.open_channel(2);
    bench.consume(2);
    bench.expect(basic::ConsumeOk::ID);
    bench.expect_message(basic::Deliver::ID);
}

#[test]
fn deliv_13_gets_are_timed_as_well() {
    let mut bench = with_consumer_timeout();
    let get = basic::Get {
        queue: QUEUE,
        ..Default::default()
    };
    bench.send(1, get);
    bench.expect_message(basic::GetOk::ID);
    assert_eq!(bench.expect_close(), (1, timed_out(1)));
}

/// A queue with so many messages of 40 KiB, of which 100 KiB may be unsettled.
fn with_unsettled_bytes_max(messages: usize) -> Bench {
    let mut bench = Bench::new(Config {
        unsettled_bytes_max: 100 << 10,
        ..Config::default()
    });
    bench.open_channel(1);
    bench.fill_queue();
    let purge = queue::Purge {
        queue: QUEUE,
        ..Default::default()
    };
    bench.send(1, purge);
    bench.expect(queue::PurgeOk::ID);
    (0..messages).for_each(|_| bench.publish(40 << 10));
    bench
}

#[test]
fn no_more_than_so_many_bytes_wait_to_be_settled() {
    let mut bench = with_unsettled_bytes_max(10);
    bench.consume(1);
    // The third takes it beyond the limit.
    bench.expect_deliveries(3, 1);
    let ack = |delivery_tag, multiple| basic::Ack {
        delivery_tag,
        multiple,
    };
    bench.send(1, ack(1, false));
    bench.expect_deliveries(1, 1);
    bench.send(1, ack(0, true));
    bench.expect_deliveries(3, 1);
    // It is the connection's limit, not the channel's; and what a channel leaves when it is closed makes room.
    bench.open_channel(2);
    bench.consume(2);
    bench.expect_deliveries(0, 2);
    bench.send(1, channel::Close::default());
    bench.expect_deliveries(3, 2);
}

#[test]
fn one_message_is_delivered_however_large_and_what_needs_no_ack_always() {
    let mut bench = with_unsettled_bytes_max(0);
    bench.publish(300 << 10);
    bench.consume(1);
    bench.expect_deliveries(1, 1);
    let consume = basic::Consume {
        queue: QUEUE,
        no_ack: true,
        ..Default::default()
    };
    bench.send(1, consume);
    (0..10).for_each(|_| bench.publish(1));
    bench.expect_deliveries(10, 1);
}

#[test]
fn cons_13_a_channel_has_no_more_consumers_than_allowed() {
    let mut bench = Bench::new(Config {
        consumers_per_channel_max: 2,
        ..Config::default()
    });
    bench.open_channel(1);
    bench.open_channel(2);
    bench.fill_queue();
    for channel in [2, 1, 1] {
        bench.consume(channel);
        bench.expect(basic::ConsumeOk::ID);
        if channel == 2 {
            bench.expect_message(basic::Deliver::ID);
        }
    }
    bench.consume(1);
    let text = "NOT_ALLOWED - reached maximum (2) of consumers per channel";
    let close = (530, text.to_owned(), basic::Consume::ID);
    assert_eq!(bench.expect_close(), (0, close));
}
