//! The protocol header: which dialogues there are, and what all other bytes are answered.

use leveret_protocol::{MethodId, PROTOCOL_HEADER, Table, Value};

use crate::failure::{Failure, ensure, expect_eq, show_bytes};
use crate::raw::{RawConnection, Text};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("PROTO", &[RULES]);

variants! { OLD_DIALOGUE: "PROTO-03" {
    SPEAKS_0_8 "speaks-0-8" "AMQP 1-1-8-0 is answered with start 8-0.";
    REFUSES_0_8 "refuses-0-8" "… is refused as any unknown version.";
} }

variants! { OTHER_VERSIONS: "PROTO-04" {
    ALWAYS_0_9_1 "always-0-9-1" "Every unknown version is answered with the header of 0-9-1.";
    NEAREST "nearest" "… with that of 0-9-1 if it is a later 0-x, and with that of 1.0 otherwise.";
} }

variants! { OTHER_PROTOCOLS: "PROTO-05" {
    TELLS_0_9_1 "tells-0-9-1" "Another protocol is answered with the header of 0-9-1.";
    TELLS_1_0 "tells-1-0" "… with that of 1.0.";
} }

variants! { HEADER_OF_1_0: "PROTO-06" {
    REFUSES_1_0 "refuses-1-0" "AMQP 1.0 is refused with the header of 0-9-1.";
    SPEAKS_1_0 "speaks-1-0" "… is spoken with SASL, and its other headers are refused with that one.";
} }

rules! {
    "PROTO-01" header_of_0_9_1 [raw] "AMQP 0-0-9-1 is answered with start 0-9.";
    "PROTO-02" header_of_0_9 [raw] "AMQP 1-1-0-9 is answered likewise.";
    "PROTO-03" headers_of_0_8 [raw, variants(&[OLD_DIALOGUE])]
        "AMQP 1-1-8-0 speaks the 0-8 dialogue.";
    "PROTO-04" other_versions [raw, variants(&[OTHER_VERSIONS])]
        "Any other version is answered with the one that is known.";
    "PROTO-05" other_protocols [raw, variants(&[OTHER_PROTOCOLS])]
        "… and so is any other protocol.";
    "PROTO-06" header_of_1_0 [raw, variants(&[HEADER_OF_1_0])] "… and AMQP 1.0.";
    "PROTO-07" half_a_header [raw, slow(20)] "Half a header is not waited for for ever.";
    "PROTO-08" nothing_at_all [raw] "To connect and hang up does no harm.";
    "PROTO-09" half_a_handshake [raw, slow(20)] "… nor is any later step of the handshake.";
    "PROTO-10" second_header [raw] "A second header is a frame that is too large.";
}

async fn expect_start_0_9(t: &Trial, header: [u8; 8]) -> Result<(), Failure> {
    let mut raw = t.raw_socket().await?;
    raw.send_header(header).await?;
    let start = raw.expect_start().await?;
    let version = (start.version_major, start.version_minor);
    expect_eq("version", version, (0, 9))?;
    raw.finish_handshake(&t.handshake()).await
}

async fn header_of_0_9_1(t: &Trial) -> Result<(), Failure> {
    expect_start_0_9(t, PROTOCOL_HEADER).await
}

async fn header_of_0_9(t: &Trial) -> Result<(), Failure> {
    expect_start_0_9(t, *b"AMQP\x01\x01\x00\x09").await
}

async fn headers_of_0_8(t: &Trial) -> Result<(), Failure> {
    let headers = [*b"AMQP\x01\x01\x08\x00", *b"AMQP\x01\x01\x09\x01"];
    if !t.accepts(SPEAKS_0_8) {
        t.saw(REFUSES_0_8);
        return expect_all_refused(t, &headers.map(|header| (header, HEADER_1_0))).await;
    }
    for header in headers {
        let mut raw = t.raw_socket().await?;
        raw.send_header(header).await?;
        let start = raw.expect_start().await?;
        let version = (start.version_major, start.version_minor);
        expect_eq("version", version, (8, 0))?;
        let capabilities = start.properties.view().get("capabilities");
        expect_eq(
            "capabilities",
            capabilities,
            Some(Value::Table(Table::default())),
        )?;
    }
    t.saw(SPEAKS_0_8);
    Ok(())
}

/// What a broker answers who would rather speak AMQP 1.0 with SASL.
const HEADER_1_0: [u8; 8] = *b"AMQP\x03\x01\x00\x00";

/// Sends headers on connections of their own: each is answered with the one beside it, and the end.
async fn expect_all_refused(t: &Trial, headers: &[([u8; 8], [u8; 8])]) -> Result<(), Failure> {
    for (header, answer) in headers {
        let mut raw = t.raw_socket().await?;
        raw.send_header(*header).await?;
        let refused = expect_refused(&mut raw, answer).await;
        refused.map_err(|failure| failure.at(show_bytes(header)))?;
    }
    Ok(())
}

async fn expect_refused(raw: &mut RawConnection, answer: &[u8; 8]) -> Result<(), Failure> {
    let came = raw.read_bytes(8).await?;
    ensure(
        came[..] == answer[..],
        format!(
            "expected {}, but {} came",
            show_bytes(answer),
            show_bytes(&came)
        ),
    )?;
    raw.expect_silent_close().await.map(drop)
}

/// Headers, and what a broker answers who knows 1.0 as well.
const OTHER_HEADERS: [([u8; 8], [u8; 8]); 5] = [
    (*b"AMQP\x00\x00\x09\x02", PROTOCOL_HEADER),
    (*b"AMQP\x00\x00\x0a\x00", PROTOCOL_HEADER),
    (*b"AMQP\x00\x00\x08\x00", HEADER_1_0),
    (*b"AMQP\x01\x01\x09\x00", HEADER_1_0),
    (*b"AMQP\xff\xff\xff\xff", HEADER_1_0),
];

async fn other_versions(t: &Trial) -> Result<(), Failure> {
    if !t.accepts(ALWAYS_0_9_1) {
        t.saw(NEAREST);
        return expect_all_refused(t, &OTHER_HEADERS).await;
    }
    t.saw(ALWAYS_0_9_1);
    let headers = OTHER_HEADERS.map(|(header, _)| (header, PROTOCOL_HEADER));
    expect_all_refused(t, &headers).await
}

async fn other_protocols(t: &Trial) -> Result<(), Failure> {
    let (variant, answer) = match t.accepts(TELLS_0_9_1) {
        true => (TELLS_0_9_1, PROTOCOL_HEADER),
        false => (TELLS_1_0, HEADER_1_0),
    };
    t.saw(variant);
    let client_hello = *b"\x16\x03\x01\x00\xf1\x01\x00\x00";
    let headers = [*b"GET / HT", client_hello, *b"amqp\0\0\x09\x01", [0; 8]];
    expect_all_refused(t, &headers.map(|header| (header, answer))).await
}

async fn header_of_1_0(t: &Trial) -> Result<(), Failure> {
    let without_sasl = [*b"AMQP\x00\x01\x00\x00", *b"AMQP\x02\x01\x00\x00"];
    if t.accepts(REFUSES_1_0) {
        t.saw(REFUSES_1_0);
        let headers = [without_sasl[0], without_sasl[1], HEADER_1_0];
        return expect_all_refused(t, &headers.map(|header| (header, PROTOCOL_HEADER))).await;
    }
    expect_all_refused(t, &without_sasl.map(|header| (header, HEADER_1_0))).await?;
    let mut raw = t.raw_socket().await?;
    raw.send_header(HEADER_1_0).await?;
    expect_eq("header", raw.read_bytes(8).await?, HEADER_1_0.to_vec())?;
    t.saw(SPEAKS_1_0);
    Ok(())
}

async fn half_a_header(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw_socket().await?;
    raw.send_bytes(b"AMQP").await?;
    raw.expect_silent_close().await.map(drop)
}

async fn nothing_at_all(t: &Trial) -> Result<(), Failure> {
    drop(t.raw_socket().await?);
    t.raw().await.map(drop)
}

async fn half_a_handshake(t: &Trial) -> Result<(), Failure> {
    let handshake = t.handshake();
    let mut before_start_ok = t.raw_socket().await?;
    before_start_ok.begin().await?;

    let mut before_tune_ok = t.raw_socket().await?;
    before_tune_ok.begin().await?;
    before_tune_ok.log_in(&handshake).await?;

    let mut before_open = t.raw_socket().await?;
    before_open.begin().await?;
    let offered = before_open.log_in(&handshake).await?;
    before_open.tune(&handshake, offered).await?;

    RawConnection::expect_all_silent(vec![
        ("before start-ok".to_owned(), before_start_ok),
        ("before tune-ok".to_owned(), before_tune_ok),
        ("before open".to_owned(), before_open),
    ])
    .await
}

async fn second_header(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_header(PROTOCOL_HEADER).await?;
    // The letters "A" and "P" and the version are taken for the type and size of a frame.
    let size = u32::from_be_bytes([b'P', 0, 0, 9]);
    let text = format!("FRAME_ERROR - type 65, all octets = <<>>: {{frame_too_large,{size},");
    raw.expect_connection_close(501, Text::starts(text), MethodId::NONE)
        .await
}
