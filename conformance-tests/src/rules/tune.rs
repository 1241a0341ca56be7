//! Negotiation: what the server offers, what a client may answer, and what is then held to.

use leveret_protocol::method::{channel, connection};
use leveret_protocol::{LongStr, MethodId, ShortStr, TableBuf, Value};

use crate::failure::{Failure, expect_eq};
use crate::raw::{Expected, Handshake, RawConnection, Text};
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("TUNE", &[RULES]);

variants! { LEAST_FRAME: "TUNE-05" {
    FROM_4096 "from-4096" "The smallest frame size is 4096.";
    FROM_8192 "from-8192" "The smallest frame size is 8192.";
} }

variants! { USER_LIMIT: "TUNE-09" {
    IN_PARENTHESES "limit-in-parentheses" "The text ends in the limit in parentheses.";
    BARE "bare-limit" "The text ends in the limit.";
} }

rules! {
    "TUNE-01" defaults [raw] "2047 channels, frames of 131072 bytes, a heartbeat of 60 s.";
    "TUNE-02" too_many_channels [raw, slow(20)] "A client cannot have more channels …";
    "TUNE-03" unlimited_channels [raw, slow(20)] "… nor no limit.";
    "TUNE-04" too_large_frames [raw, slow(20)] "Nor larger frames, or frames of any size.";
    "TUNE-05" least_frame [raw, slow(20), variants(&[LEAST_FRAME])]
        "The smallest frame size is accepted …";
    "TUNE-05" too_small_frames [raw, slow(20), variants(&[LEAST_FRAME])] "… and nothing below it.";
    "TUNE-06" any_heartbeat [raw] "The client chooses any heartbeat, longer ones too …";
    "TUNE-06" heartbeat_of_the_client [raw] "… and the server keeps to it.";
    "TUNE-07" channels_are_counted [raw] "Channels are counted; their numbers do not matter.";
    "TUNE-08" one_channel_too_many [raw] "One channel too many ends the connection.";
    "TUNE-09" channels_of_a_user [raw, fixtures, lock("limited"), variants(&[USER_LIMIT])]
        "A user's limit is kept.";
    "TUNE-10" untestable "A node may limit its channels."
        "the limit is a setting that a node reads when it starts";
    "TUNE-11" frame_before_tune_ok [raw, slow(20)] "Before tune-ok frames must be small.";
    "TUNE-12" open_before_tune_ok [raw, slow(20)] "open must come after tune-ok.";
    "TUNE-13" closed_channels_do_not_count [raw] "Once its close is agreed a place is free.";
    "TUNE-13" closing_channels_count [raw] "Until close-ok it is not.";
}

async fn offer(t: &Trial) -> Result<(RawConnection, connection::Tune), Failure> {
    let mut raw = t.raw_socket().await?;
    raw.begin().await?;
    let offered = raw.log_in(&t.handshake()).await?;
    Ok((raw, offered))
}

async fn defaults(t: &Trial) -> Result<(), Failure> {
    let (_raw, offered) = offer(t).await?;
    expect_eq("channel-max", offered.channel_max, 2047)?;
    expect_eq("frame-max", offered.frame_max, 131_072)?;
    expect_eq("heartbeat", offered.heartbeat, 60)
}

/// Answers the offer on connections of their own and checks that all are dropped.
async fn expect_all_refused(
    t: &Trial,
    answers: impl IntoIterator<Item = connection::TuneOk>,
) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for answer in answers {
        let (mut raw, _) = offer(t).await?;
        raw.send_method(0, answer).await?;
        raw.send_open(t.vhost()).await?;
        refused.push((format!("{answer:?}"), raw));
    }
    RawConnection::expect_all_silent(refused).await
}

/// The answer that takes what is offered by default.
const TAKEN: connection::TuneOk = connection::TuneOk {
    channel_max: 2047,
    frame_max: 131_072,
    heartbeat: 0,
};

fn channels(channel_max: u16) -> connection::TuneOk {
    connection::TuneOk {
        channel_max,
        ..TAKEN
    }
}

fn frames(frame_max: u32) -> connection::TuneOk {
    connection::TuneOk { frame_max, ..TAKEN }
}

async fn too_many_channels(t: &Trial) -> Result<(), Failure> {
    expect_all_refused(t, [2048, 65_535].map(channels)).await
}

async fn unlimited_channels(t: &Trial) -> Result<(), Failure> {
    expect_all_refused(t, [channels(0)]).await
}

async fn too_large_frames(t: &Trial) -> Result<(), Failure> {
    expect_all_refused(t, [131_073, u32::MAX, 0].map(frames)).await
}

/// Whether a client may have frames of this size.
async fn takes_frames_of(t: &Trial, frame_max: u32) -> Result<bool, Failure> {
    let (mut raw, _) = offer(t).await?;
    raw.send_method(0, frames(frame_max)).await?;
    raw.send_open(t.vhost()).await?;
    let taken = Expected::method(0, connection::OpenOk::ID);
    Ok(raw.expect_any_of(&[taken, Expected::SilentClose]).await? == 0)
}

async fn least_frame(t: &Trial) -> Result<(), Failure> {
    let taken = takes_frames_of(t, 4096).await?;
    t.expect_variant_of(
        "whether 4096 is accepted",
        taken,
        &[(FROM_4096, true), (FROM_8192, false)],
    )?;
    expect_eq(
        "whether 8192 is accepted",
        takes_frames_of(t, 8192).await?,
        true,
    )
}

async fn too_small_frames(t: &Trial) -> Result<(), Failure> {
    let least = match t.accepts(FROM_4096) {
        true => 4096,
        false => 8192,
    };
    expect_all_refused(t, [least - 1, 1].map(frames)).await
}

async fn any_heartbeat(t: &Trial) -> Result<(), Failure> {
    for heartbeat_s in [0, 1, 61, 65_535] {
        let handshake = Handshake {
            heartbeat_s,
            ..t.handshake()
        };
        t.raw_with(&handshake).await?.open_channel(1).await?;
    }
    Ok(())
}

async fn heartbeat_of_the_client(t: &Trial) -> Result<(), Failure> {
    let handshake = Handshake {
        heartbeat_s: 1,
        ..t.handshake()
    };
    let mut raw = t.raw_with(&handshake).await?;
    raw.show_heartbeats(true);
    // By its own 60 s the server would be silent for half a minute.
    raw.expect_frame(8, 0).await.map(drop)
}

async fn with_channel_max(t: &Trial, channel_max: u16) -> Result<RawConnection, Failure> {
    let handshake = Handshake {
        channel_max: Some(channel_max),
        ..t.handshake()
    };
    t.raw_with(&handshake).await
}

async fn channels_are_counted(t: &Trial) -> Result<(), Failure> {
    let mut raw = with_channel_max(t, 2).await?;
    raw.open_channel(999).await?;
    raw.open_channel(65_535).await
}

fn too_many(open: u16) -> String {
    format!(
        "NOT_ALLOWED - number of channels opened ({open}) has reached the negotiated channel_max \
         ({open})"
    )
}

async fn one_channel_too_many(t: &Trial) -> Result<(), Failure> {
    let mut raw = with_channel_max(t, 2).await?;
    raw.open_channel(1).await?;
    raw.open_channel(2).await?;
    raw.send_method(3, channel::Open::default()).await?;
    raw.expect_connection_close(530, too_many(2), MethodId::NONE)
        .await
}

async fn channels_of_a_user(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw_with(&t.login("limited")).await?;
    raw.open_channel(1).await?;
    raw.open_channel(2).await?;
    raw.send_method(3, channel::Open::default()).await?;
    let text = |limit: &str| {
        format!(
            "NOT_ALLOWED - number of channels opened for user 'limited' has reached the maximum \
             allowed user limit of {limit}"
        )
    };
    let close = |limit| Expected::connection_close(530, text(limit), MethodId::NONE);
    let alternatives = [(IN_PARENTHESES, close("(2)")), (BARE, close("2"))];
    raw.expect_variant(t, &alternatives).await?;
    raw.expect_silent_close().await.map(drop)
}

async fn frame_before_tune_ok(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw_socket().await?;
    raw.begin().await?;
    let properties = TableBuf::new().with("long", Value::LongStr(&[b'x'; 8192]));
    let response = t.handshake().plain_response();
    let start_ok = connection::StartOk {
        client_properties: properties.view(),
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(&response),
        locale: ShortStr(b"en_US"),
    };
    raw.send_method(0, start_ok).await?;
    raw.expect_silent_close().await.map(drop)
}

async fn open_before_tune_ok(t: &Trial) -> Result<(), Failure> {
    let (mut raw, _) = offer(t).await?;
    raw.send_open(t.vhost()).await?;
    raw.expect_silent_close().await.map(drop)
}

async fn closed_channels_do_not_count(t: &Trial) -> Result<(), Failure> {
    let mut raw = with_channel_max(t, 1).await?;
    raw.open_channel(1).await?;
    raw.close_channel(1).await?;
    raw.open_channel(2).await?;
    raw.publish(2, &t.name("missing"), "", "fails").await?;
    raw.expect_any_of(&[Expected::any_channel_close(2, Text::any())])
        .await?;
    raw.open_channel(3).await
}

async fn closing_channels_count(t: &Trial) -> Result<(), Failure> {
    let mut raw = with_channel_max(t, 1).await?;
    raw.open_channel(1).await?;
    raw.publish(1, &t.name("missing"), "", "fails").await?;
    raw.expect(1, channel::Close::ID).await?;
    raw.send_method(2, channel::Open::default()).await?;
    raw.expect_connection_close(530, too_many(1), MethodId::NONE)
        .await
}
