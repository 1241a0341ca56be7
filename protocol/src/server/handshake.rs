//! From the first byte to `open-ok`, and what is still heard while a connection closes.
//!
//! A client that breaks the handshake's rules is not told why (CONN-08, CONN-29): the connection
//! falls silent and is dropped a little later, which is all that a stranger learns.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::options::FRAME_MIN_SIZE;
use super::running::{check_kind, malformed_text, method_id, parse_method, unexpected_in};
use super::{ClientCapabilities, Connection, Event, Failure, Input, Login, State, describe};
use crate::framer::{self, Cut, FRAME_HEARTBEAT, Frame};
use crate::heartbeat::Heartbeat;
use crate::method::{FRAME_METHOD, connection, write_frame};
use crate::reply::{Fault, ReplyCode};
use crate::value::{LongStr, ShortStr, Table, TableBuf, Value};
use crate::{Method, PROTOCOL_HEADER};

/// What the eight bytes of a protocol header ask for.
enum Dialogue {
    /// AMQP 0-9-1, by its own header or that of 0-9 (PROTO-01, PROTO-02).
    V0_9_1,
    /// AMQP 0-8, by one of its two headers (PROTO-03).
    V0_8,
    /// Something else (PROTO-04, PROTO-05, PROTO-06).
    Other,
}

fn dialogue(header: &[u8]) -> Dialogue {
    match header {
        b"AMQP\x00\x00\x09\x01" | b"AMQP\x01\x01\x00\x09" => Dialogue::V0_9_1,
        b"AMQP\x01\x01\x08\x00" | b"AMQP\x01\x01\x09\x01" => Dialogue::V0_8,
        _ => Dialogue::Other,
    }
}

impl Connection {
    /// Takes the protocol header; false when it has not all arrived.
    pub(super) fn on_protocol_header(&mut self, input: &mut Input<'_>, out: &mut BytesMut) -> bool {
        let Some(header) = input.rest().get(..PROTOCOL_HEADER.len()) else {
            input.wanted = PROTOCOL_HEADER.len();
            return false;
        };
        input.at += PROTOCOL_HEADER.len();
        match dialogue(header) {
            Dialogue::V0_9_1 => {
                let options = Arc::clone(&self.options);
                self.write_start((0, 9), &options.server_properties, out);
            }
            Dialogue::V0_8 => {
                let properties = without_capabilities(&self.options.server_properties);
                self.write_start((8, 0), &properties, out);
            }
            Dialogue::Other => {
                out.extend_from_slice(&PROTOCOL_HEADER);
                self.state = State::Over;
            }
        }
        true
    }

    fn write_start(
        &mut self,
        (version_major, version_minor): (u8, u8),
        server_properties: &TableBuf,
        out: &mut BytesMut,
    ) {
        let start = connection::Start {
            version_major,
            version_minor,
            server_properties: server_properties.view(),
            mechanisms: LongStr(self.options.mechanisms.as_bytes()),
            locales: LongStr(b"en_US"),
        };
        write_frame(start, 0, out);
        self.state = State::ExpectStartOk;
    }

    /// Cuts a frame outside the running state. A broken one is a fault only where the client may be
    /// told about it.
    pub(super) fn cut_early<'a>(
        &mut self,
        input: &mut Input<'a>,
        now: Instant,
    ) -> Result<Option<Frame<'a>>, Failure> {
        match framer::cut(input.rest(), self.payload_max) {
            Ok(Cut::Frame(frame)) => {
                input.at += frame.wire_len();
                Ok(Some(frame))
            }
            Ok(Cut::Incomplete { wanted }) => {
                input.wanted = wanted;
                Ok(None)
            }
            Err(error) if self.state == State::ExpectOpen => {
                self.broken = true;
                Err(Failure {
                    channel: 0,
                    fault: describe::frame_error(error, self.payload_max),
                })
            }
            Err(_) => {
                self.refuse(now);
                input.discard();
                Ok(None)
            }
        }
    }

    /// A frame in any state but running.
    pub(super) fn on_early_frame<'a>(
        &mut self,
        frame: Frame<'a>,
        now: Instant,
        out: &mut BytesMut,
    ) -> Result<Option<Event<'a>>, Failure> {
        if frame.kind == FRAME_HEARTBEAT && frame.channel == 0 && frame.payload.is_empty() {
            return Ok(None);
        }
        match self.state {
            State::ExpectOpen => self.on_opening_frame(frame),
            State::ExpectCloseOk { .. } | State::ExpectEof { .. } => {
                self.on_closing_frame(frame, out);
                Ok(None)
            }
            _ => Ok(self.on_login_frame(frame, now)),
        }
    }

    /// While closing, only closes are of interest (CONN-33, CONN-35, CONN-36).
    fn on_closing_frame(&mut self, frame: Frame<'_>, out: &mut BytesMut) {
        if frame.channel != 0 || frame.kind != FRAME_METHOD {
            return;
        }
        match method_id(frame) {
            connection::Close::ID => write_frame(connection::CloseOk {}, 0, out),
            connection::CloseOk::ID => self.state = State::Over,
            _ => {}
        }
    }

    /// Before `tune-ok`: whatever is not the expected answer ends in silence.
    fn on_login_frame<'a>(&mut self, frame: Frame<'a>, now: Instant) -> Option<Event<'a>> {
        let method = match (frame.kind, frame.channel) {
            (FRAME_METHOD, 0) => parse_method(frame).ok().filter(Method::is_text),
            _ => None,
        };
        let Some(Method::Connection(method)) = method else {
            self.refuse(now);
            return None;
        };
        match (self.state, method) {
            (State::ExpectStartOk, connection::Method::StartOk(start)) => {
                self.on_start_ok(start, now)
            }
            (State::ExpectSecureOk, connection::Method::SecureOk(secure)) => {
                self.state = State::ExpectVerdict;
                Some(Event::SecureOk {
                    response: secure.response.0,
                })
            }
            (State::ExpectTuneOk, connection::Method::TuneOk(tune)) => {
                self.on_tune_ok(tune, now);
                None
            }
            _ => {
                self.refuse(now);
                None
            }
        }
    }

    fn on_start_ok<'a>(
        &mut self,
        start: connection::StartOk<'a>,
        now: Instant,
    ) -> Option<Event<'a>> {
        let mechanism = start.mechanism.as_text()?;
        let offered = self
            .options
            .mechanisms
            .split(' ')
            .any(|offered| offered == mechanism);
        if !offered {
            self.refuse(now);
            return None;
        }
        self.capabilities = capabilities(start.client_properties);
        self.state = State::ExpectVerdict;
        Some(Event::Login(Login {
            mechanism,
            response: start.response.0,
            client_properties: start.client_properties,
        }))
    }

    /// The login is good: offer the limits (CONN-15).
    pub fn accept_login(&mut self, out: &mut BytesMut) {
        let tune = connection::Tune {
            channel_max: self.options.channel_max,
            frame_max: self.options.frame_max,
            heartbeat: self.options.heartbeat_s,
        };
        write_frame(tune, 0, out);
        self.state = State::ExpectTuneOk;
    }

    /// The mechanism needs another step (CONN-14).
    pub fn challenge(&mut self, challenge: &[u8], out: &mut BytesMut) {
        write_frame(
            connection::Secure {
                challenge: LongStr(challenge),
            },
            0,
            out,
        );
        self.state = State::ExpectSecureOk;
    }

    /// The login is bad: say so to clients that asked to be told, and fall silent (CONN-11, CONN-12).
    pub fn refuse_login(&mut self, mechanism: &str, now: Instant, out: &mut BytesMut) {
        if self.capabilities.authentication_failure_close {
            let text = format!(
                "Login was refused using authentication mechanism {mechanism}. \
                 For details see the broker logfile."
            );
            self.write_close(&Fault::new(ReplyCode::AccessRefused, text), out);
        }
        self.refuse(now);
    }

    /// Falls silent until the refusal delay is over, without a word why (CONN-08).
    pub fn refuse(&mut self, now: Instant) {
        if self.state != State::Over {
            self.state = State::Refused {
                until: now + self.options.refusal_delay,
            };
        }
    }

    fn on_tune_ok(&mut self, tune: connection::TuneOk, now: Instant) {
        let offered = &self.options;
        let channels_fit = offered.channel_max == 0
            || (tune.channel_max != 0 && tune.channel_max <= offered.channel_max);
        let frames_fit = (FRAME_MIN_SIZE..=offered.frame_max).contains(&tune.frame_max);
        if !channels_fit || !frames_fit {
            return self.refuse(now);
        }
        self.channel_max = tune.channel_max;
        self.frame_max = tune.frame_max;
        self.payload_max = tune.frame_max as usize;
        self.heartbeat = Heartbeat::start(tune.heartbeat, now, self.traffic);
        self.state = State::ExpectOpen;
    }

    fn on_opening_frame<'a>(&mut self, frame: Frame<'a>) -> Result<Option<Event<'a>>, Failure> {
        let failure = |fault| Failure { channel: 0, fault };
        check_kind(frame).map_err(failure)?;
        if frame.channel != 0 || frame.kind != FRAME_METHOD {
            return Err(failure(describe::unexpected_frame(frame)));
        }
        let method = parse_method(frame).map_err(failure)?;
        let malformed = || failure(malformed_text().caused_by(method.id()));
        if !method.is_text() {
            return Err(malformed());
        }
        let Method::Connection(connection::Method::Open(open)) = method else {
            return Err(failure(unexpected_in("opening", method)));
        };
        let vhost = open.virtual_host.as_text().ok_or_else(malformed)?;
        self.state = State::ExpectVhost;
        Ok(Some(Event::Open { vhost }))
    }

    /// The vhost is open: the connection runs (CONN-17).
    pub fn accept_open(&mut self, out: &mut BytesMut) {
        write_frame(
            connection::OpenOk {
                known_hosts: ShortStr::default(),
            },
            0,
            out,
        );
        self.state = State::Running;
    }
}

/// The capabilities came with 0-9-1, so who speaks 0-8 is offered none (PROTO-03).
fn without_capabilities(server_properties: &TableBuf) -> TableBuf {
    let none = Value::Table(Table::default());
    let entries = server_properties.view().entries();
    TableBuf::from_raw_entries(entries.map(|(key, value)| match key.0 {
        b"capabilities" => (key, none),
        _ => (key, value),
    }))
}

fn capabilities(client_properties: Table<'_>) -> ClientCapabilities {
    let Some(Value::Table(declared)) = client_properties.get("capabilities") else {
        return ClientCapabilities::default();
    };
    let has = |name| declared.get(name).is_some_and(|value| value.is_true());
    ClientCapabilities {
        authentication_failure_close: has("authentication_failure_close"),
        consumer_cancel_notify: has("consumer_cancel_notify"),
        connection_blocked: has("connection.blocked"),
    }
}
