//! What a broker sent, taken apart without copying or allocating.
//!
//! ```text
//!   bytes   0 ......... start ............ end ......... room
//!             taken           not yet taken    free: read into
//! ```
//!
//! What it is not: it knows no socket, and of deliveries only what is counted.
//!
//! Invariants: `start <= end <= bytes.len()`; a delivery is returned once its last byte is there; memory
//! is what was reserved at the beginning.

use leveret_protocol::Method;
use leveret_protocol::content::{ContentHeader, FRAME_BODY, FRAME_HEADER};
use leveret_protocol::encode::FRAME_OVERHEAD;
use leveret_protocol::framer::{self, Cut};
use leveret_protocol::method::FRAME_METHOD;
use leveret_protocol::method::basic::Method as Basic;
use leveret_protocol::method::connection::Method as Connection;

use super::super::PerfError;
use super::super::notices::Notices;
use super::clock::STAMP_LEN;

/// One thing that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A delivery, whole.
    Delivery(Delivery),
    /// `basic.ack` or `basic.nack` for publishes.
    Confirm {
        delivery_tag: u64,
        multiple: bool,
        nacked: bool,
    },
    /// `basic.consume-ok`.
    ConsumeOk,
    /// `basic.cancel`: the broker ended the consumer with this tag.
    Cancel(String),
    /// `connection.close-ok`.
    CloseOk,
}

/// What is counted of a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) delivery_tag: u64,
    pub(super) redelivered: bool,
    /// Bytes of the body.
    pub(super) size: u64,
    /// The first bytes of the body as a number; zero if the body is shorter.
    pub(super) stamp: u64,
}

/// The buffer that a socket is read into.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The delivery under way, and how much of its body is still to come.
    delivery: Delivery,
    body_left: u64,
}

impl Inbox {
    /// A buffer of so many bytes, which has to hold the greatest frame, with what came already.
    pub(super) fn new(room: usize, received: &[u8]) -> Self {
        let mut bytes = received.to_vec();
        bytes.resize(room.max(received.len()), 0);
        Self {
            bytes,
            start: 0,
            end: received.len(),
            delivery: Delivery::default(),
            body_left: 0,
        }
    }

    /// Where the next bytes go. It is never empty: what is not yet taken is less than a frame.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes were put into the space.
    pub(super) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// The next thing that is whole; `None` until more bytes come.
    ///
    /// # Errors
    /// The bytes are no frames, or the broker closed the connection or the channel.
    pub(super) fn next(&mut self, notices: &mut Notices) -> Result<Option<Arrival>, PerfError> {
        loop {
            let unread = self.bytes.get(self.start..self.end).unwrap_or_default();
            let payload_max = self.bytes.len() - FRAME_OVERHEAD;
            let frame = match framer::cut(unread, payload_max) {
                Ok(Cut::Frame(frame)) => frame,
                Ok(Cut::Incomplete { .. }) => return Ok(None),
                Err(error) => return Err(notices.protocol(format!("no frame: {error:?}"))),
            };
            self.start += frame.wire_len();
            let whole = match frame.kind {
                FRAME_BODY => body(&mut self.delivery, &mut self.body_left, frame.payload),
                FRAME_HEADER => {
                    let header = ContentHeader::parse(frame.payload);
                    self.body_left = header.map_err(|error| notices.protocol(error))?.body_size;
                    self.delivery.size = self.body_left;
                    self.body_left == 0
                }
                FRAME_METHOD => match delivery(frame.payload) {
                    Some(delivery) => {
                        self.delivery = delivery;
                        false
                    }
                    None => match method(frame.payload, notices)? {
                        Some(arrival) => return Ok(Some(arrival)),
                        None => false,
                    },
                },
                _ => false,
            };
            if whole {
                return Ok(Some(Arrival::Delivery(self.delivery)));
            }
        }
    }
}

/// Takes in a piece of a body and says whether it was the last.
#[inline]
fn body(delivery: &mut Delivery, left: &mut u64, piece: &[u8]) -> bool {
    if *left == delivery.size {
        let stamp = piece.first_chunk::<STAMP_LEN>();
        delivery.stamp = stamp.map_or(0, |stamp| u64::from_be_bytes(*stamp));
    }
    *left = left.saturating_sub(piece.len() as u64);
    *left == 0
}

/// What a `basic.deliver` says, if it is one: class 60, method 60, consumer tag, delivery tag, flags.
/// It is the one method that comes a million times, so only what is counted is read.
#[inline]
fn delivery(payload: &[u8]) -> Option<Delivery> {
    let (&[0, 60, 0, 60, tag_len], rest) = payload.split_first_chunk()? else {
        return None;
    };
    let (delivery_tag, rest) = rest.get(usize::from(tag_len)..)?.split_first_chunk()?;
    Some(Delivery {
        delivery_tag: u64::from_be_bytes(*delivery_tag),
        redelivered: rest.first()? & 1 == 1,
        size: 0,
        stamp: 0,
    })
}

/// Every other method that somebody here waits for.
fn method(payload: &[u8], notices: &mut Notices) -> Result<Option<Arrival>, PerfError> {
    let method = Method::parse(payload).map_err(|error| notices.protocol(error))?;
    if notices.take(&method)? {
        return Ok(None);
    }
    Ok(match method {
        Method::Basic(Basic::Ack(ack)) => Some(Arrival::Confirm {
            delivery_tag: ack.delivery_tag,
            multiple: ack.multiple,
            nacked: false,
        }),
        Method::Basic(Basic::Nack(nack)) => Some(Arrival::Confirm {
            delivery_tag: nack.delivery_tag,
            multiple: nack.multiple,
            nacked: true,
        }),
        Method::Basic(Basic::ConsumeOk(_)) => Some(Arrival::ConsumeOk),
        Method::Basic(Basic::Cancel(cancel)) => {
            let tag = cancel.consumer_tag.to_text().into_owned();
            Some(Arrival::Cancel(tag))
        }
        Method::Connection(Connection::CloseOk(_)) => Some(Arrival::CloseOk),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::BytesMut;
    use leveret_protocol::ShortStr;
    use leveret_protocol::client::{write_body, write_heartbeat, write_method};
    use leveret_protocol::content::BASIC_CLASS_ID;
    use leveret_protocol::method::{basic, connection};

    use super::*;

    const ROOM: usize = 4096;

    fn deliver(delivery_tag: u64, body: &[u8], out: &mut BytesMut) {
        let deliver = basic::Deliver {
            consumer_tag: ShortStr(b"q-0"),
            delivery_tag,
            redelivered: delivery_tag == 2,
            exchange: ShortStr(b"x"),
            routing_key: ShortStr(b"key"),
        };
        write_method(1, deliver, out);
        let header = ContentHeader {
            class_id: BASIC_CLASS_ID,
            weight: 0,
            body_size: body.len() as u64,
            properties: &[0, 0],
        };
        header.write_frame(1, out);
        write_body(1, body, 20, out);
    }

    /// What comes out when the bytes come in pieces of at most `step`.
    fn arrivals(bytes: &[u8], step: usize) -> Result<Vec<Arrival>, PerfError> {
        let mut notices = Notices::new("a:1".to_owned());
        let mut inbox = Inbox::new(ROOM, &[]);
        let mut arrivals = Vec::new();
        for piece in bytes.chunks(step) {
            inbox.space()[..piece.len()].copy_from_slice(piece);
            inbox.filled(piece.len());
            while let Some(arrival) = inbox.next(&mut notices)? {
                arrivals.push(arrival);
            }
        }
        Ok(arrivals)
    }

    #[test]
    fn deliveries_come_out_whole_however_they_were_split() {
        let mut bytes = BytesMut::new();
        deliver(
            1,
            &[&7_u64.to_be_bytes()[..], &[1; 23]].concat(),
            &mut bytes,
        );
        write_heartbeat(&mut bytes);
        deliver(2, b"", &mut bytes);
        deliver(3, b"short", &mut bytes);
        let delivery = |delivery_tag, size, stamp| {
            Arrival::Delivery(Delivery {
                delivery_tag,
                redelivered: delivery_tag == 2,
                size,
                stamp,
            })
        };
        let expected = [delivery(1, 31, 7), delivery(2, 0, 0), delivery(3, 5, 0)];
        for step in [1, 7, 100, ROOM] {
            assert_eq!(arrivals(&bytes, step).unwrap(), expected, "{step}");
        }
    }

    #[test]
    fn confirms_and_cancels_are_told() {
        let mut bytes = BytesMut::new();
        let (delivery_tag, multiple) = (9, true);
        write_method(
            1,
            basic::Ack {
                delivery_tag,
                multiple,
            },
            &mut bytes,
        );
        let nack = basic::Nack {
            delivery_tag,
            ..Default::default()
        };
        write_method(1, nack, &mut bytes);
        let cancel = basic::Cancel {
            consumer_tag: ShortStr(b"q-0"),
            ..Default::default()
        };
        write_method(1, cancel, &mut bytes);
        write_method(0, connection::CloseOk {}, &mut bytes);
        let confirm = |multiple, nacked| Arrival::Confirm {
            delivery_tag,
            multiple,
            nacked,
        };
        let expected = [
            confirm(true, false),
            confirm(false, true),
            Arrival::Cancel("q-0".to_owned()),
            Arrival::CloseOk,
        ];
        assert_eq!(arrivals(&bytes, ROOM).unwrap(), expected);
    }

    #[test]
    fn a_close_and_bytes_that_are_no_frame_are_errors_that_name_the_broker() {
        let mut bytes = BytesMut::new();
        let close = connection::Close {
            reply_code: 320,
            reply_text: ShortStr(b"CONNECTION_FORCED"),
            ..Default::default()
        };
        write_method(0, close, &mut bytes);
        let error = arrivals(&bytes, ROOM).unwrap_err().to_string();
        assert_eq!(error, "a:1 closed the connection: 320 CONNECTION_FORCED");
        let error = arrivals(&[3, 0, 1, 0, 0, 0, 0, 0], ROOM).unwrap_err();
        assert!(error.to_string().starts_with("a:1: no frame"), "{error}");
        let too_large = arrivals(&[3, 0, 1, 0, 1, 0, 0], ROOM).unwrap_err();
        assert!(too_large.to_string().contains("TooLarge"), "{too_large}");
    }
}
