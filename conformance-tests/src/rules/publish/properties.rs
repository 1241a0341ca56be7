//! Properties: what is checked, and that the rest passes through.

use leveret_protocol::method::basic::Publish;
use leveret_protocol::method::channel::{Flow, FlowOk};
use leveret_protocol::{ArrayBuf, Properties, ShortStr, TableBuf, Value};

use super::{expect_refused, to};
use crate::failure::{Failure, expect_eq};
use crate::raw::{Expected, RawConnection};
use crate::trial::Trial;

variants! { UNKNOWN_MODES: "PUB-11" {
    MODE_IS_REFUSED "refused" "A delivery-mode other than 1 and 2 is refused.";
    MODE_IS_TAKEN "taken" "A delivery-mode other than 1 and 2 passes through.";
} }

rules! {
    "PUB-05" expirations [raw] "An expiration is a decimal number of milliseconds.";
    "PUB-05" no_expirations [raw] "Anything else is refused, and told why.";
    "PUB-06" own_user_id [raw] "The user's own user-id passes through.";
    "PUB-06" foreign_user_id [raw] "Any other is refused, the empty one too.";
    "PUB-07" impersonated_user_id [raw, fixtures] "An impersonator may set any user-id.";
    "PUB-11" delivery_modes [raw, variants(&[UNKNOWN_MODES])]
        "The delivery mode is 1 or 2; others as the version has it.";
    "PUB-12" absent_delivery_mode [raw] "An absent delivery mode stays absent.";
    "PUB-13" priorities [raw] "Any priority passes through a queue that has none, in order.";
    "PUB-14" all_properties [raw] "All properties pass through.";
    "PUB-14" no_properties [raw] "None are added.";
}

/// Publishes with these properties to a new queue and returns those that come back, as bytes.
async fn through_a_queue(
    t: &Trial,
    raw: &mut RawConnection,
    properties: Properties<'_>,
) -> Result<Vec<u8>, Failure> {
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    raw.publish_with(1, to("", &name), properties, b"body")
        .await?;
    let message = raw.take_text(1, &name, "body").await?;
    Ok(message.property_bytes.to_vec())
}

async fn expect_through(
    t: &Trial,
    raw: &mut RawConnection,
    properties: Properties<'_>,
) -> Result<(), Failure> {
    let came = through_a_queue(t, raw, properties).await?;
    expect_eq("properties", came, properties.to_bytes())
}

fn expiring(text: &str) -> Properties<'_> {
    Properties {
        expiration: Some(text.into()),
        ..Default::default()
    }
}

async fn expirations(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    for text in ["60000", "0060000", "+60000", "315360000000"] {
        expect_through(t, &mut raw, expiring(text)).await?;
    }
    // This one may be gone before it can be fetched.
    raw.publish_with(1, to("", &t.name("q")), expiring("0"), b"body")
        .await?;
    raw.barrier(1).await
}

async fn no_expirations(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let refused = [
        ("", "no_integer"),
        ("abc", "no_integer"),
        (" 5", "no_integer"),
        ("1.5", "{leftover_string,\".5\"}"),
        ("100 ", "{leftover_string,\" \"}"),
        ("1e3", "{leftover_string,\"e3\"}"),
        ("-1", "{value_negative,-1}"),
        ("315360000001", "{value_too_large,315360000001}"),
    ];
    for (text, why) in refused {
        let text_sent = format!("PRECONDITION_FAILED - invalid expiration '{text}': {why}");
        let publish = to("", "nowhere");
        let refused = expect_refused(&mut raw, publish, expiring(text), 406, text_sent).await;
        refused.map_err(|failure| failure.at(format!("{text:?}")))?;
    }
    Ok(())
}

fn claiming(user: &str) -> Properties<'_> {
    Properties {
        user_id: Some(user.into()),
        ..Default::default()
    }
}

async fn own_user_id(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    expect_through(t, &mut raw, claiming(t.target().user())).await
}

async fn foreign_user_id(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let user = t.target().user();
    for claimed in ["somebody", ""] {
        let text = format!(
            "PRECONDITION_FAILED - user_id property set to '{claimed}' but authenticated user was \
             '{user}'"
        );
        expect_refused(&mut raw, to("", "nowhere"), claiming(claimed), 406, text).await?;
    }
    Ok(())
}

async fn impersonated_user_id(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw_with(&t.login("impersonator")).await?;
    raw.open_channel(1).await?;
    for claimed in ["somebody", "", "impersonator"] {
        expect_through(t, &mut raw, claiming(claimed)).await?;
    }
    Ok(())
}

fn with_delivery_mode(mode: u8) -> Properties<'static> {
    Properties {
        delivery_mode: Some(mode),
        ..Default::default()
    }
}

async fn delivery_modes(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    for mode in [1, 2] {
        expect_through(t, &mut raw, with_delivery_mode(mode)).await?;
    }
    for mode in [0, 3, 255] {
        if may_be_any_mode(t, &mut raw, mode).await? {
            expect_through(t, &mut raw, with_delivery_mode(mode)).await?;
        }
    }
    Ok(())
}

/// Whether the broker takes an unknown delivery mode. A refusal must be the right one.
async fn may_be_any_mode(t: &Trial, raw: &mut RawConnection, mode: u8) -> Result<bool, Failure> {
    raw.publish_with(1, to("", "nowhere"), with_delivery_mode(mode), b"body")
        .await?;
    raw.send_method(1, Flow { active: true }).await?;
    let text = format!("PRECONDITION_FAILED - invalid message: {{delivery_mode_unknown,{mode}}}");
    let refused = Expected::channel_close(1, 406, text, Publish::ID);
    let taken = Expected::method(1, FlowOk::ID);
    let answers = [(MODE_IS_REFUSED, refused), (MODE_IS_TAKEN, taken)];
    match raw.expect_variant(t, &answers).await? {
        MODE_IS_TAKEN => Ok(true),
        _ => raw.open_channel(1).await.map(|()| false),
    }
}

async fn absent_delivery_mode(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let properties = Properties {
        message_id: Some("m".into()),
        ..Default::default()
    };
    expect_through(t, &mut raw, properties).await
}

async fn priorities(t: &Trial) -> Result<(), Failure> {
    const PRIORITIES: [u8; 5] = [0, 1, 9, 255, 10];
    let mut raw = t.raw().await?;
    let name = t.name("q");
    raw.declare_queue(1, &name).await?;
    for priority in PRIORITIES {
        let properties = Properties {
            priority: Some(priority),
            ..Default::default()
        };
        raw.publish_with(1, to("", &name), properties, b"").await?;
    }
    for priority in PRIORITIES {
        let message = raw.take_text(1, &name, "").await?;
        let came = message.properties()?.priority;
        expect_eq("priority", came, Some(priority))?;
    }
    Ok(())
}

async fn all_properties(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let items: ArrayBuf = [Value::I32(1), Value::LongStr(b"two"), Value::Void]
        .into_iter()
        .collect();
    let nested = TableBuf::new().with("z", Value::I8(-1));
    let headers = TableBuf::new()
        .with("zero", Value::I64(0))
        .with("a", Value::Table(nested.view()))
        .with("array", Value::Array(items.view()))
        .with("flag", Value::Bool(true))
        .with("time", Value::Timestamp(5));
    let properties = Properties {
        content_type: Some("text/plain".into()),
        content_encoding: Some("gzip".into()),
        headers: Some(headers.view()),
        delivery_mode: Some(2),
        priority: Some(5),
        correlation_id: Some("correlation".into()),
        reply_to: Some("reply".into()),
        expiration: Some("60000".into()),
        message_id: Some("message".into()),
        timestamp: Some(u64::from(u32::MAX) + 1),
        kind: Some("type".into()),
        user_id: Some(t.target().user().into()),
        app_id: Some("app".into()),
        cluster_id: Some("cluster".into()),
    };
    expect_through(t, &mut raw, properties).await?;
    let empty = Properties {
        content_type: Some("".into()),
        correlation_id: Some(ShortStr(b"\xff\0 not text")),
        app_id: Some("".into()),
        ..Default::default()
    };
    expect_through(t, &mut raw, empty).await
}

async fn no_properties(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    expect_through(t, &mut raw, Properties::default()).await
}
