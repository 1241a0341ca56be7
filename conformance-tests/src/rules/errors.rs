//! Errors: which of them end a channel, which the connection, and how they are worded.

use leveret_protocol::method::{basic, channel, exchange, queue};
use leveret_protocol::{Method, MethodId, TableBuf, Value};

use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::{Expected, RawConnection, Text, durable_queue, transient_exchange};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("ERR", &[RULES]);

variants! { LONG_TEXTS: "ERR-03" {
    CUT_TO_252 "cut-to-252-bytes" "A longer text is cut to 252 bytes and three dots.";
    CUT_BY_FORMATTER "cut-by-formatter" "… is cut somewhere before its 256th byte.";
} }

rules! {
    "ERR-01" soft_error_ends_one_channel [raw] "A soft error leaves the other channels alone.";
    "ERR-01" hard_error_ends_the_connection [raw] "A hard error ends the connection.";
    "ERR-02" soft_error_of_a_login [raw] "On channel 0 a soft error closes the connection.";
    "ERR-03" long_texts_are_cut [raw, variants(&[LONG_TEXTS])]
        "A reply text has at most 255 bytes.";
    "ERR-04" method_is_blamed [raw] "A close names the method that failed …";
    "ERR-04" no_method_is_blamed [raw] "… or none for the errors of a frame.";
    "ERR-05" bare_internal_error [raw] "An internal failure says INTERNAL_ERROR and no more.";
    "ERR-06" return_carries_the_bare_name [raw] "A return says NO_ROUTE and no more.";
    "ERR-07" nowait_hides_no_error [raw] "Without a reply there is still an error.";
    "ERR-08" resources_are_worded_alike [raw] "queue 'q' in vhost 'v', exchange 'x' in vhost 'v'.";
    "ERR-09" deaf_after_a_broken_frame [raw, slow(20)] "After a broken frame nothing is read.";
    "ERR-10" terms_follow_the_known_words [raw] "A text that ends in a term starts as known.";
}

fn missing_queue(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        passive: true,
        ..durable_queue(name)
    }
}

async fn soft_error_ends_one_channel(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.open_channel(2).await?;
    let name = t.name("missing");
    raw.send_method(1, missing_queue(&name)).await?;
    raw.expect_channel_close(1, 404, Text::any(), queue::Declare::ID)
        .await?;
    raw.barrier(2).await?;
    raw.open_channel(1).await
}

async fn hard_error_ends_the_connection(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.open_channel(2).await?;
    raw.send_method(2, channel::Open::default()).await?;
    let text = "CHANNEL_ERROR - second 'channel.open' seen";
    raw.expect_connection_close(504, text, channel::Open::ID)
        .await?;
    raw.expect_silent_close().await.map(drop)
}

async fn soft_error_of_a_login(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw_socket().await?;
    raw.begin().await?;
    let mut handshake = t.handshake();
    handshake.password.push_str("-wrong");
    raw.send_start_ok(&handshake).await?;
    raw.expect_connection_close(403, Text::starts("ACCESS_REFUSED - "), MethodId::NONE)
        .await
}

async fn long_texts_are_cut(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = format!("{:x<255}", t.name("long-"));
    raw.send_method(1, missing_queue(&name)).await?;
    let text = format!("NOT_FOUND - no queue '{name}' in vhost '{}'", t.vhost());
    let cut: String = text.chars().take(252).collect();
    let refused = |text| Expected::channel_close(1, 404, text, queue::Declare::ID);
    // Where the formatter puts its dots is its own affair.
    let somewhere = Text::starts(cut.trim_end_matches('x'));
    let alternatives = [
        (CUT_TO_252, refused(Text::from(cut.clone() + "..."))),
        (CUT_BY_FORMATTER, refused(somewhere)),
    ];
    raw.expect_variant(t, &alternatives).await.map(drop)
}

async fn method_is_blamed(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("missing");
    let get = basic::Get {
        queue: name.as_str().into(),
        ..Default::default()
    };
    raw.send_method(1, get).await?;
    raw.expect_channel_close(1, 404, Text::any(), MethodId::new(60, 70))
        .await?;
    raw.open_channel(1).await?;
    raw.publish(1, &name, "", "nowhere").await?;
    raw.expect_channel_close(1, 404, Text::any(), MethodId::new(60, 40))
        .await
}

async fn no_method_is_blamed(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_frame(9, 1, &[]).await?;
    let text = Text::starts("FRAME_ERROR - ");
    raw.expect_connection_close(501, text, MethodId::NONE).await
}

async fn bare_internal_error(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_method(1, basic::Publish::default()).await?;
    // The flags promise a content type that does not follow.
    raw.send_content(1, &[0x80, 0], b"body").await?;
    raw.expect_connection_close(541, "INTERNAL_ERROR", MethodId::NONE)
        .await
}

async fn return_carries_the_bare_name(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("missing");
    raw.publish_mandatory(1, "", &name, "nowhere").await?;
    let returned = raw.expect_return(1).await?;
    expect_eq("reply code", returned.reply_code, 312)?;
    raw.expect_text(&returned.reply_text, "NO_ROUTE")
}

async fn nowait_hides_no_error(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("missing");
    let declare = queue::Declare {
        nowait: true,
        ..missing_queue(&name)
    };
    let bind = queue::Bind {
        queue: name.as_str().into(),
        exchange: "amq.direct".into(),
        nowait: true,
        ..Default::default()
    };
    let consume = basic::Consume {
        queue: name.as_str().into(),
        nowait: true,
        ..Default::default()
    };
    let attempts: [(Method<'_>, MethodId); 3] = [
        (declare.into(), queue::Declare::ID),
        (bind.into(), queue::Bind::ID),
        (consume.into(), basic::Consume::ID),
    ];
    for (attempt, id) in attempts {
        raw.send_method(1, attempt).await?;
        let text = Text::starts("NOT_FOUND - no queue '");
        raw.expect_channel_close(1, 404, text, id).await?;
        raw.open_channel(1).await?;
    }
    Ok(())
}

async fn resources_are_worded_alike(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let (name, vhost) = (t.name("missing"), t.vhost());
    raw.send_method(1, missing_queue(&name)).await?;
    let text = format!("NOT_FOUND - no queue '{name}' in vhost '{vhost}'");
    raw.expect_channel_close(1, 404, text, queue::Declare::ID)
        .await?;
    raw.open_channel(1).await?;
    let declare = exchange::Declare {
        passive: true,
        ..transient_exchange(&name, "direct")
    };
    raw.send_method(1, declare).await?;
    let text = format!("NOT_FOUND - no exchange '{name}' in vhost '{vhost}'");
    raw.expect_channel_close(1, 404, text, exchange::Declare::ID)
        .await
}

/// A method frame on channel 1 whose last octet is not the frame's end.
const BROKEN_FRAME: [u8; 13] = [1, 0, 1, 0, 0, 0, 5, 0, 20, 0, 20, 1, 0xCD];

async fn deaf_after_a_broken_frame(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_bytes(&BROKEN_FRAME).await?;
    raw.expect_connection_close(501, Text::starts("FRAME_ERROR - "), MethodId::NONE)
        .await?;
    send_close(&mut raw).await?;
    // A broker that listened would answer the close.
    raw.expect_silent_close().await.map(drop)
}

async fn send_close(raw: &mut RawConnection) -> Result<(), Failure> {
    let close = leveret_protocol::method::connection::Close::default();
    raw.send_method(0, close).await
}

async fn terms_follow_the_known_words(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let name = t.name("q");
    let arguments = TableBuf::new().with("x-message-ttl", Value::I32(-1));
    let declare = queue::Declare {
        arguments: arguments.view(),
        ..durable_queue(&name)
    };
    raw.send_method(1, declare).await?;
    let vhost = t.vhost();
    let text = format!(
        "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue '{name}' in vhost '{vhost}': "
    );
    ensure(text.len() < 255, "the name is too long for this test")?;
    raw.expect_channel_close(1, 406, Text::starts(text), queue::Declare::ID)
        .await
}
