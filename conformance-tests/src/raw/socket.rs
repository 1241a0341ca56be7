//! Bytes and frames in and out of one TCP connection.
//!
//! A read waits as long as the connection's patience and no longer. The last frames both ways are
//! kept, and stand below every failure.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use leveret_protocol::encode::{self, FRAME_OVERHEAD};
use leveret_protocol::framer::{self, Cut, FRAME_HEARTBEAT, HEARTBEAT};
use leveret_protocol::method::FRAME_METHOD;
use leveret_protocol::{Method, MethodId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::failure::{Failure, show_bytes};
use crate::profile::Texts;

/// How long an answer may take unless the test says otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The largest frame that is read; a broker that sends a larger one has gone wrong.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// Characters of a method's fields that a report shows.
const SHOWN_CHARACTERS_MAX: usize = 240;
/// Frames shown below a failure.
const TRANSCRIPT_FRAMES_MAX: usize = 12;

/// A TCP connection to the broker. Dropping it drops the connection without a close.
#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
    inbound: BytesMut,
    transcript: VecDeque<String>,
    patience: Duration,
    shows_heartbeats: bool,
    /// How the texts of closes are compared.
    pub(super) texts: Texts,
    /// What was agreed in the handshake; bodies are split by it.
    pub(super) frame_max: u32,
}

/// A frame that came in.
#[derive(Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// The type octet.
    pub kind: u8,
    /// The channel number.
    pub channel: u16,
    /// The payload.
    pub payload: Bytes,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A frame.
    Frame(RawFrame),
    /// The end of the connection.
    End(End),
    /// Nothing, for as long as was waited.
    Nothing,
}

/// How the broker ended the TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Eof,
    /// With a reset, as happens when it had unread bytes or lingers for zero seconds.
    Reset,
}

/// A method that came in, with the bytes it came in.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedMethod {
    id: MethodId,
    payload: Bytes,
}

impl RawConnection {
    /// Opens the TCP connection and sends nothing.
    ///
    /// # Errors
    /// Nobody accepts.
    pub async fn connect(address: &str) -> Result<Self, Failure> {
        let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(address));
        let stream = connecting
            .await
            .map_err(|_| Failure::new(format!("no TCP connection to {address}")))??;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            inbound: BytesMut::new(),
            transcript: VecDeque::new(),
            patience: PATIENCE,
            shows_heartbeats: false,
            texts: Texts::Exact,
            frame_max: 0,
        })
    }

    /// The same connection, on which the texts of closes are compared so.
    #[must_use]
    pub fn with_texts(mut self, texts: Texts) -> Self {
        self.texts = texts;
        self
    }

    /// Changes how long every following read may wait.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// How long a read waits.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether heartbeats are handed out like other frames; at first they are skipped.
    pub fn show_heartbeats(&mut self, show: bool) {
        self.shows_heartbeats = show;
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is gone, or takes no bytes for as long as the patience lasts.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.record("→", show_bytes(bytes));
        self.write(bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let writing = tokio::time::timeout(self.patience, self.stream.write_all(bytes));
        let written = match writing.await {
            Ok(result) => result.map_err(Failure::from),
            Err(_) => Err(Failure::new("the broker takes no bytes")),
        };
        written.map_err(|failure| self.explain(failure))
    }

    /// Sends a frame of any type, on any channel, with any payload.
    ///
    /// # Errors
    /// See [`RawConnection::send_bytes`].
    pub async fn send_frame(
        &mut self,
        kind: u8,
        channel: u16,
        payload: &[u8],
    ) -> Result<(), Failure> {
        let frame = frame_bytes(kind, channel, payload);
        self.record(
            "→",
            format!("type {kind} channel {channel} {}", show_bytes(payload)),
        );
        self.write(&frame).await
    }

    /// Sends a method.
    ///
    /// # Errors
    /// See [`RawConnection::send_bytes`].
    pub async fn send_method<'m>(
        &mut self,
        channel: u16,
        method: impl Into<Method<'m>>,
    ) -> Result<(), Failure> {
        let method = method.into();
        let mut frame = BytesMut::new();
        method.write_frame(channel, &mut frame);
        self.record("→", format!("channel {channel} {}", show_method(&method)));
        self.write(&frame).await
    }

    /// Sends several methods in one write.
    ///
    /// # Errors
    /// See [`RawConnection::send_bytes`].
    pub async fn send_methods(&mut self, methods: &[(u16, Method<'_>)]) -> Result<(), Failure> {
        let mut frames = BytesMut::new();
        for (channel, method) in methods {
            method.write_frame(*channel, &mut frames);
            self.record("→", format!("channel {channel} {}", show_method(method)));
        }
        self.write(&frames).await
    }

    /// Sends a heartbeat.
    ///
    /// # Errors
    /// See [`RawConnection::send_bytes`].
    pub async fn send_heartbeat(&mut self) -> Result<(), Failure> {
        self.send_bytes(&HEARTBEAT).await
    }

    /// Reads so many bytes that are not a frame, for instance a protocol header.
    ///
    /// # Errors
    /// They do not come.
    pub async fn read_bytes(&mut self, len: usize) -> Result<Bytes, Failure> {
        let until = Instant::now() + self.patience;
        while self.inbound.len() < len {
            let missing = |came| Failure::expected(format!("{len} bytes"), came);
            match self.read_more(until).await? {
                None => {}
                Some(stopped) => {
                    let came = format!("{} and {stopped:?}", show_bytes(&self.inbound));
                    return Err(self.explain(missing(came)));
                }
            }
        }
        let bytes = self.inbound.split_to(len).freeze();
        self.record("←", show_bytes(&bytes));
        Ok(bytes)
    }

    /// The next frame, or the end, or nothing if the patience runs out first.
    ///
    /// # Errors
    /// What comes is not a frame.
    pub async fn next_event(&mut self) -> Result<Event, Failure> {
        self.next_event_within(self.patience).await
    }

    /// The same with another patience.
    ///
    /// # Errors
    /// What comes is not a frame.
    pub async fn next_event_within(&mut self, patience: Duration) -> Result<Event, Failure> {
        let until = Instant::now() + patience;
        loop {
            while let Some(frame) = self.cut_frame()? {
                if self.shows_heartbeats || frame.kind != FRAME_HEARTBEAT {
                    self.record("←", frame.to_string());
                    return Ok(Event::Frame(frame));
                }
            }
            if let Some(stopped) = self.read_more(until).await? {
                return Ok(stopped);
            }
        }
    }

    /// The bytes that came and were not, or could not be, read as frames.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.inbound
    }

    fn cut_frame(&mut self) -> Result<Option<RawFrame>, Failure> {
        let (frame, len) = match framer::cut(&self.inbound, FRAME_BYTES_MAX) {
            Ok(Cut::Incomplete { .. }) => return Ok(None),
            Ok(Cut::Frame(frame)) => (
                RawFrame {
                    kind: frame.kind,
                    channel: frame.channel,
                    payload: Bytes::copy_from_slice(frame.payload),
                },
                frame.wire_len(),
            ),
            Err(_) => {
                let came = show_bytes(&self.inbound);
                return Err(self.explain(Failure::expected("a frame", came)));
            }
        };
        self.inbound.advance(len);
        Ok(Some(frame))
    }

    /// `None` when bytes came.
    async fn read_more(&mut self, until: Instant) -> Result<Option<Event>, Failure> {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match timeout_at(until, self.stream.read_buf(&mut self.inbound)).await {
            Err(_) => Ok(Some(Event::Nothing)),
            Ok(Ok(0)) => Ok(Some(self.ended(End::Eof))),
            Ok(Ok(_)) => Ok(None),
            Ok(Err(error)) => match error.kind() {
                ConnectionReset | ConnectionAborted | BrokenPipe => {
                    Ok(Some(self.ended(End::Reset)))
                }
                _ => Err(self.explain(error.into())),
            },
        }
    }

    fn ended(&mut self, end: End) -> Event {
        self.record("←", format!("{end:?}"));
        Event::End(end)
    }

    fn record(&mut self, direction: &str, text: String) {
        if self.transcript.len() == TRANSCRIPT_FRAMES_MAX {
            self.transcript.pop_front();
        }
        self.transcript.push_back(format!("{direction} {text}"));
    }

    /// Puts the transcript below a failure.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        self.transcript
            .iter()
            .fold(failure, |failure, line| failure.note(line.as_str()))
    }
}

/// The bytes of one frame.
fn frame_bytes(kind: u8, channel: u16, payload: &[u8]) -> BytesMut {
    let mut frame = BytesMut::with_capacity(payload.len() + FRAME_OVERHEAD);
    encode::frame(&mut frame, kind, channel, |out| {
        out.extend_from_slice(payload);
    });
    frame
}

/// `queue.Declare { ticket: 0, … }`, cut where it gets too long to read.
fn show_method(method: &Method<'_>) -> String {
    let debug = format!("{method:?}");
    let fields = debug.find('{').and_then(|at| debug.get(at..));
    let fields = fields.unwrap_or_default().trim_end_matches(')');
    let shown: String = fields.chars().take(SHOWN_CHARACTERS_MAX).collect();
    let more = if shown.len() < fields.len() {
        "…"
    } else {
        ""
    };
    format!("{} {shown}{more}", method.name())
}

impl RawFrame {
    /// The frame as a method.
    ///
    /// # Errors
    /// It is something else, or cannot be parsed.
    pub fn method(&self) -> Result<OwnedMethod, Failure> {
        if self.kind != FRAME_METHOD {
            return Err(Failure::expected("a method", self));
        }
        OwnedMethod::parse(self.payload.clone())
    }
}

impl fmt::Display for RawFrame {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Method::parse(&self.payload) {
            Ok(method) if self.kind == FRAME_METHOD => {
                write!(out, "channel {} {}", self.channel, show_method(&method))
            }
            _ => {
                let (kind, channel) = (self.kind, self.channel);
                let payload = show_bytes(&self.payload);
                write!(out, "type {kind} channel {channel} {payload}")
            }
        }
    }
}

impl fmt::Debug for RawFrame {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl OwnedMethod {
    fn parse(payload: Bytes) -> Result<Self, Failure> {
        let unreadable = |problem| {
            let bytes = show_bytes(&payload);
            Failure::new(format!(
                "a method that cannot be parsed came ({problem}): {bytes}"
            ))
        };
        let id = Method::parse(&payload).map_err(unreadable)?.id();
        Ok(Self { id, payload })
    }

    /// The class and method numbers.
    #[must_use]
    pub fn id(&self) -> MethodId {
        self.id
    }

    /// The method's bytes, as they stood in the frame.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Reads fields out of the method; `pick` returns `None` for any other method.
    ///
    /// # Errors
    /// It is another method.
    pub fn read<T>(&self, pick: impl FnOnce(Method<'_>) -> Option<T>) -> Result<T, Failure> {
        Method::parse(&self.payload)
            .ok()
            .and_then(pick)
            .ok_or_else(|| Failure::expected("another method", self))
    }
}

impl fmt::Display for OwnedMethod {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Method::parse(&self.payload) {
            Ok(method) => out.write_str(&show_method(&method)),
            Err(_) => out.write_str(&show_bytes(&self.payload)),
        }
    }
}

impl fmt::Debug for OwnedMethod {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
