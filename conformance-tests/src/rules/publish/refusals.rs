//! What is refused, and in which order it is checked.

use leveret_protocol::content::FRAME_BODY;
use leveret_protocol::method::basic::Publish;
use leveret_protocol::method::channel::{Open, OpenOk};
use leveret_protocol::method::exchange::Declare;
use leveret_protocol::{Properties, TableBuf, Value};

use super::super::access::{ACCESS_REFUSED, access_refused};
use super::{expect_refused, to};
use crate::failure::Failure;
use crate::raw::{Expected, RawConnection, transient_exchange};
use crate::trial::Trial;

variants! { LARGEST_BODY: "PUB-03" {
    MAX_128_MIB "128-MiB" "A body may have 128 MiB.";
    MAX_16_MIB "16-MiB" "A body may have 16 MiB.";
} }

variants! { PROPERTY_CHECKS: "PUB-04" {
    USER_ID_FIRST "user-id-first" "The user-id is checked before expiration and copies.";
    USER_ID_LAST "user-id-last" "The user-id is checked after expiration and copies.";
} }

rules! {
    "PUB-01" missing_exchange [raw] "A missing exchange is 404, and later publishes are ignored.";
    "PUB-02" immediate [raw] "immediate is not implemented, which ends the connection.";
    "PUB-02" immediate_after_content [raw] "… once the content is there.";
    "PUB-03" too_large [raw, slow(60), also(&["PUB-04"]), variants(&[LARGEST_BODY])]
        "A body beyond the limit is 406.";
    "PUB-03" limit_itself [raw, variants(&[LARGEST_BODY])]
        "A body of exactly the limit is not refused.";
    "PUB-04" order_of_checks [raw] "Exchange, internal, user-id, then the other properties.";
    "PUB-04" order_of_property_checks [raw, variants(&[PROPERTY_CHECKS])]
        "User-id, expiration, copies.";
    "PUB-21" permission_before_existence [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "The permission is checked first.";
}

fn no_exchange(name: &str, vhost: &str) -> String {
    format!("NOT_FOUND - no exchange '{name}' in vhost '{vhost}'")
}

async fn missing_exchange(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (queue, missing) = (t.name("q"), t.name("x"));
    raw.declare_queue(1, &queue).await?;
    raw.publish(1, &missing, "", "refused").await?;
    raw.publish(1, "", &queue, "ignored").await?;
    raw.publish(1, &missing, "", "ignored").await?;
    let text = no_exchange(&missing, t.vhost());
    raw.expect_channel_close(1, 404, text, Publish::ID).await?;
    raw.open_channel(1).await?;
    raw.expect_empty(1, &queue).await
}

const IMMEDIATE_REFUSED: &str = "NOT_IMPLEMENTED - immediate=true";

async fn immediate(t: &Trial) -> Result<(), Failure> {
    let (queue, missing) = (t.name("q"), t.name("x"));
    for exchange in ["", &missing] {
        let mut raw = t.raw().await?;
        raw.declare_queue(1, &queue).await?;
        let publish = Publish {
            immediate: true,
            ..to(exchange, &queue)
        };
        raw.publish_with(1, publish, Properties::default(), b"refused")
            .await?;
        raw.expect_connection_close(540, IMMEDIATE_REFUSED, Publish::ID)
            .await?;
    }
    Ok(())
}

async fn immediate_after_content(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.open_channel(2).await?;
    let publish = Publish {
        immediate: true,
        ..to("", "nowhere")
    };
    raw.send_method(1, publish).await?;
    raw.send_content_header(1, &Properties::default().to_bytes(), 2)
        .await?;
    raw.barrier(2).await?;
    raw.send_body(1, b"a").await?;
    raw.barrier(2).await?;
    raw.send_body(1, b"b").await?;
    raw.expect_connection_close(540, IMMEDIATE_REFUSED, Publish::ID)
        .await
}

/// The default of the largest body.
fn body_max(t: &Trial) -> u64 {
    let (variant, mebibytes) = match t.accepts(MAX_128_MIB) {
        true => (MAX_128_MIB, 128),
        false => (MAX_16_MIB, 16),
    };
    t.saw(variant);
    mebibytes << 20
}

/// The piece in which a large body is sent; it fits the frame size that every broker agrees to.
const PIECE_BYTES: usize = 100_000;

/// Announces a body and sends none of it.
async fn announce(
    raw: &mut RawConnection,
    publish: Publish<'_>,
    body_bytes: u64,
) -> Result<(), Failure> {
    raw.send_method(1, publish).await?;
    let properties = Properties::default().to_bytes();
    raw.send_content_header(1, &properties, body_bytes).await
}

async fn too_large(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (missing, max) = (t.name("x"), body_max(t));
    // The exchange is missing too, yet the size is checked first.
    announce(&mut raw, to(&missing, ""), max + 1).await?;
    let text = format!(
        "PRECONDITION_FAILED - message size {} is larger than configured max size {max}",
        max + 1
    );
    let refused = Expected::channel_close(1, 406, text, Publish::ID);
    // A broker may refuse what is announced, or collect the whole body first: a client that sends on
    // whatever comes cannot tell.
    raw.send_method(2, Open::default()).await?;
    let opened = Expected::method(2, OpenOk::ID);
    let answers = [refused, opened];
    if raw.expect_any_of(&answers).await? == 0 {
        raw.expect(2, OpenOk::ID).await?;
    } else {
        send_body(&mut raw, max + 1).await?;
        raw.expect_any_of(&answers[..1]).await?;
    }
    raw.open_channel(1).await
}

async fn send_body(raw: &mut RawConnection, body_bytes: u64) -> Result<(), Failure> {
    let piece = vec![0; PIECE_BYTES];
    let mut left = body_bytes;
    while left > 0 {
        let len = left.min(PIECE_BYTES as u64);
        let end = usize::try_from(len).unwrap_or(PIECE_BYTES);
        raw.send_frame(FRAME_BODY, 1, &piece[..end]).await?;
        left -= len;
    }
    Ok(())
}

async fn limit_itself(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.open_channel(2).await?;
    // The announcement shows it for brokers that judge by it, and costs nothing with others.
    announce(&mut raw, to("", "nowhere"), body_max(t)).await?;
    raw.send_body(1, b"a beginning").await?;
    raw.barrier(2).await
}

/// Properties that are wrong in all ways of which the order of checks is fixed.
fn all_wrong(headers: &TableBuf) -> Properties<'_> {
    Properties {
        user_id: Some("somebody".into()),
        expiration: Some("never".into()),
        headers: Some(headers.view()),
        ..Default::default()
    }
}

fn wrong_copies() -> TableBuf {
    TableBuf::new().with("CC", Value::LongStr(b"no array"))
}

async fn order_of_checks(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let headers = wrong_copies();
    let (missing, internal) = (t.name("missing"), t.name("internal"));
    let declare = Declare {
        internal: true,
        ..transient_exchange(&internal, "fanout")
    };
    raw.declare_exchange(1, declare).await?;
    let text = no_exchange(&missing, t.vhost());
    expect_refused(&mut raw, to(&missing, ""), all_wrong(&headers), 404, text).await?;
    let text = format!(
        "ACCESS_REFUSED - cannot publish to internal exchange '{internal}' in vhost '{}'",
        t.vhost()
    );
    expect_refused(&mut raw, to(&internal, ""), all_wrong(&headers), 403, text).await
}

async fn order_of_property_checks(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let headers = wrong_copies();
    let user = t.target().user();
    let mut properties = all_wrong(&headers);
    let user_id = format!(
        "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was \
         '{user}'"
    );
    let expiration = "PRECONDITION_FAILED - invalid expiration 'never': no_integer";
    raw.publish_with(1, to("", "nowhere"), properties, b"refused")
        .await?;
    let close = |text: &str| Expected::channel_close(1, 406, text, Publish::ID);
    let first = [
        (USER_ID_FIRST, close(&user_id)),
        (USER_ID_LAST, close(expiration)),
    ];
    let order = raw.expect_variant(t, &first).await?;
    raw.open_channel(1).await?;
    if order == USER_ID_FIRST {
        properties.user_id = None;
        expect_refused(&mut raw, to("", "nowhere"), properties, 406, expiration).await?;
    }
    properties.expiration = None;
    let copies = "PRECONDITION_FAILED - invalid message: \
                  {unacceptable_type_in_header,\"CC\",longstr}";
    expect_refused(&mut raw, to("", "nowhere"), properties, 406, copies).await
}

async fn permission_before_existence(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw_with(&t.login("reader")).await?;
    raw.open_channel(1).await?;
    let missing = t.name("x");
    let exchange = format!("exchange '{missing}' in vhost '{}'", t.vhost());
    let text = access_refused(t, "write", &exchange, "reader");
    let properties = Properties::default();
    expect_refused(&mut raw, to(&missing, ""), properties, 403, text).await?;
    let text = no_exchange(&missing, t.vhost());
    expect_refused(&mut t.raw().await?, to(&missing, ""), properties, 404, text).await
}
