//! A raw client for tests of a broker in this process.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use leveret::{Broker, Config};
use leveret_protocol::client::{Decoder, OwnedFrame, write_method, write_protocol_header};
use leveret_protocol::method::connection::{self, Method as Connection};
use leveret_protocol::{LongStr, Method, MethodId, ShortStr, Table};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for an answer, so that a broken broker fails a test instead of holding it up.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub async fn start(config: Config) -> (Broker, SocketAddr) {
    let broker = Broker::start(config).unwrap();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = broker.listen(any_port).await.unwrap();
    (broker, address)
}

/// One side of a connection, or only its reading half.
pub struct Client<S = TcpStream> {
    pub stream: S,
    pub decoder: Decoder,
}

/// A `connection.close` as it came.
#[derive(Debug, PartialEq)]
pub struct Close {
    pub code: u16,
    pub text: String,
    pub culprit: MethodId,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            decoder: Decoder::default(),
        }
    }

    /// A client that has sent its whole handshake and read nothing but tune.
    pub async fn opening(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::open_over(stream, Table::default()).await
    }

    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, Table::default()).await
    }

    pub async fn open_with(address: SocketAddr, properties: Table<'_>) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut client = Self::open_over(stream, properties).await;
        client.expect(connection::OpenOk::ID).await;
        client
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Sends the whole handshake and reads nothing but tune.
    pub async fn open_over(stream: S, client_properties: Table<'_>) -> Self {
        Self::open_tuned(stream, client_properties, 0).await
    }

    pub async fn open_tuned(stream: S, client_properties: Table<'_>, heartbeat: u16) -> Self {
        let mut client = Self {
            stream,
            decoder: Decoder::default(),
        };
        let mut out = BytesMut::new();
        write_protocol_header(&mut out);
        let start_ok = connection::StartOk {
            client_properties,
            mechanism: ShortStr(b"PLAIN"),
            response: LongStr(b"\0guest\0guest"),
            ..Default::default()
        };
        write_method(0, start_ok, &mut out);
        let tune_ok = connection::TuneOk {
            channel_max: 10,
            frame_max: 131_072,
            heartbeat,
        };
        write_method(0, tune_ok, &mut out);
        let open = connection::Open {
            virtual_host: ShortStr(b"/"),
            ..Default::default()
        };
        write_method(0, open, &mut out);
        client.stream.write_all(&out).await.unwrap();
        // TLS may keep a part.
        client.stream.flush().await.unwrap();
        client.expect(connection::Start::ID).await;
        client.expect(connection::Tune::ID).await;
        client
    }

    pub async fn call<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>, reply: MethodId) {
        let mut out = BytesMut::new();
        write_method(channel, method, &mut out);
        self.stream.write_all(&out).await.unwrap();
        self.expect(reply).await;
    }

    /// Reads on one half and leaves the other to be written to.
    pub fn split(self) -> (Client<ReadHalf<S>>, WriteHalf<S>) {
        let (stream, writer) = tokio::io::split(self.stream);
        let decoder = self.decoder;
        (Client { stream, decoder }, writer)
    }
}

impl<S: AsyncRead + Unpin> Client<S> {
    /// The next frame; `None` at the end of the connection.
    pub async fn read_frame(&mut self) -> Option<OwnedFrame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let received = self.stream.read_buf(self.decoder.buffer_mut());
            if timeout(PATIENCE, received).await.unwrap().unwrap() == 0 {
                return None;
            }
        }
    }

    pub async fn next_frame(&mut self) -> OwnedFrame {
        self.read_frame().await.unwrap()
    }

    /// What is read next from a method; `None` at the end of the connection.
    pub async fn next<T>(&mut self, read: impl FnOnce(Method<'_>) -> T) -> Option<T> {
        let frame = self.read_frame().await?;
        Some(read(frame.method().unwrap()))
    }

    pub async fn next_id(&mut self) -> MethodId {
        self.next(|method| method.id()).await.unwrap()
    }

    pub async fn expect(&mut self, id: MethodId) {
        assert_eq!(self.next(|method| method.id()).await, Some(id));
    }

    pub async fn expect_close(&mut self) -> Close {
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

    pub async fn expect_end(&mut self) {
        assert!(self.read_frame().await.is_none());
    }
}
