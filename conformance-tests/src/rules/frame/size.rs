//! The agreed frame size: what it limits on the way in, and how messages are cut on the way out.

use leveret_protocol::method::basic;
use leveret_protocol::{MethodId, Properties, TableBuf, Value};

use super::{BODY, HEADER, METHOD, NO_PROPERTIES, publish_to};
use crate::failure::{Failure, expect_eq};
use crate::raw::{Expected, Handshake, RawConnection, Text};
use crate::trial::Trial;

variants! { OVERSIZED: "FRAME-25" {
    COLLECTED_FIRST "judged-with-its-body" "A size beyond 512 MiB is judged when the body is there.";
    REFUSED_ON_CHANNEL "406-by-header" "… is refused by the header, as any message that is too large.";
    REFUSED_ON_CONNECTION "501-by-header" "… is refused by the header, which ends the connection.";
} }

rules! {
    "FRAME-10" payload_as_large_as_the_limit [raw] "A payload may be as large as frame-max.";
    "FRAME-10" payload_over_the_limit [raw, slow(20)] "A larger one is refused by its header.";
    "FRAME-11" limit_of_every_type [raw] "The limit holds for methods and headers too.";
    "FRAME-12" headers_stay_whole [raw] "The server never splits a header, however large.";
    "FRAME-13" bodies_are_split [raw] "Bodies go out in frames of frame-max less eight.";
    "FRAME-25" oversized_message [raw, variants(&[OVERSIZED])]
        "A body of more than 512 MiB is never collected.";
}

/// A frame size that both 3.x and 4.x allow.
const FRAME_MAX: u32 = 8192;
/// The payload of a frame of this size.
const PIECE: usize = FRAME_MAX as usize - 8;

/// A connection with this frame size and channel 1.
async fn with_small_frames(t: &Trial) -> Result<RawConnection, Failure> {
    let handshake = Handshake {
        frame_max: Some(FRAME_MAX),
        ..t.handshake()
    };
    let mut raw = t.raw_with(&handshake).await?;
    raw.open_channel(1).await?;
    Ok(raw)
}

async fn payload_as_large_as_the_limit(t: &Trial) -> Result<(), Failure> {
    let mut raw = with_small_frames(t).await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    raw.send_method(1, publish_to(&queue)).await?;
    let body = [b'x'; FRAME_MAX as usize];
    raw.send_content_header(1, &NO_PROPERTIES, body.len() as u64)
        .await?;
    raw.send_body(1, &body).await?;
    let message = raw.take(1, &queue).await?.unwrap_or_default();
    expect_eq("body size", message.body.len(), body.len())
}

/// Type, channel 1 and a size of one more than the limit, without the payload.
fn announcement(kind: u8) -> Vec<u8> {
    let size = (FRAME_MAX + 1).to_be_bytes();
    [&[kind, 0, 1][..], &size].concat()
}

fn too_large(kind: u8) -> String {
    let (size, allowed) = (FRAME_MAX + 1, PIECE);
    format!("FRAME_ERROR - type {kind}, all octets = <<>>: {{frame_too_large,{size},{allowed}}}")
}

async fn payload_over_the_limit(t: &Trial) -> Result<(), Failure> {
    let mut raw = with_small_frames(t).await?;
    raw.send_bytes(&announcement(BODY)).await?;
    raw.expect_connection_close(501, too_large(BODY), MethodId::NONE)
        .await?;
    raw.expect_silent_close().await.map(drop)
}

async fn limit_of_every_type(t: &Trial) -> Result<(), Failure> {
    for kind in [METHOD, HEADER] {
        let mut raw = with_small_frames(t).await?;
        raw.send_bytes(&announcement(kind)).await?;
        raw.expect_connection_close(501, too_large(kind), MethodId::NONE)
            .await?;
    }
    Ok(())
}

async fn headers_stay_whole(t: &Trial) -> Result<(), Failure> {
    let mut publisher = t.raw().await?;
    let queue = t.name("q");
    publisher.declare_queue(1, &queue).await?;
    publisher.confirm_select(1).await?;
    let long = vec![b'h'; 2 * FRAME_MAX as usize];
    let headers = TableBuf::new().with("long", Value::LongStr(&long));
    let properties = Properties {
        headers: Some(headers.view()),
        ..Default::default()
    };
    publisher
        .publish_with(1, publish_to(&queue), properties, b"body")
        .await?;
    publisher.await_confirms(1, 1, 1).await?;

    let mut reader = with_small_frames(t).await?;
    let message = reader.take_text(1, &queue, "body").await?;
    let came = message.properties()?.headers;
    let came = came.and_then(|headers| headers.get("long"));
    expect_eq("header", came, Some(Value::LongStr(&long)))
}

async fn bodies_are_split(t: &Trial) -> Result<(), Failure> {
    let mut raw = with_small_frames(t).await?;
    let queue = t.name("q");
    raw.declare_queue(1, &queue).await?;
    let cases: [(usize, &[usize]); 5] = [
        (0, &[]),
        (1, &[1]),
        (PIECE, &[PIECE]),
        (PIECE + 1, &[PIECE, 1]),
        (2 * PIECE, &[PIECE, PIECE]),
    ];
    for (len, frames) in cases {
        let body = vec![b'x'; len];
        raw.publish_with(1, publish_to(&queue), Properties::default(), &body)
            .await?;
        let message = raw.take(1, &queue).await?.unwrap_or_default();
        expect_eq("body frames", message.body_frames, frames.to_vec())?;
    }
    Ok(())
}

async fn oversized_message(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.open_channel(2).await?;
    raw.send_method(1, basic::Publish::default()).await?;
    raw.send_content_header(1, &NO_PROPERTIES, (512 << 20) + 1)
        .await?;
    let flow = leveret_protocol::method::channel::Flow { active: true };
    raw.send_method(2, flow).await?;
    let flow_ok = leveret_protocol::method::channel::FlowOk::ID;
    let too_large = Text::starts("PRECONDITION_FAILED - message size ");
    let channel_close = Expected::channel_close(1, 406, too_large, basic::Publish::ID);
    let text = Text::contains("content body size");
    let alternatives = [
        (COLLECTED_FIRST, Expected::method(2, flow_ok)),
        (REFUSED_ON_CHANNEL, channel_close),
        (
            REFUSED_ON_CONNECTION,
            Expected::connection_close_for_any_method(501, text),
        ),
    ];
    raw.expect_variant(t, &alternatives).await.map(drop)
}
