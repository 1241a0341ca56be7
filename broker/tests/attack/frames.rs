//! Numbers 22 to 24 and 28 to 30: frames that are none, come where they may not, or never end.

use bytes::{BufMut as _, BytesMut};
use leveret_protocol::client::write_method;
use leveret_protocol::method::{basic, channel, confirm};
use leveret_protocol::{MethodId, Properties};

use crate::arena::{Arena, impatient};
use crate::attacker::{
    Attacker, FRAME_MAX, Manners, frame, frame_claiming, header, method_frame, nested_arrays,
    nested_tables, publish,
};
use crate::process::BrokerProcess;

const PUBLISH: MethodId = basic::Publish::ID;

/// A publish to a queue that is not there, without its content.
fn publish_method() -> BytesMut {
    let mut out = BytesMut::new();
    write_method(1, publish("", "nobody"), &mut out);
    out
}

fn content_header(body_size: u64) -> Vec<u8> {
    frame(2, 1, &header(60, 0, body_size, &[0, 0]))
}

/// Sends these bytes on a connection of their own, with channel 1 open.
async fn sent(arena: &Arena, bytes: &[u8]) -> Attacker {
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.send(bytes).await;
    attacker
}

/// The connection is closed for these bytes, with this code and text.
async fn closes(arena: &mut Arena, bytes: &[u8], code: u16, text: &str) {
    let mut attacker = sent(arena, bytes).await;
    arena.still_serves().await;
    attacker.closed(code, text).await;
}

#[tokio::test]
async fn n022_wrong_ends_and_unknown_types() {
    let mut arena = Arena::new().await;
    for end in [0, 0xCD, 0xFF] {
        let wrong_end = frame_claiming(1, 1, 4, &[0, 60, 0, 10], end);
        let text = format!("{{invalid_frame_end_marker,{end}}}");
        closes(&mut arena, &wrong_end, 501, &text).await;
    }
    for kind in [0, 4, 5, 6, 7, 9, b'A', 255] {
        for number in [0, 1, 7] {
            let text = format!("FRAME_ERROR - type {kind}, all octets");
            closes(&mut arena, &frame(kind, number, b"xy"), 501, &text).await;
        }
    }
    let short_method = frame(1, 1, &[0, 60, 0]);
    closes(&mut arena, &short_method, 501, "unknown_frame").await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n022_heartbeats_that_are_none() {
    let mut arena = Arena::new().await;
    closes(
        &mut arena,
        &frame(8, 1, &[]),
        505,
        "type 8, all octets = <<>>",
    )
    .await;
    closes(&mut arena, &frame(8, 0, b"beat"), 501, "unknown_frame").await;
    // A flood of true ones is allowed, and costs their bytes.
    let mut attacker = sent(&arena, &frame(8, 0, &[]).repeat(100_000)).await;
    attacker.goes_on(1).await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n023_frames_larger_than_agreed_are_refused_by_their_header() {
    let mut arena = Arena::new().await;
    for size in [FRAME_MAX + 1, 1 << 24, 0x8000_0000, u32::MAX - 6, u32::MAX] {
        for kind in [1, 2, 3] {
            let head = &frame_claiming(kind, 1, size, &[], 0)[..7];
            closes(&mut arena, head, 501, "frame_too_large").await;
        }
    }
    let manners = Manners {
        tune: leveret_protocol::method::connection::TuneOk {
            channel_max: 10,
            frame_max: 4096,
            heartbeat: 0,
        },
        ..Manners::default()
    };
    let mut attacker = Attacker::open_with(arena.address, &manners).await;
    attacker.open_channel(1).await;
    attacker
        .send(&frame_claiming(3, 1, 4097, &[], 0)[..7])
        .await;
    attacker.closed(501, "{frame_too_large,4097,4088}").await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n024_channels_that_are_not_open_or_open_already() {
    let mut arena = Arena::new().await;
    let qos = method_frame(7, basic::Qos::ID, &[0; 7]);
    closes(&mut arena, &qos, 504, "expected 'channel.open'").await;
    let never_opened = method_frame(7, channel::CloseOk::ID, &[]);
    closes(&mut arena, &never_opened, 504, "expected 'channel.open'").await;
    let again = method_frame(1, channel::Open::ID, &[0]);
    closes(&mut arena, &again, 504, "second 'channel.open' seen").await;
    let on_zero = method_frame(0, channel::Open::ID, &[0]);
    closes(
        &mut arena,
        &on_zero,
        504,
        "unexpected method in connection state",
    )
    .await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n024_channels_are_counted_and_not_their_numbers() {
    let mut arena = Arena::new().await;
    let mut manners = Manners::default();
    manners.tune.channel_max = 2;
    let mut attacker = Attacker::open_with(arena.address, &manners).await;
    attacker.open_channel(u16::MAX).await;
    attacker.open_channel(1).await;
    attacker.method(2, channel::Open::default()).await;
    attacker
        .closed(530, "has reached the negotiated channel_max (2)")
        .await;
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n024_a_channel_that_the_broker_closes_hears_nothing_but_the_end_of_that() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.open_channel(2).await;
    let mut out = BytesMut::new();
    write_method(1, publish("missing", "k"), &mut out);
    out.put_slice(&content_header(4));
    out.put_slice(&frame(3, 1, b"body"));
    // More of all kinds, before anybody can have heard of the close.
    write_method(1, basic::Qos::default(), &mut out);
    write_method(1, confirm::Select::default(), &mut out);
    write_method(1, publish("", "nobody"), &mut out);
    out.put_slice(&content_header(2));
    out.put_slice(&frame(3, 1, b"xy"));
    out.put_slice(&frame(3, 1, b"a stray body"));
    attacker.send(&out).await;
    let close = attacker.closed_channel(404, "no exchange 'missing'").await;
    assert_eq!(close.culprit, PUBLISH);
    // The number is free again at once, and nothing of the above has an answer.
    attacker.open_channel(1).await;
    attacker.goes_on(1).await;
    attacker.goes_on(2).await;
    // Before the close is agreed, it is not.
    let mut hasty = Attacker::on_channel(arena.address).await;
    let mut out = BytesMut::new();
    write_method(
        1,
        basic::Ack {
            delivery_tag: 9,
            multiple: false,
        },
        &mut out,
    );
    write_method(1, channel::Open::default(), &mut out);
    hasty.send(&out).await;
    let first = hasty.next().await.unwrap();
    assert_eq!(first.method().unwrap().id(), channel::Close::ID);
    hasty.closed(504, "second 'channel.open' seen").await;
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n028_content_without_its_method_or_in_the_wrong_order() {
    let mut arena = Arena::new().await;
    let no_method = "expected method frame, got non method frame instead";
    closes(&mut arena, &content_header(4), 505, no_method).await;
    closes(&mut arena, &frame(3, 1, b"body"), 505, no_method).await;
    let begun = |more: &[u8]| [&publish_method()[..], more].concat();
    let no_header = "expected content header for class 60, got non content header";
    for instead in [
        frame(3, 1, b"body"),
        method_frame(1, basic::Qos::ID, &[0; 7]),
        method_frame(1, channel::Close::ID, &[0; 7]),
        publish_method().to_vec(),
    ] {
        closes(&mut arena, &begun(&instead), 505, no_header).await;
    }
    let no_body = "expected content body, got non content body frame";
    for instead in [
        content_header(4),
        method_frame(1, basic::Qos::ID, &[0; 7]),
        publish_method().to_vec(),
    ] {
        let half = [content_header(4), frame(3, 1, b"bo"), instead].concat();
        closes(&mut arena, &begun(&half), 505, no_body).await;
    }
    arena.ends_empty().await;
}

#[tokio::test]
async fn n028_other_channels_may_come_between() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.open_channel(2).await;
    attacker.declare("between", &Default::default()).await;
    let mut out = BytesMut::new();
    write_method(1, publish("", "between"), &mut out);
    write_method(2, publish("", "between"), &mut out);
    out.put_slice(&frame(2, 2, &header(60, 0, 2, &[0, 0])));
    out.put_slice(&content_header(4));
    out.put_slice(&frame(8, 0, &[]));
    out.put_slice(&frame(3, 1, b"fi"));
    out.put_slice(&frame(3, 2, b"2n"));
    out.put_slice(&frame(3, 1, b"rs"));
    attacker.send(&out).await;
    attacker.goes_on(2).await;
    assert_eq!(attacker.get("between").await.unwrap(), b"2n");
    assert_eq!(attacker.get("between").await.unwrap(), b"firs");
    drop(attacker);
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n029_bodies_longer_than_announced_are_never_taken() {
    let mut arena = Arena::new().await;
    let with = |size, bodies: &[&[u8]]| {
        let mut out = publish_method().to_vec();
        out.extend(content_header(size));
        bodies.iter().for_each(|body| out.extend(frame(3, 1, body)));
        out
    };
    let empty = with(0, &[b"body"]);
    closes(&mut arena, &empty, 505, "expected method frame").await;
    let text = "content body frame exceeds remaining content size";
    for bodies in [&[&b"12345"[..]][..], &[b"123", b"45"], &[b"", b"12345"]] {
        closes(&mut arena, &with(4, bodies), 501, text).await;
    }
    let large = [7; 100_000];
    closes(&mut arena, &with(150_000, &[&large, &large]), 501, text).await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n029_sizes_that_nobody_may_send_are_refused_by_the_header() {
    let mut arena = Arena::new().await;
    for size in [134_217_729, 1 << 32, 1 << 63, u64::MAX - 1, u64::MAX] {
        let mut attacker = Attacker::on_channel(arena.address).await;
        attacker.send(&publish_method()).await;
        attacker.send(&content_header(size)).await;
        let close = attacker
            .closed_channel(406, &format!("message size {size}"))
            .await;
        assert_eq!(close.culprit, PUBLISH);
        // What was already on its way is passed over, as a body and not as frames of its own.
        attacker.open_channel(1).await;
        attacker.goes_on(1).await;
    }
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n029_announced_bodies_take_no_memory() {
    let broker = BrokerProcess::start(&[]).await;
    let before = broker.memory_peak_bytes();
    let mut attackers = Vec::new();
    for _ in 0..20 {
        let mut attacker = Attacker::on_channel(broker.address).await;
        for number in 2..100 {
            attacker.open_channel(number).await;
            let mut out = BytesMut::new();
            write_method(number, publish("", "nobody"), &mut out);
            out.put_slice(&frame(2, number, &header(60, 0, 134_217_728, &[0, 0])));
            out.put_slice(&frame(3, number, b"a beginning"));
            attacker.send(&out).await;
        }
        attackers.push(attacker);
    }
    broker.serves().await;
    let grown = broker.memory_peak_bytes() - before;
    assert!(grown < 16 << 20, "{grown} bytes for what was announced");
}

#[tokio::test]
async fn n029_bodies_that_are_begun_and_not_ended_are_bounded() {
    let config = leveret::Config {
        max_message_size_bytes: 100_000,
        ..impatient()
    };
    let mut arena = Arena::with(config).await;
    let mut attacker = Attacker::open(arena.address).await;
    // Four of the largest messages and their headers may be under way, so the tenth is too much.
    let piece = vec![7; 99_999];
    for number in 1..=10 {
        attacker
            .shout(&method_frame(number, channel::Open::ID, &[0]))
            .await;
        let mut out = BytesMut::new();
        write_method(number, publish("", "nobody"), &mut out);
        out.put_slice(&frame(2, number, &header(60, 0, 100_000, &[0, 0])));
        out.put_slice(&frame(3, number, &piece));
        attacker.shout(&out).await;
    }
    let close = loop {
        let frame = attacker.next().await.unwrap();
        if frame.channel == 0 {
            break frame.method().unwrap().id();
        }
    };
    assert_eq!(close, leveret_protocol::method::connection::Close::ID);
    drop(attacker);
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n029_body_frames_of_no_length_bring_nothing_and_cost_nothing() {
    let broker = BrokerProcess::start(&[]).await;
    let mut attacker = Attacker::on_channel(broker.address).await;
    attacker.declare("slow", &Default::default()).await;
    let before = broker.memory_peak_bytes();
    let mut out = BytesMut::new();
    write_method(1, publish("", "slow"), &mut out);
    out.put_slice(&content_header(1));
    attacker.send(&out).await;
    let nothing = frame(3, 1, &[]).repeat(10_000);
    for _ in 0..50 {
        attacker.send(&nothing).await;
    }
    broker.serves().await;
    attacker.send(&frame(3, 1, b"x")).await;
    assert_eq!(attacker.get("slow").await.unwrap(), b"x");
    let grown = broker.memory_peak_bytes() - before;
    assert!(grown < 8 << 20, "{grown} bytes for 500,000 empty frames");
}

#[tokio::test]
async fn n030_flags_and_fields_that_do_not_fit() {
    let mut arena = Arena::new().await;
    let other_class = [
        publish_method().to_vec(),
        frame(2, 1, &header(61, 0, 0, &[0, 0])),
    ]
    .concat();
    closes(&mut arena, &other_class, 505, "got one for class 61").await;
    let weight = [
        publish_method().to_vec(),
        frame(2, 1, &header(60, 1, 0, &[0, 0])),
    ]
    .concat();
    closes(&mut arena, &weight, 505, "got non content header frame").await;
    let properties: [&[u8]; 9] = [
        &[],
        &[0],
        // Fields that are promised and missing, and the other way round.
        &[0xFF, 0xFC],
        &[0x80, 0],
        &[0, 0, 1],
        &[0x80, 0, 5, b'a'],
        &[0, 0x40, 0, 0],
        // A table that is none.
        &[0x20, 0, 0, 0, 0, 3, 1, b'a', b'?'],
        &[0x20, 0, 0xFF, 0xFF, 0xFF, 0xFF],
    ];
    for properties in properties {
        // In one piece, and with a body that is gathered.
        for body in [&b""[..], b"body", &[7; 9000]] {
            let mut attacker = Attacker::on_channel(arena.address).await;
            attacker.publish_raw("nobody", properties, body).await;
            attacker.closed(541, "INTERNAL_ERROR").await;
        }
    }
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n030_the_bits_that_promise_more_flags_promise_nothing() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.declare("flags", &Default::default()).await;
    for flags in [1, 2, 3_u8] {
        attacker.publish_raw("flags", &[0, flags], b"body").await;
        assert_eq!(attacker.get("flags").await.unwrap(), b"body");
    }
    drop(attacker);
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n007_nesting_after_login_is_bounded_as_well() {
    let mut arena = Arena::new().await;
    // Up to what a frame of 128 KiB holds.
    let deep = [
        nested_tables(17),
        nested_arrays(17),
        nested_tables(18_000),
        nested_arrays(26_000),
    ];
    for entries in deep {
        let table = crate::attacker::long(&entries);
        let mut attacker = Attacker::on_channel(arena.address).await;
        let properties = [&[0x20, 0][..], &table].concat();
        attacker.publish_raw("nobody", &properties, b"body").await;
        attacker.closed(541, "INTERNAL_ERROR").await;
        let declare = [&[0, 0, 1, b'q', 0][..], &table].concat();
        let id = leveret_protocol::method::queue::Declare::ID;
        closes(
            &mut arena,
            &method_frame(1, id, &declare),
            502,
            "nested deeper than 16 levels",
        )
        .await;
    }
    let mut polite = Attacker::on_channel(arena.address).await;
    polite.declare("q", &Default::default()).await;
    let entries = nested_tables(15);
    let properties = Properties {
        headers: Some(crate::attacker::parsed(&entries)),
        ..Default::default()
    };
    polite.publish("q", &properties, b"body").await;
    assert_eq!(polite.get("q").await.unwrap(), b"body");
    drop(polite);
    arena.ends_empty().await;
}
