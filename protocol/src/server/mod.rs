//! The server's side of one AMQP connection, as a machine without I/O.
//!
//! Bytes and moments come in; events, faults and bytes to send come out. The caller owns the socket,
//! the buffers and the clock, decides what events mean, and answers through the methods below.
//!
//! ```text
//!  ExpectHeader ─header─▶ ExpectStartOk ─start-ok─▶ ExpectVerdict ─accepted─▶ ExpectTuneOk
//!       │                      │   ▲  secure-ok          │  │                      │ tune-ok
//!       │ other                │   └─ ExpectSecureOk ◀───┘  │ refused              ▼
//!       │ protocol             │ anything else              │                 ExpectOpen
//!       ▼                      ▼                            ▼                      │ open
//!      Over                 Refused (silent) ◀──────────────┘                      ▼
//!       ▲                      │ delay over                       Running ◀── ExpectVhost
//!       │◀─────────────────────┘                                     │
//!       │                                    fault, or the server    │  connection.close
//!       │◀──── close-ok, or time up ──── ExpectCloseOk ◀─────────────┼───────────▶ ExpectEof
//!       │◀───────────────────────────────────────────────────────────┘  time up, or gone │
//!       └◀──────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! How to drive it: after reading, call [`Connection::next_event`] until it returns `None`, handling
//! each event before asking for the next; hand every [`Failure`], its own or the broker's, to
//! [`Connection::fail`]; call [`Connection::on_time`] when [`Connection::deadline`] has come; drop the
//! socket when [`Connection::is_over`], after sending what was written.
//!
//! Invariants: an event for a channel is only given while that channel is open; content is only
//! given when it is complete and exactly as long as announced; after a fault on a channel nothing of
//! it is given until its close is agreed (CHAN-06).

mod channels;
pub mod content;
mod describe;
mod handshake;
mod options;

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::content::{FRAME_BODY, FRAME_HEADER, HEADER_FIXED_LEN};
use crate::framer::{self, Cut, FRAME_HEARTBEAT, Frame, HEARTBEAT};
use crate::heartbeat::{Heartbeat, Traffic};
use crate::method::{FRAME_METHOD, basic, channel, connection, write_frame};
use crate::parse::Malformed;
use crate::reply::{Fault, MethodId, ReplyCode};
use crate::value::{LongStr, ShortStr, Table};
use crate::{Method, parse};

use channels::{ChannelState, Channels};
use content::{Assembled, Assembly, Publish, PublishMethod};
pub use options::{ASSEMBLING_MESSAGES_MAX, FRAME_MAX_BEFORE_TUNE, FRAME_MIN_SIZE, ServerOptions};

/// What the client wants, in the order in which it was sent.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// It wants to log in: answer with [`Connection::accept_login`], [`Connection::refuse_login`] or
    /// [`Connection::challenge`].
    Login(Login<'a>),
    /// It answers a challenge: answer as to a login.
    SecureOk {
        /// The response to the challenge.
        response: &'a [u8],
    },
    /// It wants this vhost: answer with [`Connection::accept_open`] or fail.
    Open {
        /// The vhost's name, taken as it is (CONN-20).
        vhost: &'a str,
    },
    /// It offers a new secret: answer with [`Connection::accept_secret`] or fail.
    UpdateSecret {
        /// The secret.
        secret: &'a [u8],
    },
    /// It wants to open this channel, which is free: answer with [`Connection::accept_channel`] or
    /// fail.
    OpenChannel {
        /// The channel's number.
        channel: u16,
    },
    /// It closes this channel: release what belongs to it, then [`Connection::release_channel`].
    CloseChannel {
        /// The channel's number.
        channel: u16,
    },
    /// Any other method on an open channel, except publish.
    Method {
        /// The channel's number.
        channel: u16,
        /// The method.
        method: Method<'a>,
    },
    /// A message, complete, on an open channel.
    Publish {
        /// The channel's number.
        channel: u16,
        /// The message and where it goes.
        publish: Publish<'a>,
    },
    /// It closes the connection: release everything, then [`Connection::accept_close`].
    Close,
}

/// A login attempt.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// One of the offered mechanisms.
    pub mechanism: &'a str,
    /// What the mechanism says.
    pub response: &'a [u8],
    /// Who the client is and what it can do (CONN-05).
    pub client_properties: Table<'a>,
}

/// A fault and the channel on which it happened; zero is the connection itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The channel's number.
    pub channel: u16,
    /// What went wrong.
    pub fault: Fault,
}

/// What the client said it understands (CONN-06).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCapabilities {
    /// Wants a close frame when its login fails (CONN-11).
    pub authentication_failure_close: bool,
    /// Wants to know when its consumers are cancelled (CANCEL-10).
    pub consumer_cancel_notify: bool,
    /// Wants to know when it is blocked (FLOW-02).
    pub connection_blocked: bool,
}

/// A read position in a buffer of received bytes.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    buffer: &'a Bytes,
    at: usize,
    wanted: usize,
}

impl<'a> Input<'a> {
    /// Starts at the beginning of `buffer`.
    pub fn new(buffer: &'a Bytes) -> Self {
        Self {
            buffer,
            at: 0,
            wanted: 0,
        }
    }

    /// How many bytes were used up; the rest must be offered again with more behind it.
    pub fn consumed(&self) -> usize {
        self.at
    }

    /// How long the unused rest must grow before it is worth offering again.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    fn rest(&self) -> &'a [u8] {
        &self.buffer[self.at..]
    }

    fn discard(&mut self) {
        self.at = self.buffer.len();
        self.wanted = 0;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ExpectHeader,
    ExpectStartOk,
    /// The broker is deciding on a login.
    ExpectVerdict,
    ExpectSecureOk,
    ExpectTuneOk,
    ExpectOpen,
    /// The broker is deciding on a vhost.
    ExpectVhost,
    Running,
    /// The server has sent `connection.close`. Deaf after a broken frame (ERR-09).
    ExpectCloseOk {
        until: Instant,
        deaf: bool,
    },
    /// The client's close was answered; it is its turn to hang up (CONN-34).
    ExpectEof {
        until: Instant,
    },
    /// Silent until the socket is dropped.
    Refused {
        until: Instant,
    },
    Over,
}

/// One connection; see the module.
#[derive(Debug)]
pub struct Connection {
    options: Arc<ServerOptions>,
    state: State,
    handshake_until: Instant,
    payload_max: usize,
    channel_max: u16,
    frame_max: u32,
    capabilities: ClientCapabilities,
    heartbeat: Option<Heartbeat>,
    traffic: Traffic,
    channels: Channels,
    assembling_bytes: u64,
    broken: bool,
}

impl Connection {
    /// A connection that was accepted at `now`.
    pub fn new(options: Arc<ServerOptions>, now: Instant) -> Self {
        Self {
            state: State::ExpectHeader,
            handshake_until: now + options.handshake_timeout,
            payload_max: FRAME_MAX_BEFORE_TUNE,
            channel_max: options.channel_max,
            frame_max: options.frame_max,
            capabilities: ClientCapabilities::default(),
            heartbeat: None,
            traffic: Traffic::default(),
            channels: Channels::default(),
            assembling_bytes: 0,
            broken: false,
            options,
        }
    }

    /// True once the socket is to be dropped, after what was written has been sent.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// True from `open-ok` until a close begins.
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// True while the handshake is under way.
    pub fn is_in_handshake(&self) -> bool {
        use State::{Over, Refused, Running};
        !matches!(
            self.state,
            Running | State::ExpectCloseOk { .. } | State::ExpectEof { .. } | Refused { .. } | Over
        )
    }

    /// What the client said it understands.
    pub fn capabilities(&self) -> ClientCapabilities {
        self.capabilities
    }

    /// The largest body piece that fits a frame to this client (FRAME-13).
    pub fn body_frame_max(&self) -> usize {
        self.frame_max as usize - crate::encode::FRAME_OVERHEAD
    }

    /// The next thing the client wants, or `None` when the input is used up or a verdict is awaited.
    ///
    /// # Errors
    /// A fault that the protocol itself finds; hand it to [`Connection::fail`].
    pub fn next_event<'a>(
        &mut self,
        input: &mut Input<'a>,
        now: Instant,
        out: &mut BytesMut,
    ) -> Result<Option<Event<'a>>, Failure> {
        loop {
            match self.state {
                State::Running => return self.next_running(input, out),
                State::ExpectHeader => {
                    if !self.on_protocol_header(input, out) {
                        return Ok(None);
                    }
                }
                State::ExpectVerdict | State::ExpectVhost => return Ok(None),
                State::Over | State::Refused { .. } | State::ExpectCloseOk { deaf: true, .. } => {
                    input.discard();
                    return Ok(None);
                }
                _ => {
                    let Some(frame) = self.cut_early(input, now)? else {
                        return Ok(None);
                    };
                    if let Some(event) = self.on_early_frame(frame, now, out)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    /// Cuts the next frame of a running connection.
    #[inline]
    fn cut<'a>(&mut self, input: &mut Input<'a>) -> Result<Option<Frame<'a>>, Failure> {
        match framer::cut(input.rest(), self.payload_max) {
            Ok(Cut::Frame(frame)) => {
                input.at += frame.wire_len();
                Ok(Some(frame))
            }
            Ok(Cut::Incomplete { wanted }) => {
                input.wanted = wanted;
                Ok(None)
            }
            Err(error) => {
                self.broken = true;
                Err(Failure {
                    channel: 0,
                    fault: describe::frame_error(error, self.payload_max),
                })
            }
        }
    }

    #[inline]
    fn next_running<'a>(
        &mut self,
        input: &mut Input<'a>,
        out: &mut BytesMut,
    ) -> Result<Option<Event<'a>>, Failure> {
        while let Some(frame) = self.cut(input)? {
            let event = match frame.channel {
                0 => self.on_connection_frame(frame),
                number => self
                    .on_channel_frame(frame, input, out)
                    .map_err(|fault| Failure {
                        channel: number,
                        fault,
                    }),
            };
            if let Some(event) = event? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn on_connection_frame<'a>(&mut self, frame: Frame<'a>) -> Result<Option<Event<'a>>, Failure> {
        let failure = |fault| Failure { channel: 0, fault };
        check_kind(frame).map_err(failure)?;
        match frame.kind {
            FRAME_METHOD => {
                let method = parse_method(frame).map_err(failure)?;
                on_connection_method(method).map(Some).map_err(failure)
            }
            FRAME_HEARTBEAT => Ok(None),
            _ => Err(failure(describe::unexpected_frame(frame))),
        }
    }

    #[inline]
    fn on_channel_frame<'a>(
        &mut self,
        frame: Frame<'a>,
        input: &mut Input<'a>,
        out: &mut BytesMut,
    ) -> Result<Option<Event<'a>>, Fault> {
        check_kind(frame)?;
        if frame.kind == FRAME_HEARTBEAT {
            return Err(describe::unexpected_frame(frame));
        }
        match self.channels.state(frame.channel) {
            Some(ChannelState::Open(None)) => self.on_open_channel(frame, input),
            Some(ChannelState::Open(Some(_))) => self.on_content_frame(frame, input.buffer),
            Some(_) => self.on_closing_channel(frame, out),
            None => self.on_unused_channel(frame),
        }
    }

    #[inline]
    fn on_open_channel<'a>(
        &mut self,
        frame: Frame<'a>,
        input: &mut Input<'a>,
    ) -> Result<Option<Event<'a>>, Fault> {
        if frame.kind != FRAME_METHOD {
            return Err(expected_method_frame());
        }
        let number = frame.channel;
        if let Some(arguments) = frame.payload.strip_prefix(&PUBLISH_IDS)
            && let Some(publish) = PublishMethod::parse(arguments)
        {
            return Ok(self.on_publish(number, publish, input));
        }
        match parse_method(frame)? {
            method if !method.is_text() => Err(malformed_text()),
            Method::Channel(method) => on_channel_method(number, method).map(Some),
            method => Ok(Some(Event::Method {
                channel: number,
                method,
            })),
        }
    }

    /// Hands out a publish that lies whole in the buffer, or begins to put one together.
    #[inline]
    fn on_publish<'a>(
        &mut self,
        number: u16,
        publish: PublishMethod<'a>,
        input: &mut Input<'a>,
    ) -> Option<Event<'a>> {
        let body_max = self.options.whole_body_max_bytes();
        match content::whole(number, publish, input.rest(), self.payload_max, body_max) {
            Some((publish, len)) => {
                input.at += len;
                Some(Event::Publish {
                    channel: number,
                    publish,
                })
            }
            None => {
                if let Some(ChannelState::Open(assembly)) = self.channels.state(number) {
                    *assembly = Some(Box::new(Assembly::begin(publish)));
                }
                None
            }
        }
    }

    fn on_content_frame<'a>(
        &mut self,
        frame: Frame<'a>,
        buffer: &Bytes,
    ) -> Result<Option<Event<'a>>, Fault> {
        let options = Arc::clone(&self.options);
        let Some(ChannelState::Open(slot)) = self.channels.state(frame.channel) else {
            return Ok(None);
        };
        let Some(mut assembly) = slot.take() else {
            return Ok(None);
        };
        let held_before = assembly.held_bytes();
        let assembled = assembly.take(frame, buffer, &options)?;
        self.assembling_bytes += assembly.held_bytes() - held_before;
        match assembled {
            Assembled::Whole(publish) => {
                self.assembling_bytes -= assembly.held_bytes();
                Ok(Some(Event::Publish {
                    channel: frame.channel,
                    publish,
                }))
            }
            Assembled::NotYet => {
                *slot = Some(assembly);
                self.check_assembling_bytes().map(|()| None)
            }
        }
    }

    fn check_assembling_bytes(&self) -> Result<(), Fault> {
        let max = self.options.assembling_bytes_max();
        if self.assembling_bytes <= max {
            return Ok(());
        }
        let text = format!("more than {max} bytes of incomplete messages on one connection");
        Err(Fault::new(ReplyCode::ResourceError, text).caused_by(basic::Publish::ID))
    }

    /// The server has closed the channel: only the end of that is of interest (CHAN-06, CHAN-09).
    fn on_closing_channel<'a>(
        &mut self,
        frame: Frame<'a>,
        out: &mut BytesMut,
    ) -> Result<Option<Event<'a>>, Fault> {
        if frame.kind != FRAME_METHOD {
            return Ok(None);
        }
        match method_id(frame) {
            channel::Close::ID => write_frame(channel::CloseOk {}, frame.channel, out),
            channel::CloseOk::ID => self.channels.release(frame.channel),
            channel::Open::ID => return Err(second_open()),
            _ => {}
        }
        Ok(None)
    }

    fn on_unused_channel<'a>(&mut self, frame: Frame<'a>) -> Result<Option<Event<'a>>, Fault> {
        self.check_channel_count()?;
        if frame.kind != FRAME_METHOD {
            return Err(expected_method_frame());
        }
        match parse_method(frame)? {
            method if !method.is_text() && method.id() != basic::Publish::ID => {
                Err(malformed_text())
            }
            Method::Channel(channel::Method::Open(_)) => Ok(Some(Event::OpenChannel {
                channel: frame.channel,
            })),
            method => {
                let fault = Fault::new(ReplyCode::ChannelError, "expected 'channel.open'");
                Err(fault.caused_by(method.id()))
            }
        }
    }

    /// Channels are counted, not their numbers (TUNE-07, TUNE-08).
    fn check_channel_count(&self) -> Result<(), Fault> {
        let (open, max) = (self.channels.count(), self.channel_max);
        if max == 0 || open < usize::from(max) {
            return Ok(());
        }
        let text = format!(
            "number of channels opened ({open}) has reached the negotiated channel_max ({max})"
        );
        Err(Fault::new(ReplyCode::NotAllowed, text))
    }

    /// Opens the channel that [`Event::OpenChannel`] named.
    pub fn accept_channel(&mut self, channel: u16, out: &mut BytesMut) {
        self.channels.open(channel);
        write_frame(
            channel::OpenOk {
                channel_id: LongStr::default(),
            },
            channel,
            out,
        );
    }

    /// Answers `channel.close` and frees the number (CHAN-04).
    pub fn release_channel(&mut self, channel: u16, out: &mut BytesMut) {
        self.channels.release(channel);
        write_frame(channel::CloseOk {}, channel, out);
    }

    /// Answers `connection.update-secret` (CONN-45).
    pub fn accept_secret(&mut self, out: &mut BytesMut) {
        write_frame(connection::UpdateSecretOk {}, 0, out);
    }

    /// Answers `connection.close`; then it is the client's turn to hang up (CONN-34).
    pub fn accept_close(&mut self, now: Instant, out: &mut BytesMut) {
        self.channels.clear();
        write_frame(connection::CloseOk {}, 0, out);
        self.state = State::ExpectEof {
            until: now + self.close_timeout(),
        };
    }

    /// The one place where faults become close frames: of the channel or of the whole connection, as
    /// the code says (ERR-01, ERR-02). What belongs to the channel or connection must have been
    /// released before.
    pub fn fail(&mut self, failure: &Failure, now: Instant, out: &mut BytesMut) {
        let Failure { channel, fault } = failure;
        if fault.code.is_connection_error() || *channel == 0 {
            self.close(fault, now, out);
        } else if self.channels.is_open(*channel) {
            self.fail_channel(*channel, fault, out);
        }
    }

    fn fail_channel(&mut self, number: u16, fault: &Fault, out: &mut BytesMut) {
        if let Some(assembly) = self.channels.expect_close_ok(number) {
            self.assembling_bytes = self.assembling_bytes.saturating_sub(assembly.held_bytes());
        }
        let text = fault.reply_text();
        let close = channel::Close {
            reply_code: fault.code.number(),
            reply_text: ShortStr(text.as_bytes()),
            class_id: fault.method.class_id,
            method_id: fault.method.method_id,
        };
        write_frame(close, number, out);
    }

    fn close(&mut self, fault: &Fault, now: Instant, out: &mut BytesMut) {
        if !matches!(
            self.state,
            State::Running | State::ExpectOpen | State::ExpectVhost
        ) {
            return self.refuse(now);
        }
        self.write_close(fault, out);
        let wait = if self.broken {
            self.options.refusal_delay
        } else {
            self.close_timeout()
        };
        self.state = State::ExpectCloseOk {
            until: now + wait,
            deaf: self.broken,
        };
    }

    /// Closes without waiting for an answer, as a broker that shuts down does (CONN-41).
    pub fn close_at_once(&mut self, fault: &Fault, out: &mut BytesMut) {
        if self.is_running() {
            self.write_close(fault, out);
        }
        self.state = State::Over;
    }

    fn write_close(&mut self, fault: &Fault, out: &mut BytesMut) {
        self.channels.clear();
        let text = fault.reply_text();
        let close = connection::Close {
            reply_code: fault.code.number(),
            reply_text: ShortStr(text.as_bytes()),
            class_id: fault.method.class_id,
            method_id: fault.method.method_id,
        };
        write_frame(close, 0, out);
    }

    fn close_timeout(&self) -> std::time::Duration {
        let longest = self.options.close_timeout;
        self.heartbeat
            .as_ref()
            .map_or(longest, |heartbeat| heartbeat.interval().min(longest))
    }

    /// When [`Connection::on_time`] must be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let state = match self.state {
            State::ExpectCloseOk { until, .. }
            | State::ExpectEof { until }
            | State::Refused { until } => Some(until),
            State::Running | State::Over => None,
            _ => Some(self.handshake_until),
        };
        let heartbeat = self.heartbeat.as_ref().map(Heartbeat::deadline);
        [state, heartbeat].into_iter().flatten().min()
    }

    /// Does what is due: sends a heartbeat, or ends a connection whose time is up. `watching` is
    /// false while the server itself does not read (HB-08).
    pub fn on_time(&mut self, now: Instant, traffic: Traffic, watching: bool, out: &mut BytesMut) {
        self.traffic = traffic;
        let time_is_up = match self.state {
            State::ExpectCloseOk { until, .. }
            | State::ExpectEof { until }
            | State::Refused { until } => now >= until,
            State::Running | State::Over => false,
            _ => now >= self.handshake_until,
        };
        if time_is_up {
            self.state = State::Over;
        }
        self.on_heartbeat_time(now, watching, out);
    }

    fn on_heartbeat_time(&mut self, now: Instant, watching: bool, out: &mut BytesMut) {
        let Some(heartbeat) = &mut self.heartbeat else {
            return;
        };
        let due = heartbeat.due(now, self.traffic, watching);
        if due.give_up {
            self.state = State::Over;
        }
        if due.send && !matches!(self.state, State::Over | State::Refused { .. }) {
            out.extend_from_slice(&HEARTBEAT);
        }
    }
}

/// Class and method number of `basic.publish`, which comes far more often than anything else.
const PUBLISH_IDS: [u8; 4] = [0, 60, 0, 40];

/// The frame's type exists, and the frame is long enough to be one (FRAME-02, FRAME-03, HB-06).
#[inline]
fn check_kind(frame: Frame<'_>) -> Result<(), Fault> {
    let fits = match frame.kind {
        FRAME_METHOD => frame.payload.len() >= 4,
        FRAME_HEADER => frame.payload.len() >= HEADER_FIXED_LEN,
        FRAME_BODY => true,
        FRAME_HEARTBEAT => frame.payload.is_empty(),
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(describe::unknown_frame(frame))
    }
}

fn method_id(frame: Frame<'_>) -> MethodId {
    match parse::method_ids(frame.payload) {
        Ok((_, (class_id, method_id))) => MethodId {
            class_id,
            method_id,
        },
        Err(_) => MethodId::NONE,
    }
}

/// The reference drops the socket without a word for some of these (FRAME-04, FRAME-08); saying what
/// is wrong first is kinder to whoever has to find the bug.
fn parse_method(frame: Frame<'_>) -> Result<Method<'_>, Fault> {
    Method::parse(frame.payload).map_err(|cause| {
        let fault = match cause {
            Malformed::UnknownMethod { .. } => {
                Fault::new(ReplyCode::CommandInvalid, cause.to_string())
            }
            Malformed::UnknownTag(_) | Malformed::TooDeep => Fault::new(
                ReplyCode::SyntaxError,
                format!("malformed field table: {cause}"),
            ),
            Malformed::Truncated | Malformed::TrailingBytes => {
                let arguments = frame.payload.get(4..).unwrap_or_default();
                let text = format!("cannot decode {}", describe::octets(arguments));
                Fault::new(ReplyCode::FrameError, text)
            }
        };
        fault.caused_by(method_id(frame))
    })
}

/// Short strings are text, except in publishes (FRAME-06, FRAME-07).
fn malformed_text() -> Fault {
    Fault::new(ReplyCode::FrameError, "Malformed UTF-8 in shortstr")
}

fn expected_method_frame() -> Fault {
    let text = "expected method frame, got non method frame instead";
    Fault::new(ReplyCode::UnexpectedFrame, text)
}

fn second_open() -> Fault {
    Fault::new(ReplyCode::ChannelError, "second 'channel.open' seen").caused_by(channel::Open::ID)
}

fn unexpected_in(state: &str, method: Method<'_>) -> Fault {
    let text = format!("unexpected method in connection state {state}");
    Fault::new(ReplyCode::ChannelError, text).caused_by(method.id())
}

fn on_connection_method(method: Method<'_>) -> Result<Event<'_>, Fault> {
    if !method.is_text() {
        return Err(malformed_text().caused_by(method.id()));
    }
    match method {
        Method::Connection(connection::Method::Close(_)) => Ok(Event::Close),
        Method::Connection(connection::Method::UpdateSecret(update)) => Ok(Event::UpdateSecret {
            secret: update.new_secret.0,
        }),
        method => Err(unexpected_in("running", method)),
    }
}

/// Class 20 on an open channel. Flow belongs to the broker's handlers.
fn on_channel_method<'a>(number: u16, method: channel::Method<'a>) -> Result<Event<'a>, Fault> {
    match method {
        channel::Method::Open(_) => Err(second_open()),
        channel::Method::Close(_) => Ok(Event::CloseChannel { channel: number }),
        method => Ok(Event::Method {
            channel: number,
            method: Method::Channel(method),
        }),
    }
}
