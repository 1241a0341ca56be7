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
mod closing;
pub mod content;
mod describe;
mod handshake;
mod options;
mod running;

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::Method;
use crate::heartbeat::{Heartbeat, Traffic};
use crate::method::{basic, channel, connection, write_frame};
use crate::reply::Fault;
use crate::value::{LongStr, Table};

use channels::Channels;
use content::Publish;
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
    /// It acknowledges deliveries: like any other method, but it comes as often as a publish.
    Ack {
        /// The channel's number.
        channel: u16,
        /// Which deliveries.
        ack: basic::Ack,
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
    copied_piece_max: usize,
    at: usize,
    wanted: usize,
}

impl<'a> Input<'a> {
    /// Starts at the beginning of `buffer`, for which no more was allocated than it holds.
    pub fn new(buffer: &'a Bytes) -> Self {
        Self::within(buffer, buffer.len())
    }

    /// Starts at the beginning of `buffer`, a part of an allocation of this many bytes, which a slice of it
    /// would keep alive.
    pub fn within(buffer: &'a Bytes, allocated: usize) -> Self {
        Self {
            copied_piece_max: content::copied_piece_max(allocated),
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

    /// What the client said it understands.
    pub fn capabilities(&self) -> ClientCapabilities {
        self.capabilities
    }

    /// The heartbeat interval that was agreed on, if there is one (TUNE-01).
    pub fn heartbeat_interval(&self) -> Option<std::time::Duration> {
        self.heartbeat.as_ref().map(Heartbeat::interval)
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
}
