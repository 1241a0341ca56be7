//! How channels and connections end: faults, closes from either side, deadlines, silence.

use std::time::Instant;

use bytes::BytesMut;

use super::{Connection, Failure, State};
use crate::framer::HEARTBEAT;
use crate::heartbeat::{Heartbeat, Traffic};
use crate::method::{channel, connection, write_frame};
use crate::reply::Fault;
use crate::value::ShortStr;

impl Connection {
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

    pub(super) fn write_close(&mut self, fault: &Fault, out: &mut BytesMut) {
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
