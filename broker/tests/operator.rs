//! What only the one who runs the broker can cause: its limits and its shutdown, seen from clients
//! on real sockets.

#![allow(clippy::unwrap_used, missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use leveret::{Broker, Config};
use leveret_protocol::client::{Decoder, write_method, write_protocol_header};
use leveret_protocol::method::connection::{self, Method as Connection};
use leveret_protocol::method::{channel, queue};
use leveret_protocol::{LongStr, Method, MethodId, ShortStr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for an answer, so that a broken broker fails a test instead of holding it up.
const PATIENCE: Duration = Duration::from_secs(10);

async fn start(config: Config) -> (Broker, SocketAddr) {
    let broker = Broker::start(config).unwrap();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = broker.listen(any_port).await.unwrap();
    (broker, address)
}

struct Client {
    stream: TcpStream,
    decoder: Decoder,
}

/// A `connection.close` as it came.
#[derive(Debug, PartialEq)]
struct Close {
    code: u16,
    text: String,
    culprit: MethodId,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            decoder: Decoder::default(),
        }
    }

    /// A client that has sent its whole handshake and read nothing but tune.
    async fn opening(address: SocketAddr) -> Self {
        let mut client = Self::connect(address).await;
        let mut out = BytesMut::new();
        write_protocol_header(&mut out);
        let start_ok = connection::StartOk {
            mechanism: ShortStr(b"PLAIN"),
            response: LongStr(b"\0guest\0guest"),
            ..Default::default()
        };
        write_method(0, start_ok, &mut out);
        let tune_ok = connection::TuneOk {
            channel_max: 10,
            frame_max: 131_072,
            heartbeat: 0,
        };
        write_method(0, tune_ok, &mut out);
        let open = connection::Open {
            virtual_host: ShortStr(b"/"),
            ..Default::default()
        };
        write_method(0, open, &mut out);
        client.stream.write_all(&out).await.unwrap();
        client.expect(connection::Start::ID).await;
        client.expect(connection::Tune::ID).await;
        client
    }

    async fn open(address: SocketAddr) -> Self {
        let mut client = Self::opening(address).await;
        client.expect(connection::OpenOk::ID).await;
        client
    }

    /// What is read next from a method; `None` at the end of the connection.
    async fn next<T>(&mut self, read: impl FnOnce(Method<'_>) -> T) -> Option<T> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(read(frame.method().unwrap()));
            }
            let received = self.stream.read_buf(self.decoder.buffer_mut());
            if timeout(PATIENCE, received).await.unwrap().unwrap() == 0 {
                return None;
            }
        }
    }

    async fn expect(&mut self, id: MethodId) {
        assert_eq!(self.next(|method| method.id()).await, Some(id));
    }

    async fn call<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>, reply: MethodId) {
        let mut out = BytesMut::new();
        write_method(channel, method, &mut out);
        self.stream.write_all(&out).await.unwrap();
        self.expect(reply).await;
    }

    async fn expect_close(&mut self) -> Close {
        let close = self.next(|method| match method {
            Method::Connection(Connection::Close(close)) => Close {
                code: close.reply_code,
                text: close.reply_text.to_text().into_owned(),
                culprit: MethodId::new(close.class_id, close.method_id),
            },
            other => panic!("{other:?}"),
        });
        close.await.unwrap()
    }

    async fn expect_end(&mut self) {
        let came = self.next(|method| format!("{method:?}")).await;
        assert_eq!(came, None);
    }
}

#[tokio::test]
async fn conn_41_a_shutdown_closes_every_connection_and_waits_for_none() {
    let (broker, address) = start(Config::default()).await;
    let idle = Client::open(address).await;
    let mut busy = Client::open(address).await;
    busy.call(1, channel::Open::default(), channel::OpenOk::ID)
        .await;
    let declare = queue::Declare {
        queue: ShortStr(b"q"),
        exclusive: true,
        ..Default::default()
    };
    busy.call(1, declare, queue::DeclareOk::ID).await;

    // Nobody answers the close, and still the broker has ended long before its deadline.
    let done = timeout(PATIENCE, broker.shutdown(10 * PATIENCE)).await;
    assert!(done.is_ok());
    for mut client in [idle, busy] {
        let close = Close {
            code: 320,
            text: "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
                .to_owned(),
            culprit: MethodId::NONE,
        };
        assert_eq!(client.expect_close().await, close);
        client.expect_end().await;
    }
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn conn_41_a_handshake_under_way_ends_without_a_word() {
    let (broker, address) = start(Config::default()).await;
    let mut client = Client::connect(address).await;
    let mut header = BytesMut::new();
    write_protocol_header(&mut header);
    client.stream.write_all(&header).await.unwrap();
    client.expect(connection::Start::ID).await;
    broker.shutdown(PATIENCE).await;
    client.expect_end().await;
}

#[tokio::test]
async fn conn_23_the_limit_of_the_node_is_kept() {
    let config = Config {
        connections_max: 1,
        ..Config::default()
    };
    let (_broker, address) = start(config).await;
    let first = Client::open(address).await;
    let mut second = Client::opening(address).await;
    let close = Close {
        code: 530,
        text: "NOT_ALLOWED - connection refused: node connection limit (1) is reached".to_owned(),
        culprit: connection::Open::ID,
    };
    assert_eq!(second.expect_close().await, close);
    drop(first);
}
