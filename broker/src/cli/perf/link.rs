//! One connection to a broker, with one channel.
//!
//! ```text
//!   open ──▶ call, call ──▶ turn · next_frame, turn · next_frame ... ──▶ finish
//! ```
//!
//! [`Link::turn`] waits until the socket can do something and does it: it writes what is in the
//! buffer and reads what came, in one task, so that neither direction can hold up the other.
//!
//! What it is not: a client library. It offers no heartbeats, keeps no consumers and never reconnects.
//!
//! Invariants: no wait is longer than the patience; `connection.close`, `channel.close` and
//! `connection.blocked` never reach the caller as frames.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use leveret_protocol::client::{Decoder, OwnedFrame, write_method, write_protocol_header};
use leveret_protocol::method::FRAME_METHOD;
use leveret_protocol::method::channel;
use leveret_protocol::method::connection::{self, Method as Connection};
use leveret_protocol::{LongStr, Method, MethodId, ShortStr, TableBuf, Value};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PerfError;
use super::notices::Notices;
use super::uri::Uri;

/// The one channel.
pub(super) const CHANNEL: u16 = 1;
/// Room made for each read; more than a socket's buffer gives at once.
const READ_LEN: usize = 256 << 10;
/// The frame size taken when the broker sets no limit; RabbitMQ's default.
const FRAME_MAX: u32 = 131_072;
/// Channels asked for: only one is used.
const CHANNEL_MAX: u16 = 1;
/// Calls that wait for their answers at once: enough to hide the round trips of thousands of declares.
const CALLS_MAX: usize = 100;

/// One connection to a broker.
#[derive(Debug)]
pub(super) struct Link {
    stream: TcpStream,
    decoder: Decoder,
    /// What is to be written. Whoever appends keeps it bounded.
    pub(super) out: BytesMut,
    notices: Notices,
    patience: Duration,
    frame_max: u32,
}

impl Link {
    /// Connects, logs in, opens the vhost and the channel.
    ///
    /// # Errors
    /// Nobody listens, or the broker refuses; its own text is in the error.
    pub(super) async fn open(uri: &Uri, patience: Duration) -> Result<Self, PerfError> {
        let mut link = Self::connect(uri, patience).await?;
        write_protocol_header(&mut link.out);
        link.await_method(connection::Start::ID, "connection.start")
            .await?;
        link.log_in(uri).await?;
        let open = connection::Open {
            virtual_host: ShortStr(uri.vhost.as_bytes()),
            ..Default::default()
        };
        link.call(0, open, connection::OpenOk::ID, "connection.open-ok")
            .await?;
        let open = channel::Open::default();
        link.call(CHANNEL, open, channel::OpenOk::ID, "channel.open-ok")
            .await?;
        Ok(link)
    }

    async fn connect(uri: &Uri, patience: Duration) -> Result<Self, PerfError> {
        let address = uri.address.clone();
        let refused = |source| PerfError::Connect {
            address: address.clone(),
            source,
        };
        let stream = timeout(patience, TcpStream::connect(&address))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        Ok(Self {
            stream,
            decoder: Decoder::default(),
            out: BytesMut::new(),
            notices: Notices::new(address),
            patience,
            frame_max: FRAME_MAX,
        })
    }

    async fn log_in(&mut self, uri: &Uri) -> Result<(), PerfError> {
        let properties = client_properties();
        let response = format!("\0{}\0{}", uri.user, uri.password);
        let start_ok = connection::StartOk {
            client_properties: properties.view(),
            mechanism: ShortStr(b"PLAIN"),
            response: LongStr(response.as_bytes()),
            locale: ShortStr(b"en_US"),
        };
        let tune = self
            .call(0, start_ok, connection::Tune::ID, "connection.tune")
            .await?;
        if let Ok(Method::Connection(Connection::Tune(tune))) = tune.method() {
            self.tune(tune);
        }
        Ok(())
    }

    fn tune(&mut self, offered: connection::Tune) {
        self.frame_max = match offered.frame_max {
            0 => FRAME_MAX,
            limit => limit.min(FRAME_MAX),
        };
        let tune_ok = connection::TuneOk {
            channel_max: CHANNEL_MAX,
            frame_max: self.frame_max,
            heartbeat: 0,
        };
        write_method(0, tune_ok, &mut self.out);
    }

    /// The address as the caller gave it.
    pub(super) fn address(&self) -> &str {
        self.notices.address()
    }

    /// The negotiated limit of a frame, its eight bytes of overhead included.
    pub(super) fn frame_max(&self) -> u32 {
        self.frame_max
    }

    /// Appends a method of the channel to what is to be written.
    pub(super) fn send<'m>(&mut self, method: impl Into<Method<'m>>) {
        write_method(CHANNEL, method, &mut self.out);
    }

    /// Sends a method and waits for its answer, which is returned. Other frames are dropped.
    ///
    /// # Errors
    /// The broker closes, is silent or says what cannot be read.
    pub(super) async fn call<'m>(
        &mut self,
        channel: u16,
        method: impl Into<Method<'m>>,
        answer: MethodId,
        awaited: &str,
    ) -> Result<OwnedFrame, PerfError> {
        write_method(channel, method, &mut self.out);
        self.await_method(answer, awaited).await
    }

    /// Sends many methods of the channel and waits for the answer of each, which `each` sees in order.
    ///
    /// # Errors
    /// See [`Link::call`].
    pub(super) async fn call_each<'m, M: Into<Method<'m>>>(
        &mut self,
        methods: impl IntoIterator<Item = M>,
        answer: MethodId,
        awaited: &str,
        mut each: impl FnMut(&OwnedFrame),
    ) -> Result<(), PerfError> {
        let mut waiting = 0;
        for method in methods {
            self.send(method);
            waiting += 1;
            if waiting == CALLS_MAX {
                each(&self.await_method(answer, awaited).await?);
                waiting -= 1;
            }
        }
        for _ in 0..waiting {
            each(&self.await_method(answer, awaited).await?);
        }
        Ok(())
    }

    /// Waits for a method; other frames are dropped.
    ///
    /// # Errors
    /// See [`Link::call`].
    pub(super) async fn await_method(
        &mut self,
        wanted: MethodId,
        awaited: &str,
    ) -> Result<OwnedFrame, PerfError> {
        loop {
            while let Some(frame) = self.next_frame()? {
                if frame.kind == FRAME_METHOD && frame.method().is_ok_and(|m| m.id() == wanted) {
                    return Ok(frame);
                }
            }
            self.turn(awaited).await?;
        }
    }

    /// Waits until something can be written or read, and does it.
    ///
    /// # Errors
    /// The socket fails or ends, or nothing happened for as long as the patience lasts.
    pub(super) async fn turn(&mut self, awaited: &str) -> Result<(), PerfError> {
        let interest = match self.out.is_empty() {
            true => Interest::READABLE,
            false => Interest::READABLE | Interest::WRITABLE,
        };
        let ready = match timeout(self.patience, self.stream.ready(interest)).await {
            Ok(ready) => ready.map_err(|source| self.notices.broken(source))?,
            Err(_) => {
                let seconds = self.patience.as_secs();
                return Err(self.notices.silent(seconds, awaited));
            }
        };
        if ready.is_writable() && !self.out.is_empty() {
            self.write().map_err(|source| self.notices.broken(source))?;
        }
        if ready.is_readable() {
            self.read(awaited)?;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        match self.stream.try_write(&self.out) {
            Ok(written) => {
                self.out.advance(written);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self, awaited: &str) -> Result<(), PerfError> {
        let received = self.decoder.buffer_mut();
        received.reserve(READ_LEN);
        match self.stream.try_read_buf(received) {
            Ok(0) => Err(self.notices.ended(awaited)),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(source) => Err(self.notices.broken(source)),
        }
    }

    /// The next frame that came, if it is whole.
    ///
    /// # Errors
    /// The bytes are no frame, or the broker closed the connection or the channel.
    pub(super) fn next_frame(&mut self) -> Result<Option<OwnedFrame>, PerfError> {
        while let Some(frame) = self
            .decoder
            .next_frame()
            .map_err(|error| self.protocol(error))?
        {
            if frame.kind != FRAME_METHOD || !self.is_notice(&frame)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    fn is_notice(&mut self, frame: &OwnedFrame) -> Result<bool, PerfError> {
        let method = frame.method().map_err(|error| self.protocol(error))?;
        self.notices.take(&method)
    }

    /// Closes the connection in order, so that all that was sent has been taken in.
    ///
    /// # Errors
    /// See [`Link::call`].
    pub(super) async fn finish(mut self) -> Result<(), PerfError> {
        let close = connection::Close {
            reply_code: 200,
            reply_text: ShortStr(b"done"),
            ..Default::default()
        };
        self.call(0, close, connection::CloseOk::ID, "connection.close-ok")
            .await?;
        Ok(())
    }

    /// An error for what the broker said and should not have.
    pub(super) fn protocol(&self, why: impl std::fmt::Display) -> PerfError {
        self.notices.protocol(why)
    }

    /// Gives up the connection as it is, for somebody who reads and writes otherwise.
    ///
    /// # Errors
    /// The system does not let go of the socket.
    pub(super) fn into_parts(mut self) -> Result<Parts, PerfError> {
        let received = self.decoder.buffer_mut().split();
        let stream = self.stream.into_std();
        Ok(Parts {
            stream: stream.map_err(|source| self.notices.broken(source))?,
            received,
            unsent: self.out,
            notices: self.notices,
            frame_max: self.frame_max,
        })
    }
}

/// What a [`Link`] is made of.
#[derive(Debug)]
pub(super) struct Parts {
    /// The socket, which never blocks.
    pub(super) stream: std::net::TcpStream,
    /// What came and was not looked at.
    pub(super) received: BytesMut,
    /// What was appended and not sent.
    pub(super) unsent: BytesMut,
    pub(super) notices: Notices,
    /// The negotiated limit of a frame.
    pub(super) frame_max: u32,
}

/// Who comes and what it understands: a refused login is answered with a close that says so, and
/// blocked publishing is told.
fn client_properties() -> TableBuf {
    let capabilities = [
        "authentication_failure_close",
        "basic.nack",
        "connection.blocked",
        "consumer_cancel_notify",
        "publisher_confirms",
    ];
    let capabilities = TableBuf::from_entries(capabilities.map(|name| (name, Value::Bool(true))));
    TableBuf::new()
        .with("product", Value::LongStr(b"leveret perf"))
        .with(
            "version",
            Value::LongStr(env!("CARGO_PKG_VERSION").as_bytes()),
        )
        .with("capabilities", Value::Table(capabilities.view()))
}
