//! The framer, the method codec and the connection machine.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use leveret_protocol::client::{write_method, write_protocol_header};
use leveret_protocol::framer::{Cut, cut};
use leveret_protocol::method::{basic, channel, connection};
use leveret_protocol::server::{Connection, Event, Input, ServerOptions};
use leveret_protocol::{LongStr, Method, Properties, ShortStr};

use super::messages::{FRAME_MAX, headers, properties, publishes};
use super::{MESSAGES, Part};

/// A round of work that keeps nothing.
struct Repeated<F>(F);

impl<F: FnMut()> Part for Repeated<F> {
    fn round(&mut self) {
        (self.0)();
    }
}

fn repeated(round: impl FnMut() + 'static) -> Box<dyn Part> {
    Box::new(Repeated(round))
}

/// Three frames a message.
pub(super) fn frames_cut() -> Box<dyn Part> {
    let input = publishes("", "q", &Properties::default(), 16);
    repeated(move || {
        let mut rest = &input[..];
        while let Ok(Cut::Frame(frame)) = cut(black_box(rest), FRAME_MAX as usize) {
            rest = &rest[frame.wire_len()..];
        }
        assert!(rest.is_empty());
    })
}

pub(super) fn properties_parse() -> Box<dyn Part> {
    let headers = headers();
    let bytes = properties(&headers).to_bytes();
    repeated(move || {
        for _ in 0..MESSAGES {
            let parsed = Properties::parse(black_box(&bytes));
            black_box(parsed.expect("properties"));
        }
    })
}

pub(super) fn acks_parse() -> Box<dyn Part> {
    let mut bytes = BytesMut::new();
    let ack = basic::Ack {
        delivery_tag: 1,
        multiple: false,
    };
    Method::from(ack).write(&mut bytes);
    repeated(move || {
        for _ in 0..MESSAGES {
            let parsed = Method::parse(black_box(&bytes));
            black_box(parsed.expect("a method"));
        }
    })
}

pub(super) fn delivers_write() -> Box<dyn Part> {
    let mut out = BytesMut::new();
    repeated(move || {
        out.clear();
        for delivery_tag in 0..MESSAGES as u64 {
            let deliver = basic::Deliver {
                consumer_tag: ShortStr(b"ctag"),
                delivery_tag,
                routing_key: ShortStr(b"q"),
                ..Default::default()
            };
            write_method(1, black_box(deliver), &mut out);
        }
        black_box(&out);
    })
}

/// From bytes to complete publishes.
pub(super) fn publishes_read() -> Box<dyn Part> {
    let input = publishes("", "q", &Properties::default(), 16);
    let now = Instant::now();
    let mut connection = Connection::new(Arc::new(ServerOptions::default()), now);
    assert_eq!(offer(&mut connection, &opening(), now), 0);
    repeated(move || assert_eq!(offer(&mut connection, &input, now), MESSAGES))
}

/// What opens a connection and a channel.
fn opening() -> Bytes {
    let mut bytes = BytesMut::new();
    write_protocol_header(&mut bytes);
    let start_ok = connection::StartOk {
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(b"\0guest\0guest"),
        ..Default::default()
    };
    write_method(0, start_ok, &mut bytes);
    let tune_ok = connection::TuneOk {
        channel_max: 1,
        frame_max: FRAME_MAX,
        heartbeat: 0,
    };
    write_method(0, tune_ok, &mut bytes);
    write_method(0, connection::Open::default(), &mut bytes);
    write_method(1, channel::Open::default(), &mut bytes);
    bytes.freeze()
}

/// Says yes to everything and counts the messages.
fn offer(connection: &mut Connection, bytes: &Bytes, now: Instant) -> usize {
    let mut input = Input::new(bytes);
    let (mut out, mut messages) = (BytesMut::new(), 0);
    loop {
        let event = connection.next_event(&mut input, now, &mut out);
        match event.expect("nothing that is not allowed") {
            None => return messages,
            Some(Event::Login(_)) => connection.accept_login(&mut out),
            Some(Event::Open { .. }) => connection.accept_open(&mut out),
            Some(Event::OpenChannel { channel }) => connection.accept_channel(channel, &mut out),
            Some(Event::Publish { publish, .. }) => {
                black_box(publish);
                messages += 1;
            }
            Some(event) => panic!("{event:?}"),
        }
    }
}
