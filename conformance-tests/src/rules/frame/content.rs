//! Method, header and body: how the frames of a message follow each other.

use leveret_protocol::method::{basic, channel, connection, queue};
use leveret_protocol::{Method, MethodId};

use super::{BODY, HEADER, NO_PROPERTIES, header_payload, publish_to};
use crate::failure::{Failure, expect_eq};
use crate::raw::{Expected, Handshake, RawConnection, durable_queue};
use crate::trial::Trial;

variants! { BODIES_TOO_LONG: "FRAME-19" {
    AT_THE_NEXT_FRAME "at-the-next-frame" "It is noticed when a frame follows that is no body: 505.";
    AT_THE_BODY "at-the-body" "It is noticed at once: 501.";
} }

rules! {
    "FRAME-14" header_must_follow [raw] "A publish is followed by its header.";
    "FRAME-15" header_of_another_class [raw] "The header is of the same class.";
    "FRAME-16" header_with_weight [raw] "Its weight is zero.";
    "FRAME-17" content_without_method [raw] "Headers and bodies follow a method.";
    "FRAME-18" body_must_follow [raw] "A body is sent whole before anything else.";
    "FRAME-19" body_too_long [raw, variants(&[BODIES_TOO_LONG])]
        "A body that is too long is never delivered.";
    "FRAME-20" empty_body_frames [raw] "Empty body frames are skipped.";
    "FRAME-21" no_body [raw] "Without a body the message is complete at its header.";
    "FRAME-22" channels_interleave [raw] "Channels may interleave within messages.";
    "FRAME-23" content_on_channel_0 [raw] "There is no content on channel 0.";
    "FRAME-24" close_within_content [raw] "The connection can be closed in the middle of one.";
    "FRAME-26" continuation_flags [raw] "The two lowest property flags mean nothing.";
    "FRAME-27" reserved_property [raw] "The reserved property is passed on.";
    "FRAME-28" any_frame_takes_a_place [raw] "Any frame on a new channel number takes a place.";
}

const HEADER_EXPECTED: &str =
    "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead";
const BODY_EXPECTED: &str =
    "UNEXPECTED_FRAME - expected content body, got non content body frame instead";
const METHOD_EXPECTED: &str =
    "UNEXPECTED_FRAME - expected method frame, got non method frame instead";

/// A connection that has sent a publish on channel 1 and owes its header.
async fn owing_header(t: &Trial) -> Result<RawConnection, Failure> {
    let mut raw = t.raw().await?;
    raw.send_method(1, basic::Publish::default()).await?;
    Ok(raw)
}

/// One that has sent half of a body of eight bytes.
async fn owing_body(t: &Trial) -> Result<RawConnection, Failure> {
    let mut raw = owing_header(t).await?;
    raw.send_content_header(1, &NO_PROPERTIES, 8).await?;
    raw.send_body(1, b"half").await?;
    Ok(raw)
}

async fn expect_unexpected(
    raw: &mut RawConnection,
    text: &str,
    culprit: MethodId,
) -> Result<(), Failure> {
    raw.expect_connection_close(505, text, culprit).await
}

async fn header_must_follow(t: &Trial) -> Result<(), Failure> {
    let methods: [Method<'_>; 3] = [
        channel::Flow { active: true }.into(),
        basic::Publish::default().into(),
        channel::Close::default().into(),
    ];
    for method in methods {
        let mut raw = owing_header(t).await?;
        raw.send_method(1, method).await?;
        expect_unexpected(&mut raw, HEADER_EXPECTED, basic::Publish::ID).await?;
    }
    let mut raw = owing_header(t).await?;
    raw.send_body(1, b"body").await?;
    expect_unexpected(&mut raw, HEADER_EXPECTED, basic::Publish::ID).await
}

async fn header_of_another_class(t: &Trial) -> Result<(), Failure> {
    let mut raw = owing_header(t).await?;
    let header = header_payload(50, 0, 4, &NO_PROPERTIES);
    raw.send_frame(HEADER, 1, &header).await?;
    let text =
        "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead";
    expect_unexpected(&mut raw, text, basic::Publish::ID).await
}

async fn header_with_weight(t: &Trial) -> Result<(), Failure> {
    let mut raw = owing_header(t).await?;
    let header = header_payload(60, 1, 4, &NO_PROPERTIES);
    raw.send_frame(HEADER, 1, &header).await?;
    expect_unexpected(&mut raw, HEADER_EXPECTED, basic::Publish::ID).await
}

async fn content_without_method(t: &Trial) -> Result<(), Failure> {
    let header = header_payload(60, 0, 4, &NO_PROPERTIES);
    for (kind, payload) in [(HEADER, &header[..]), (BODY, b"body")] {
        let mut raw = t.raw().await?;
        raw.send_frame(kind, 1, payload).await?;
        expect_unexpected(&mut raw, METHOD_EXPECTED, MethodId::NONE).await?;
    }
    Ok(())
}

async fn body_must_follow(t: &Trial) -> Result<(), Failure> {
    let mut raw = owing_body(t).await?;
    raw.send_method(1, channel::Flow { active: true }).await?;
    expect_unexpected(&mut raw, BODY_EXPECTED, basic::Publish::ID).await?;

    let mut raw = owing_body(t).await?;
    raw.send_content_header(1, &NO_PROPERTIES, 8).await?;
    expect_unexpected(&mut raw, BODY_EXPECTED, basic::Publish::ID).await
}

async fn body_too_long(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.send_method(1, publish_to(&queue)).await?;
    raw.send_content_header(1, &NO_PROPERTIES, 4).await?;
    raw.send_body(1, b"longer").await?;
    raw.send_method(1, channel::Flow { active: true }).await?;
    let too_long = "FRAME_ERROR - content body frame exceeds remaining content size";
    let close = |code, text| Expected::connection_close(code, text, basic::Publish::ID);
    let alternatives = [
        (AT_THE_BODY, close(501, too_long)),
        (AT_THE_NEXT_FRAME, close(505, BODY_EXPECTED)),
    ];
    raw.expect_variant(t, &alternatives).await?;
    t.raw().await?.expect_empty(1, &queue).await
}

async fn empty_body_frames(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.send_method(1, publish_to(&queue)).await?;
    raw.send_content_header(1, &NO_PROPERTIES, 4).await?;
    for piece in [&b""[..], b"bo", b"", b"", b"dy"] {
        raw.send_body(1, piece).await?;
    }
    raw.take_text(1, &queue, "body").await.map(drop)
}

async fn no_body(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.send_method(1, publish_to(&queue)).await?;
    raw.send_content_header(1, &NO_PROPERTIES, 0).await?;
    raw.take_text(1, &queue, "").await?;
    raw.send_body(1, b"").await?;
    expect_unexpected(&mut raw, METHOD_EXPECTED, MethodId::NONE).await
}

async fn channels_interleave(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.open_channel(2).await?;
    let (one, other) = (t.name("one"), t.name("other"));
    raw.declare_queue(1, &one).await?;
    raw.declare_queue(1, &other).await?;
    raw.send_method(1, publish_to(&one)).await?;
    raw.send_method(2, publish_to(&other)).await?;
    raw.send_content_header(1, &NO_PROPERTIES, 6).await?;
    raw.send_content_header(2, &NO_PROPERTIES, 6).await?;
    raw.send_body(1, b"one").await?;
    raw.open_channel(3).await?;
    raw.send_body(2, b"two").await?;
    raw.barrier(3).await?;
    raw.send_body(1, b"one").await?;
    raw.send_body(2, b"two").await?;
    raw.take_text(1, &one, "oneone").await?;
    raw.take_text(2, &other, "twotwo").await.map(drop)
}

async fn content_on_channel_0(t: &Trial) -> Result<(), Failure> {
    let header = header_payload(60, 0, 0, &[]);
    let shown = "<<0,60,0,0,0,0,0,0,0,0,0,0>>";
    for (kind, payload, shown) in [(HEADER, &header[..], shown), (BODY, &[1], "<<1>>")] {
        let mut raw = t.raw().await?;
        raw.send_frame(kind, 0, payload).await?;
        let text = format!("UNEXPECTED_FRAME - type {kind}, all octets = {shown}");
        expect_unexpected(&mut raw, &text, MethodId::NONE).await?;
    }
    Ok(())
}

async fn close_within_content(t: &Trial) -> Result<(), Failure> {
    let mut raw = owing_header(t).await?;
    let close = connection::Close::default();
    raw.call(0, close, connection::CloseOk::ID).await?;
    let mut raw = owing_body(t).await?;
    raw.call(0, close, connection::CloseOk::ID).await.map(drop)
}

/// Publishes with these property bytes and returns those that come out.
async fn pass_properties(t: &Trial, properties: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.send_method(1, publish_to(&queue)).await?;
    raw.send_content(1, properties, b"body").await?;
    let message = raw.take_text(1, &queue, "body").await?;
    Ok(message.property_bytes.to_vec())
}

async fn continuation_flags(t: &Trial) -> Result<(), Failure> {
    for flags in [1, 2, 3] {
        pass_properties(t, &[0, flags]).await?;
        let with_content_type = [0x80, flags, 4, b't', b'e', b'x', b't'];
        let came = pass_properties(t, &with_content_type).await?;
        expect_eq("content type", came.get(2..), with_content_type.get(2..))?;
    }
    Ok(())
}

async fn reserved_property(t: &Trial) -> Result<(), Failure> {
    let cluster_id = [0, 0b100, 4, b'h', b'e', b'r', b'e'];
    let came = pass_properties(t, &cluster_id).await?;
    expect_eq("properties", came, cluster_id.to_vec())
}

async fn any_frame_takes_a_place(t: &Trial) -> Result<(), Failure> {
    let handshake = Handshake {
        channel_max: Some(1),
        ..t.handshake()
    };
    let mut raw = t.raw_with(&handshake).await?;
    raw.open_channel(1).await?;
    let passive = queue::Declare {
        passive: true,
        ..durable_queue("any")
    };
    raw.send_method(2, passive).await?;
    let text = "NOT_ALLOWED - number of channels opened (1) has reached the negotiated \
                channel_max (1)";
    raw.expect_connection_close(530, text, MethodId::NONE).await
}
