//! A client of the broker under test, which logs in as whoever is asked for.

use bytes::BytesMut;
use leveret_protocol::client::{OwnedFrame, write_method, write_protocol_header, write_publish};
use leveret_protocol::method::{basic, channel, connection};
use leveret_protocol::{LongStr, Method, MethodId, Properties, ShortStr};
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::Client;

/// What became of something that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Allowed,
    /// The code and the text of a close.
    Refused(u16, String),
}

/// A connection with the latest of its channels.
pub(crate) struct Peer {
    client: Client,
    channel: u16,
}

impl Peer {
    /// Logs in and opens this vhost.
    pub(crate) async fn open(
        address: SocketAddr,
        user: &str,
        vhost: &str,
    ) -> Result<Self, Outcome> {
        let stream = TcpStream::connect(address).await.unwrap();
        let decoder = Default::default();
        let mut peer = Self {
            client: Client { stream, decoder },
            channel: 0,
        };
        peer.shake_hands(user, vhost).await;
        match peer.answer(connection::OpenOk::ID).await {
            Outcome::Allowed => peer.open_channel().await,
            refused => return Err(refused),
        }
        Ok(peer)
    }

    async fn shake_hands(&mut self, user: &str, vhost: &str) {
        let mut out = BytesMut::new();
        write_protocol_header(&mut out);
        let response = format!("\0{user}\0{user}");
        let start_ok = connection::StartOk {
            mechanism: ShortStr(b"PLAIN"),
            response: LongStr(response.as_bytes()),
            ..Default::default()
        };
        write_method(0, start_ok, &mut out);
        let tune_ok = connection::TuneOk {
            channel_max: 2_000,
            frame_max: 131_072,
            heartbeat: 0,
        };
        write_method(0, tune_ok, &mut out);
        let open = connection::Open {
            virtual_host: ShortStr(vhost.as_bytes()),
            ..Default::default()
        };
        write_method(0, open, &mut out);
        self.client.stream.write_all(&out).await.unwrap();
        self.client.expect(connection::Start::ID).await;
        self.client.expect(connection::Tune::ID).await;
    }

    /// Goes on with another channel.
    pub(crate) async fn open_channel(&mut self) {
        self.channel += 1;
        self.send(channel::Open::default()).await;
        self.client.expect(channel::OpenOk::ID).await;
    }

    pub(crate) async fn send<'m>(&mut self, method: impl Into<Method<'m>>) {
        let mut out = BytesMut::new();
        write_method(self.channel, method, &mut out);
        self.client.stream.write_all(&out).await.unwrap();
    }

    /// Asks, and goes on with another channel if that has closed this one.
    pub(crate) async fn ask<'m>(
        &mut self,
        method: impl Into<Method<'m>>,
        reply: MethodId,
    ) -> Outcome {
        self.send(method).await;
        self.answer(reply).await
    }

    /// Asks for what must be allowed.
    pub(crate) async fn call<'m>(&mut self, method: impl Into<Method<'m>>, reply: MethodId) {
        let outcome = self.ask(method, reply).await;
        assert_eq!(outcome, Outcome::Allowed, "{reply:?}");
    }

    /// Publishes on a channel that confirms.
    pub(crate) async fn publish(
        &mut self,
        exchange: &str,
        key: &str,
        properties: &Properties<'_>,
    ) -> Outcome {
        let publish = basic::Publish {
            exchange: exchange.into(),
            routing_key: key.into(),
            ..Default::default()
        };
        let mut out = BytesMut::new();
        write_publish(self.channel, publish, properties, b"m", 131_072, &mut out);
        self.client.stream.write_all(&out).await.unwrap();
        self.answer(basic::Ack::ID).await
    }

    async fn answer(&mut self, reply: MethodId) -> Outcome {
        let read = self.client.next(|method| match method {
            Method::Channel(channel::Method::Close(close)) => {
                let text = close.reply_text.to_text().into_owned();
                (
                    close.class_id != 0,
                    Outcome::Refused(close.reply_code, text),
                )
            }
            Method::Connection(connection::Method::Close(close)) => {
                let text = close.reply_text.to_text().into_owned();
                (false, Outcome::Refused(close.reply_code, text))
            }
            other => {
                assert_eq!(other.id(), reply);
                (false, Outcome::Allowed)
            }
        });
        let (is_channel_closed, outcome) = read.await.unwrap();
        if is_channel_closed {
            self.send(channel::CloseOk::default()).await;
            self.open_channel().await;
        }
        outcome
    }

    pub(crate) async fn frame(&mut self) -> OwnedFrame {
        self.client.next_frame().await
    }

    /// A number that an answer brings.
    pub(crate) async fn count<'m>(
        &mut self,
        method: impl Into<Method<'m>>,
        read: impl FnOnce(Method<'_>) -> u32,
    ) -> u32 {
        self.send(method).await;
        self.client.next(read).await.unwrap()
    }
}
