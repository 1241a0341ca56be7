//! Limits of the server's connection machine, each reached by an ordinary client's frames.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use leveret_protocol::client::{write_method, write_protocol_header, write_publish};
use leveret_protocol::content::{BASIC_CLASS_ID, Body, ContentHeader, FRAME_BODY};
use leveret_protocol::encode;
use leveret_protocol::method::{basic, channel, connection};
use leveret_protocol::server::{Connection, Event, Failure, Input, ServerOptions};
use leveret_protocol::{Fault, LongStr, Method, Properties, ReplyCode, ShortStr};

/// A running connection with one channel.
fn running(options: ServerOptions) -> Connection {
    let (channel_max, frame_max) = (options.channel_max, options.frame_max);
    let mut connection = Connection::new(Arc::new(options), Instant::now());
    let mut bytes = BytesMut::new();
    write_protocol_header(&mut bytes);
    let start_ok = connection::StartOk {
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(b"\0guest\0guest"),
        ..Default::default()
    };
    write_method(0, start_ok, &mut bytes);
    let tune_ok = connection::TuneOk {
        channel_max,
        frame_max,
        heartbeat: 0,
    };
    write_method(0, tune_ok, &mut bytes);
    write_method(0, connection::Open::default(), &mut bytes);
    write_method(1, channel::Open::default(), &mut bytes);
    assert_eq!(offer(&mut connection, bytes), Ok(0));
    assert!(connection.is_running());
    connection
}

/// Says yes to everything, until the bytes are used up or a fault is found; counts the messages.
fn offer(connection: &mut Connection, bytes: BytesMut) -> Result<usize, Failure> {
    let buffer: Bytes = bytes.freeze();
    let mut input = Input::new(&buffer);
    let (now, mut out, mut messages) = (Instant::now(), BytesMut::new(), 0);
    while let Some(event) = connection.next_event(&mut input, now, &mut out)? {
        match event {
            Event::Login(_) => connection.accept_login(&mut out),
            Event::Open { .. } => connection.accept_open(&mut out),
            Event::OpenChannel { channel } => connection.accept_channel(channel, &mut out),
            Event::Publish { .. } => messages += 1,
            event => panic!("{event:?}"),
        }
    }
    Ok(messages)
}

/// How far a login gets whose broker asks once before it says yes; what was written for the client.
fn log_in_by_challenge(answers: &[Method<'_>], now: Instant) -> (Connection, Vec<u8>, BytesMut) {
    let mut connection = Connection::new(Arc::new(ServerOptions::default()), now);
    let mut bytes = BytesMut::new();
    write_protocol_header(&mut bytes);
    let start_ok = connection::StartOk {
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(b"first"),
        ..Default::default()
    };
    write_method(0, start_ok, &mut bytes);
    answers
        .iter()
        .for_each(|answer| write_method(0, *answer, &mut bytes));
    let buffer = bytes.freeze();
    let mut input = Input::new(&buffer);
    let (mut out, mut response) = (BytesMut::new(), Vec::new());
    while let Some(event) = connection.next_event(&mut input, now, &mut out).unwrap() {
        match event {
            Event::Login(login) => {
                assert_eq!(login.response, b"first");
                out.clear();
                connection.challenge(b"and?", &mut out);
            }
            Event::SecureOk { response: second } => {
                response = second.to_vec();
                out.clear();
                connection.accept_login(&mut out);
            }
            event => panic!("{event:?}"),
        }
    }
    (connection, response, out)
}

fn secure_ok(response: &[u8]) -> Method<'_> {
    let response = LongStr(response);
    connection::SecureOk { response }.into()
}

fn written<'m>(method: impl Into<Method<'m>>) -> BytesMut {
    let mut bytes = BytesMut::new();
    write_method(0, method, &mut bytes);
    bytes
}

#[test]
fn conn_14_a_challenge_is_sent_and_its_answer_handed_on_once() {
    let now = Instant::now();
    let (_, response, out) = log_in_by_challenge(&[], now);
    let secure = connection::Secure {
        challenge: LongStr(b"and?"),
    };
    assert_eq!((response, out), (Vec::new(), written(secure)));

    let (connection, response, out) = log_in_by_challenge(&[secure_ok(b"second")], now);
    let tune = connection::Tune {
        channel_max: 2047,
        frame_max: 131_072,
        heartbeat: 60,
    };
    assert_eq!((response.as_slice(), out), (&b"second"[..], written(tune)));
    assert!(!connection.is_over() && !connection.is_running());
}

#[test]
fn conn_14_nothing_but_the_answer_to_a_challenge_is_taken() {
    let now = Instant::now();
    let end_of_silence = now + ServerOptions::default().refusal_delay;
    let tune_ok = connection::TuneOk::default();
    let start_ok = connection::StartOk::default();
    for wrong in [Method::from(tune_ok), Method::from(start_ok)] {
        let (connection, response, _) = log_in_by_challenge(&[wrong, secure_ok(b"late")], now);
        assert!(response.is_empty(), "{wrong:?}");
        assert_eq!(connection.deadline(), Some(end_of_silence), "{wrong:?}");
    }
}

#[test]
fn pub_03_a_message_in_one_piece_is_held_to_the_limit_too() {
    let options = ServerOptions {
        channel_max: 100,
        message_size_max_bytes: 4,
        ..Default::default()
    };
    let publish = |body: &[u8]| {
        let mut out = BytesMut::new();
        let properties = Properties::default();
        write_publish(
            1,
            basic::Publish::default(),
            &properties,
            body,
            4096,
            &mut out,
        );
        out
    };
    let mut connection = running(options);
    assert_eq!(offer(&mut connection, publish(b"four")), Ok(1));
    let failure = offer(&mut connection, publish(b"five!")).unwrap_err();
    assert_eq!(failure.channel, 1);
    assert_eq!(failure.fault.code, ReplyCode::PreconditionFailed);
    assert_eq!(
        failure.fault.explanation,
        "message size 5 is larger than configured max size 4"
    );
}

/// However many frames carry it, and with empty ones in between (FRAME-20).
#[test]
fn a_body_in_many_frames_is_put_together_whole() {
    let mut out = BytesMut::new();
    let (publish, properties) = (basic::Publish::default(), Properties::default());
    write_publish(1, publish, &properties, b"hello", 4096, &mut out);
    out.truncate(out.len() - HELLO_FRAME_LEN);
    for piece in ["h", "", "el", "l", "o"] {
        encode::frame(&mut out, FRAME_BODY, 1, |out| {
            out.extend_from_slice(piece.as_bytes())
        });
    }
    let mut connection = running(ServerOptions::default());
    let buffer = out.freeze();
    let mut input = Input::new(&buffer);
    let event = connection.next_event(&mut input, Instant::now(), &mut BytesMut::new());
    let Ok(Some(Event::Publish { publish, .. })) = event else {
        panic!("{event:?}");
    };
    let Body::Parts(parts) = publish.body() else {
        panic!("{publish:?}");
    };
    assert_eq!(parts.concat(), b"hello");
    assert_eq!(input.consumed(), buffer.len());
}

/// The frame with the whole body that [`write_publish`] wrote.
const HELLO_FRAME_LEN: usize = 5 + encode::FRAME_OVERHEAD;

/// The addresses of a message's body and of the buffer that it came in, which lies in an allocation of so many
/// bytes. The body comes in frames of this size.
fn body_and_buffer(
    body_len: usize,
    frame_len: u32,
    allocated: usize,
) -> (Vec<Bytes>, std::ops::Range<*const u8>) {
    let (mut out, body) = (BytesMut::new(), vec![7; body_len]);
    let (publish, properties) = (basic::Publish::default(), Properties::default());
    write_publish(1, publish, &properties, &body, frame_len, &mut out);
    let mut connection = running(ServerOptions::default());
    let buffer = out.freeze();
    let mut input = Input::within(&buffer, allocated.max(buffer.len()));
    let event = connection.next_event(&mut input, Instant::now(), &mut BytesMut::new());
    let Ok(Some(Event::Publish { publish, .. })) = event else {
        panic!("{event:?}");
    };
    assert_eq!(connection.assembling_bytes(), 0);
    let parts = match publish.body() {
        Body::Whole(body) => vec![Bytes::copy_from_slice(body)],
        Body::Parts(parts) => parts,
    };
    assert_eq!(parts.concat(), body);
    (parts, buffer.as_ptr_range())
}

/// What is kept of a buffer keeps all of it alive, and is counted by its own length.
#[test]
fn a_body_keeps_no_more_of_a_buffer_than_an_eighth_beside_itself() {
    for (body_len, allocated, is_kept) in [
        (60_000, 65_536, true),
        (56_000, 65_536, false),
        (60_000, 80_000, false),
        (4_096, 4_200, false),
        (5_000, 5_200, true),
    ] {
        let (parts, buffer) = body_and_buffer(body_len, 131_072, allocated);
        let is_inside = buffer.contains(&parts[0].as_ptr());
        assert_eq!(is_inside, is_kept, "{body_len} of {allocated} bytes");
    }
    // Each of many frames has less than half of the buffer.
    let (parts, buffer) = body_and_buffer(60_000, 10_000, 65_536);
    assert!(parts.iter().all(|part| !buffer.contains(&part.as_ptr())));
}

/// A number that was closed, by either side, is free again; only open ones count (TUNE-07, TUNE-13).
#[test]
fn channels_count_only_while_they_are_open() {
    let mut connection = running(ServerOptions {
        channel_max: 2,
        ..ServerOptions::default()
    });
    for channel in [2, 300, 2, 65_535, 255, 256] {
        let mut out = BytesMut::new();
        write_method(channel, channel::Open::default(), &mut out);
        assert_eq!(offer(&mut connection, out), Ok(0), "{channel}");
        let fault = Fault::new(ReplyCode::NotFound, "no such thing");
        let failure = Failure { channel, fault };
        connection.fail(&failure, Instant::now(), &mut BytesMut::new());
        let mut out = BytesMut::new();
        write_method(7, channel::Open::default(), &mut out);
        let refused = offer(&mut connection, out).unwrap_err();
        assert_eq!(
            refused.fault.code,
            ReplyCode::NotAllowed,
            "{channel} still counts"
        );
        let mut out = BytesMut::new();
        write_method(channel, channel::CloseOk {}, &mut out);
        assert_eq!(offer(&mut connection, out), Ok(0));
    }
}

/// Every channel can hold a header back until its body comes, and a header may be as large as a
/// frame: what the headers hold counts like bodies do.
#[test]
fn headers_of_incomplete_messages_are_bounded() {
    let options = ServerOptions {
        channel_max: 100,
        message_size_max_bytes: 1,
        ..Default::default()
    };
    let mut connection = running(options);
    let begun: Vec<_> = (2..=20)
        .map(|channel| offer(&mut connection, incomplete(channel)))
        .collect();
    let first = begun.iter().position(Result::is_err);
    assert_eq!(
        first,
        Some(5),
        "five headers of 100,000 bytes fit, six do not"
    );
    let failure = begun[5].clone().unwrap_err();
    assert_eq!(failure.fault.code, ReplyCode::ResourceError);
}

/// Opens the channel and sends a message up to its header.
fn incomplete(channel: u16) -> BytesMut {
    let mut out = BytesMut::new();
    write_method(channel, channel::Open::default(), &mut out);
    write_method(channel, basic::Publish::default(), &mut out);
    let header = ContentHeader {
        class_id: BASIC_CLASS_ID,
        weight: 0,
        body_size: 1,
        properties: &[0; 100_000],
    };
    header.write_frame(channel, &mut out);
    out
}

#[test]
fn frame_05_an_ack_of_another_length_is_refused_and_not_taken_for_a_usual_one() {
    let ack = |arguments: &[u8]| {
        let mut bytes = BytesMut::new();
        let payload = [&[0, 60, 0, 80], arguments].concat();
        bytes.extend_from_slice(&[1, 0, 1]);
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(&payload);
        bytes.extend_from_slice(&[0xce]);
        bytes.freeze()
    };
    let whole = [0, 0, 0, 0, 0, 0, 0, 1, 0];
    for (arguments, is_usual) in [
        (&whole[..], true),
        (&whole[..8], false),
        (&[whole.as_slice(), &[0]].concat(), false),
    ] {
        let mut connection = running(ServerOptions::default());
        let buffer = ack(arguments);
        let mut input = Input::new(&buffer);
        let event = connection.next_usual(&mut input);
        assert_eq!(event.is_some(), is_usual, "{event:?}");
        if is_usual {
            continue;
        }
        let failure = connection
            .next_event(&mut input, Instant::now(), &mut BytesMut::new())
            .unwrap_err();
        assert_eq!(failure.fault.code, ReplyCode::FrameError);
        assert_eq!(
            (
                failure.fault.method.class_id,
                failure.fault.method.method_id
            ),
            (60, 80)
        );
    }
}
