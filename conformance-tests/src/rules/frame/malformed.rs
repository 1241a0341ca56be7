//! Frames and methods that are not what they claim to be.

use leveret_protocol::method::{basic, channel, connection, queue};
use leveret_protocol::{MethodId, Properties, ShortStr};

use super::{HEADER, METHOD};
use crate::failure::{Failure, ensure, expect_eq};
use crate::profile::Variant;
use crate::raw::{Expected, RawConnection, Text, durable_queue, transient_exchange};
use crate::trial::Trial;

variants! { UNKNOWN_METHODS: "FRAME-04" {
    UNKNOWN_IN_SILENCE "silent" "The connection ends without a close.";
    UNKNOWN_IS_TOLD "told" "The connection is closed with 503 or 501.";
} }

variants! {
    /// Also those of TABLE-04.
    pub(in crate::rules) UNDECODABLE_TABLES: "FRAME-08" {
        TABLE_IN_SILENCE "silent" "The connection ends without a close.";
        TABLE_IS_TOLD "told" "The connection is closed with 502 or 501.";
    }
}

rules! {
    "FRAME-01" wrong_end_octet [raw] "A wrong end octet is a frame error.";
    "FRAME-01" wrong_end_octet_in_handshake [raw, slow(20)] "… and ends a handshake in silence.";
    "FRAME-02" unknown_type [raw] "A frame type that does not exist is a frame error.";
    "FRAME-03" too_short_for_its_type [raw] "So are a method and a header that are too short.";
    "FRAME-04" unknown_methods [raw, variants(&[UNKNOWN_METHODS])]
        "An unknown class or method ends the connection.";
    "FRAME-05" wrong_length_of_a_method [raw] "So do arguments that are too short or too long.";
    "FRAME-06" names_are_utf_8 [raw] "Short strings of methods without content are UTF-8.";
    "FRAME-06" names_on_channel_0_are_utf_8 [raw] "… on channel 0 too, which names the method.";
    "FRAME-06" open_is_utf_8 [raw] "… before the connection runs and the channel is open, too.";
    "FRAME-07" keys_are_bytes [raw] "Routing keys and properties of messages are any bytes.";
    "FRAME-07" exchange_names_are_bytes [raw] "… and so is the exchange of a publish.";
    "FRAME-08" undecodable_table [raw, variants(&[UNDECODABLE_TABLES])]
        "A table that cannot be read ends the connection.";
    "FRAME-09" undecodable_properties [raw] "Properties that cannot be read do so too.";
}

/// A frame with any end octet.
fn frame_with_end(kind: u8, channel: u16, payload: &[u8], end: u8) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend_from_slice(&channel.to_be_bytes());
    frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    frame.extend_from_slice(payload);
    frame.push(end);
    frame
}

async fn wrong_end_octet(t: &Trial) -> Result<(), Failure> {
    for (kind, payload, shown) in [
        (1, &[0, 20, 0, 20, 1][..], "<<0,20,0,20,1>>"),
        (8, &[], "<<>>"),
    ] {
        let mut raw = t.raw().await?;
        let bytes = frame_with_end(kind, 1, payload, 0xCD);
        raw.send_bytes(&bytes).await?;
        let text = format!(
            "FRAME_ERROR - type {kind}, all octets = {shown}: {{invalid_frame_end_marker,205}}"
        );
        raw.expect_connection_close(501, text, MethodId::NONE)
            .await?;
    }
    Ok(())
}

async fn wrong_end_octet_in_handshake(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw_socket().await?;
    raw.begin().await?;
    let bytes = frame_with_end(METHOD, 0, &[0, 10, 0, 11], 0xCD);
    raw.send_bytes(&bytes).await?;
    raw.expect_silent_close().await.map(drop)
}

/// Sends the frame on a connection of its own and expects this close, which blames no method.
async fn expect_frame_error(
    t: &Trial,
    (kind, channel, payload): (u8, u16, &[u8]),
    text: impl Into<Text>,
) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_frame(kind, channel, payload).await?;
    raw.expect_connection_close(501, text, MethodId::NONE).await
}

async fn unknown_type(t: &Trial) -> Result<(), Failure> {
    let text = "FRAME_ERROR - type 4, all octets = <<9,200,0>>: unknown_frame";
    expect_frame_error(t, (4, 1, &[9, 200, 0]), text).await?;
    let text = "FRAME_ERROR - type 9, all octets = <<>>: unknown_frame";
    expect_frame_error(t, (9, 0, &[]), text).await?;
    let shown = "<<1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1>>";
    let text = format!("FRAME_ERROR - type 0, first 16 octets = {shown}: unknown_frame");
    expect_frame_error(t, (0, 1, &[1; 17]), text).await
}

async fn too_short_for_its_type(t: &Trial) -> Result<(), Failure> {
    let text = "FRAME_ERROR - type 1, all octets = <<0,20,0>>: unknown_frame";
    expect_frame_error(t, (METHOD, 1, &[0, 20, 0]), text).await?;
    let text = "FRAME_ERROR - type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0>>: unknown_frame";
    let short = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    expect_frame_error(t, (HEADER, 1, &short), text).await
}

/// The two ways to end a connection: silence, or a close with one of these codes.
pub(in crate::rules) fn silence_or(
    silent: Variant,
    told: Variant,
    codes: [u16; 2],
) -> [(Variant, Expected); 3] {
    let close = |code| Expected::connection_close_for_any_method(code, Text::any());
    let [first, second] = codes.map(|code| (told, close(code)));
    [first, second, (silent, Expected::SilentClose)]
}

async fn unknown_methods(t: &Trial) -> Result<(), Failure> {
    let unknown_class = [0, 99, 0, 10];
    let unknown_method = [0, 50, 0, 99];
    for (channel, payload) in [
        (0, unknown_class),
        (0, unknown_method),
        (1, unknown_class),
        (1, unknown_method),
        (7, unknown_method),
    ] {
        let mut raw = t.raw().await?;
        raw.send_frame(METHOD, channel, &payload).await?;
        let ends = silence_or(UNKNOWN_IN_SILENCE, UNKNOWN_IS_TOLD, [503, 501]);
        raw.expect_variant(t, &ends).await?;
    }
    let mut raw = t.raw_socket().await?;
    raw.begin().await?;
    raw.send_frame(METHOD, 0, &unknown_method).await?;
    raw.expect_silent_close().await.map(drop)
}

async fn wrong_length_of_a_method(t: &Trial) -> Result<(), Failure> {
    let flow = MethodId::new(20, 20);
    let ack = MethodId::new(60, 80);
    let payloads: [(&[u8], MethodId, &str); 3] = [
        (&[0, 20, 0, 20], flow, "<<>>"),
        (&[0, 20, 0, 20, 1, 2], flow, "<<1,2>>"),
        (&[0, 60, 0, 80, 0, 0, 0, 0], ack, "<<0,0,0,0>>"),
    ];
    for (payload, id, shown) in payloads {
        let mut raw = t.raw().await?;
        raw.send_frame(METHOD, 1, payload).await?;
        let text = format!("FRAME_ERROR - cannot decode {shown}");
        raw.expect_connection_close(501, text, id).await?;
    }
    Ok(())
}

/// Not UTF-8.
const BYTES: [u8; 3] = [b'k', 0xFF, 0xFE];
const NOT_UTF_8: &str = "FRAME_ERROR - Malformed UTF-8 in shortstr";

async fn names_are_utf_8(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let declare = queue::Declare {
        queue: ShortStr(&BYTES),
        ..durable_queue("")
    };
    raw.send_method(1, declare).await?;
    raw.expect_connection_close(501, NOT_UTF_8, MethodId::NONE)
        .await
}

async fn names_on_channel_0_are_utf_8(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let close = connection::Close {
        reply_text: ShortStr(&BYTES),
        ..Default::default()
    };
    raw.send_method(0, close).await?;
    raw.expect_connection_close(501, NOT_UTF_8, connection::Close::ID)
        .await
}

async fn open_is_utf_8(t: &Trial) -> Result<(), Failure> {
    let handshake = t.handshake();
    let mut raw = t.raw_socket().await?;
    raw.begin().await?;
    let offered = raw.log_in(&handshake).await?;
    raw.tune(&handshake, offered).await?;
    let open = connection::Open {
        virtual_host: ShortStr(&BYTES),
        ..Default::default()
    };
    raw.send_method(0, open).await?;
    raw.expect_connection_close(501, NOT_UTF_8, connection::Open::ID)
        .await?;

    let mut raw = t.raw().await?;
    let open = channel::Open {
        out_of_band: ShortStr(&BYTES),
    };
    raw.send_method(2, open).await?;
    raw.expect_connection_close(501, NOT_UTF_8, MethodId::NONE)
        .await
}

async fn keys_are_bytes(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (exchange, queue) = (t.name("x"), t.name("q"));
    raw.declare_exchange(1, transient_exchange(&exchange, "fanout"))
        .await?;
    raw.declare_queue(1, &queue).await?;
    raw.bind(1, &queue, &exchange, "").await?;
    let publish = basic::Publish {
        exchange: exchange.as_str().into(),
        routing_key: ShortStr(&BYTES),
        ..Default::default()
    };
    let properties = Properties {
        content_type: Some(ShortStr(&BYTES)),
        ..Default::default()
    };
    raw.publish_with(1, publish, properties, b"body").await?;
    let get = basic::Get {
        queue: queue.as_str().into(),
        no_ack: true,
        ..Default::default()
    };
    let got = raw.call(1, get, basic::GetOk::ID).await?;
    let has_key = got
        .payload()
        .windows(BYTES.len())
        .any(|part| part == BYTES.as_slice());
    ensure(has_key, format!("the key is another: {got}"))?;
    let message = raw.read_content(1, &got).await?;
    let content_type = message.properties()?.content_type;
    expect_eq("content type", content_type, Some(ShortStr(&BYTES)))
}

async fn exchange_names_are_bytes(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let publish = basic::Publish {
        exchange: ShortStr(&BYTES),
        ..Default::default()
    };
    raw.publish_with(1, publish, Properties::default(), b"body")
        .await?;
    let text = Text::starts("NOT_FOUND - no exchange 'k");
    raw.expect_channel_close(1, 404, text, basic::Publish::ID)
        .await
}

/// A queue.declare with these bytes in place of its table.
fn declare_with_table(table: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 50, 0, 10, 0, 0, 1, b'q', 0];
    payload.extend_from_slice(&(table.len() as u32).to_be_bytes());
    payload.extend_from_slice(table);
    payload
}

async fn undecodable_table(t: &Trial) -> Result<(), Failure> {
    let unknown_tag = [1, b'k', b'?', 0];
    let too_long_value = [1, b'k', b'S', 0, 0, 0, 9, b'v'];
    for table in [&unknown_tag[..], &too_long_value] {
        let mut raw = t.raw().await?;
        raw.send_frame(METHOD, 1, &declare_with_table(table))
            .await?;
        let ends = silence_or(TABLE_IN_SILENCE, TABLE_IS_TOLD, [502, 501]);
        raw.expect_variant(t, &ends).await?;
    }
    Ok(())
}

async fn undecodable_properties(t: &Trial) -> Result<(), Failure> {
    let missing_field = [0x80, 0];
    let trailing_byte = [0, 0, 7];
    for properties in [&missing_field[..], &trailing_byte] {
        let mut raw = t.raw().await?;
        publish_properties(&mut raw, properties).await?;
        raw.expect_connection_close(541, "INTERNAL_ERROR", MethodId::NONE)
            .await?;
    }
    Ok(())
}

async fn publish_properties(raw: &mut RawConnection, properties: &[u8]) -> Result<(), Failure> {
    raw.send_method(1, basic::Publish::default()).await?;
    raw.send_content(1, properties, b"body").await
}
