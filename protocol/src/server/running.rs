//! The frames of a running connection: what each one means on its channel, and which are faults.
//!
//! The usual frame is the method of a publish whose content lies right behind it, or an ack; for these
//! there is a short way, [`Connection::next_usual`], which is tried first. Whatever is unusual about a
//! frame, or wrong, is found on the long way.

use bytes::BytesMut;
use std::sync::Arc;

use super::channels::ChannelState;
use super::content::{self, Assembled, Assembly, PublishMethod};
use super::{Connection, Event, Failure, Input, State, describe};
use crate::content::{FRAME_BODY, FRAME_HEADER, HEADER_FIXED_LEN};
use crate::framer::{self, Cut, FRAME_HEARTBEAT, Frame};
use crate::method::{FRAME_METHOD, basic, channel, connection, write_frame};
use crate::parse::Malformed;
use crate::reply::{Fault, MethodId, ReplyCode};
use crate::{Method, parse};

impl Connection {
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
    pub(super) fn next_running<'a>(
        &mut self,
        input: &mut Input<'a>,
        out: &mut BytesMut,
    ) -> Result<Option<Event<'a>>, Failure> {
        loop {
            if let Some(event) = self.next_usual(input) {
                return Ok(Some(event));
            }
            let Some(frame) = self.cut(input)? else {
                return Ok(None);
            };
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
    }

    /// The next event if it is one of the two that nearly all are: a publish that lies whole in the
    /// buffer, or an ack. `None` says nothing: [`Connection::next_event`] knows.
    #[inline]
    pub fn next_usual<'a>(&mut self, input: &mut Input<'a>) -> Option<Event<'a>> {
        if self.state != State::Running {
            return None;
        }
        let rest = input.rest();
        let Ok(Cut::Frame(frame)) = framer::cut(rest, self.payload_max) else {
            return None;
        };
        let is_open = matches!(
            self.channels.state(frame.channel),
            Some(ChannelState::Open(None))
        );
        if frame.kind != FRAME_METHOD || !is_open {
            return None;
        }
        let (ids, arguments) = frame.payload.split_first_chunk::<4>()?;
        let (event, len) = match *ids {
            PUBLISH_IDS => self.whole_publish(frame, arguments, input)?,
            ACK_IDS => {
                let (channel, ack) = (frame.channel, parse_ack(arguments)?);
                (Event::Ack { channel, ack }, 0)
            }
            _ => return None,
        };
        input.at += frame.wire_len() + len;
        Some(event)
    }

    #[inline]
    fn whole_publish<'a>(
        &self,
        frame: Frame<'a>,
        arguments: &'a [u8],
        input: &Input<'a>,
    ) -> Option<(Event<'a>, usize)> {
        let channel = frame.channel;
        let publish = PublishMethod::parse(arguments)?;
        let content = input.rest().get(frame.wire_len()..)?;
        let body_max = self.options.whole_body_max_bytes(input.copied_piece_max);
        let (publish, len) = content::whole(channel, publish, content, self.payload_max, body_max)?;
        Some((Event::Publish { channel, publish }, len))
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
            Some(ChannelState::Open(None)) => self.on_open_channel(frame),
            Some(ChannelState::Open(Some(_))) => self.on_content_frame(frame, input),
            Some(_) => self.on_closing_channel(frame, out),
            None => self.on_unused_channel(frame),
        }
    }

    fn on_open_channel<'a>(&mut self, frame: Frame<'a>) -> Result<Option<Event<'a>>, Fault> {
        if frame.kind != FRAME_METHOD {
            return Err(expected_method_frame());
        }
        let number = frame.channel;
        if let Some(arguments) = frame.payload.strip_prefix(&PUBLISH_IDS)
            && let Some(publish) = PublishMethod::parse(arguments)
        {
            self.begin_publish(number, publish);
            return Ok(None);
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

    /// Begins to put a publish together; one that lay whole in the buffer went the short way.
    fn begin_publish(&mut self, number: u16, publish: PublishMethod<'_>) {
        if let Some(ChannelState::Open(assembly)) = self.channels.state(number) {
            *assembly = Some(Box::new(Assembly::begin(publish)));
        }
    }

    fn on_content_frame<'a>(
        &mut self,
        frame: Frame<'a>,
        input: &Input<'a>,
    ) -> Result<Option<Event<'a>>, Fault> {
        let options = Arc::clone(&self.options);
        let Some(ChannelState::Open(slot)) = self.channels.state(frame.channel) else {
            return Ok(None);
        };
        let Some(mut assembly) = slot.take() else {
            return Ok(None);
        };
        self.assembling_bytes -= assembly.held_bytes();
        let assembled = assembly.take(frame, input, &options)?;
        match assembled {
            Assembled::Whole(publish) => Ok(Some(Event::Publish {
                channel: frame.channel,
                publish,
            })),
            Assembled::NotYet => {
                self.assembling_bytes += assembly.held_bytes();
                *slot = Some(assembly);
                self.check_assembling_bytes().map(|()| None)
            }
        }
    }

    /// The bytes of messages that have not been sent whole yet, over all channels.
    pub fn assembling_bytes(&self) -> u64 {
        self.assembling_bytes
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
}

/// Class and method number of `basic.publish`, which comes far more often than anything else.
const PUBLISH_IDS: [u8; 4] = [0, 60, 0, 40];

/// The same of `basic.ack`, which comes second.
const ACK_IDS: [u8; 4] = [0, 60, 0, 80];

/// The arguments of a `basic.ack`: a delivery tag, an octet of bits, and nothing else.
#[inline]
fn parse_ack(arguments: &[u8]) -> Option<basic::Ack> {
    let (tag, bits) = arguments.split_first_chunk::<8>()?;
    let &[bits] = bits else { return None };
    Some(basic::Ack {
        delivery_tag: u64::from_be_bytes(*tag),
        multiple: bits & 1 != 0,
    })
}

/// The frame's type exists, and the frame is long enough to be one (FRAME-02, FRAME-03, HB-06).
#[inline]
pub(super) fn check_kind(frame: Frame<'_>) -> Result<(), Fault> {
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

pub(super) fn method_id(frame: Frame<'_>) -> MethodId {
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
pub(super) fn parse_method(frame: Frame<'_>) -> Result<Method<'_>, Fault> {
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
pub(super) fn malformed_text() -> Fault {
    Fault::new(ReplyCode::FrameError, "Malformed UTF-8 in shortstr")
}

fn expected_method_frame() -> Fault {
    let text = "expected method frame, got non method frame instead";
    Fault::new(ReplyCode::UnexpectedFrame, text)
}

fn second_open() -> Fault {
    Fault::new(ReplyCode::ChannelError, "second 'channel.open' seen").caused_by(channel::Open::ID)
}

pub(super) fn unexpected_in(state: &str, method: Method<'_>) -> Fault {
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
