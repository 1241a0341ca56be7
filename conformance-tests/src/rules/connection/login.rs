//! What the server says first, and the logins that it takes and refuses.

use std::time::Duration;

use leveret_protocol::method::connection;
use leveret_protocol::{LongStr, MethodId, ShortStr, TableBuf, Value};
use tokio::time::Instant;

use super::{at_start, at_tune};
use crate::failure::{Failure, ensure, expect_eq};
use crate::raw::{Handshake, RawConnection};
use crate::trial::Trial;

rules! {
    "CONN-01" server_properties [raw] "The server says who it is, in sorted texts.";
    "CONN-02" server_capabilities [raw] "It announces its nine capabilities.";
    "CONN-03" mechanisms [raw] "PLAIN and AMQPLAIN are offered.";
    "CONN-04" any_locale [raw] "en_US is offered, and any locale taken.";
    "CONN-05" capabilities_are_a_table [raw, slow(20)] "Capabilities in no table do not count …";
    "CONN-06" capabilities_are_true [raw, slow(20)] "… nor do those that are not true.";
    "CONN-07" connection_name [raw, management] "connection_name names the connection for operators.";
    "CONN-08" unknown_mechanism [raw, slow(20)] "A mechanism that is not offered is refused.";
    "CONN-09" malformed_plain [raw, slow(20)] "PLAIN is NUL, user, NUL, password.";
    "CONN-10" amqplain [raw] "AMQPLAIN is a table without its length …";
    "CONN-10" malformed_amqplain [raw, slow(20)] "… with both texts.";
    "CONN-11" told_that_refused [raw, slow(20), also(&["ERR-02"])] "Who asks for it is told.";
    "CONN-12" refused_in_silence [raw, slow(20)] "Others are not, and wait.";
    "CONN-13" all_refusals_look_alike [raw] "Nobody learns whether a user exists.";
    "CONN-14" secure_ok_unasked [raw, slow(20)] "secure-ok without a challenge is refused.";
    "CONN-15" tune_follows [raw] "A good login is answered with tune.";
    "CONN-16" pipelined_handshake [raw] "A client may send it all without waiting.";
}

async fn server_properties(t: &Trial) -> Result<(), Failure> {
    let start = t.raw_socket().await?.begin().await?;
    let keys: Vec<String> = start
        .properties
        .view()
        .entries()
        .map(|(key, _)| key.to_text().into_owned())
        .collect();
    let expected = [
        "capabilities",
        "cluster_name",
        "copyright",
        "information",
        "platform",
        "product",
        "version",
    ];
    expect_eq("keys", keys, expected.map(str::to_owned).to_vec())?;
    for key in &expected[1..] {
        ensure(!start.text(key).is_empty(), format!("{key} is not a text"))?;
    }
    expect_eq("product", start.text("product"), "RabbitMQ")
}

async fn server_capabilities(t: &Trial) -> Result<(), Failure> {
    let start = t.raw_socket().await?.begin().await?;
    let Some(Value::Table(capabilities)) = start.properties.view().get("capabilities") else {
        return Err(Failure::new("capabilities are no table"));
    };
    for name in [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ] {
        expect_eq(name, capabilities.get(name), Some(Value::Bool(true)))?;
    }
    Ok(())
}

async fn mechanisms(t: &Trial) -> Result<(), Failure> {
    let start = t.raw_socket().await?.begin().await?;
    for name in ["PLAIN", "AMQPLAIN"] {
        let offered = start.mechanisms.split(' ').any(|offered| offered == name);
        ensure(
            offered,
            format!("{name} is not among {:?}", start.mechanisms),
        )?;
    }
    Ok(())
}

/// Sends start-ok with every choice.
pub(super) async fn send_start_ok(
    raw: &mut RawConnection,
    client_properties: &TableBuf,
    mechanism: &str,
    response: &[u8],
) -> Result<(), Failure> {
    let start_ok = connection::StartOk {
        client_properties: client_properties.view(),
        mechanism: mechanism.into(),
        response: LongStr(response),
        locale: ShortStr(b"en_US"),
    };
    raw.send_method(0, start_ok).await
}

async fn any_locale(t: &Trial) -> Result<(), Failure> {
    let start = t.raw_socket().await?.begin().await?;
    let offered = start.locales.split(' ').any(|locale| locale == "en_US");
    ensure(offered, format!("en_US is not among {:?}", start.locales))?;
    let response = t.handshake().plain_response();
    for locale in ["", "tlh_QO"] {
        let mut raw = at_start(t).await?;
        let start_ok = connection::StartOk {
            mechanism: "PLAIN".into(),
            response: LongStr(&response),
            locale: locale.into(),
            ..Default::default()
        };
        raw.send_method(0, start_ok).await?;
        raw.expect_tune().await?;
    }
    Ok(())
}

/// A password that is not the user's.
fn wrong_password(t: &Trial) -> Handshake {
    let mut handshake = t.handshake();
    handshake.password.push_str("-wrong");
    handshake
}

/// Fails to log in with each of these client properties. Who does not ask for a close in words
/// that count gets none.
async fn expect_silent_refusals(t: &Trial, properties: &[TableBuf]) -> Result<(), Failure> {
    let response = wrong_password(t).plain_response();
    let mut refused = Vec::new();
    for properties in properties {
        let mut raw = at_start(t).await?;
        send_start_ok(&mut raw, properties, "PLAIN", &response).await?;
        refused.push((format!("{properties:?}"), raw));
    }
    RawConnection::expect_all_silent(refused).await
}

async fn capabilities_are_a_table(t: &Trial) -> Result<(), Failure> {
    let with = |value: Value<'_>| TableBuf::new().with("capabilities", value);
    let name = "authentication_failure_close";
    let properties = [
        with(Value::LongStr(name.as_bytes())),
        with(Value::Bool(true)),
        with(Value::I32(1)),
        TableBuf::new().with(name, Value::Bool(true)),
    ];
    expect_silent_refusals(t, &properties).await
}

async fn capabilities_are_true(t: &Trial) -> Result<(), Failure> {
    let with = |value: Value<'_>| {
        let capabilities = TableBuf::new().with("authentication_failure_close", value);
        TableBuf::new().with("capabilities", Value::Table(capabilities.view()))
    };
    let properties = [
        with(Value::Bool(false)),
        with(Value::I32(1)),
        with(Value::LongStr(b"true")),
        with(Value::Void),
    ];
    expect_silent_refusals(t, &properties).await
}

/// Sends each login, all good but for what is tried, and checks that it is refused in silence
/// though the client asks for a close.
async fn expect_malformed(t: &Trial, logins: &[(&str, Vec<u8>)]) -> Result<(), Failure> {
    let properties = t.handshake().client_properties();
    let mut refused = Vec::new();
    for (mechanism, response) in logins {
        let mut raw = at_start(t).await?;
        send_start_ok(&mut raw, &properties, mechanism, response).await?;
        let what = format!("{mechanism} {:?}", String::from_utf8_lossy(response));
        refused.push((what, raw));
    }
    RawConnection::expect_all_silent(refused).await
}

async fn unknown_mechanism(t: &Trial) -> Result<(), Failure> {
    let response = t.handshake().plain_response();
    let logins = ["", "plain", "PLAIN AMQPLAIN", "X-NONE"].map(|name| (name, response.clone()));
    expect_malformed(t, &logins).await
}

async fn malformed_plain(t: &Trial) -> Result<(), Failure> {
    let Handshake { user, password, .. } = t.handshake();
    let responses = [
        String::new(),
        format!("{user}\0{password}"),
        format!("{user}\0{user}\0{password}"),
        format!("\0{user}\0{password}\0"),
        format!("\0{user}"),
    ];
    let logins = responses.map(|response| ("PLAIN", response.into_bytes()));
    expect_malformed(t, &logins).await
}

fn amqplain_response(user: &str, password: &str) -> TableBuf {
    TableBuf::new()
        .with("LOGIN", Value::LongStr(user.as_bytes()))
        .with("PASSWORD", Value::LongStr(password.as_bytes()))
}

async fn amqplain(t: &Trial) -> Result<(), Failure> {
    let handshake = t.handshake();
    let response = amqplain_response(&handshake.user, &handshake.password);
    let mut raw = at_start(t).await?;
    let properties = handshake.client_properties();
    send_start_ok(
        &mut raw,
        &properties,
        "AMQPLAIN",
        response.view().as_bytes(),
    )
    .await?;
    let offered = raw.expect_tune().await?;
    raw.tune(&handshake, offered).await?;
    raw.open_vhost(t.vhost()).await?;

    let mut raw = at_start(t).await?;
    let response = amqplain_response(&handshake.user, "wrong");
    send_start_ok(
        &mut raw,
        &properties,
        "AMQPLAIN",
        response.view().as_bytes(),
    )
    .await?;
    expect_told(&mut raw, "AMQPLAIN").await
}

async fn malformed_amqplain(t: &Trial) -> Result<(), Failure> {
    let Handshake { user, password, .. } = t.handshake();
    let login = TableBuf::new().with("LOGIN", Value::LongStr(user.as_bytes()));
    let whole = amqplain_response(&user, &password);
    let whole = whole.view().as_bytes();
    let with_length = [&(whole.len() as u32).to_be_bytes()[..], whole].concat();
    let responses = [
        Vec::new(),
        login.view().as_bytes().to_vec(),
        with_length,
        b"\0guest\0guest".to_vec(),
    ];
    let logins = responses.map(|response| ("AMQPLAIN", response));
    expect_malformed(t, &logins).await
}

/// The close that tells a client that its login failed.
pub(super) async fn expect_told(raw: &mut RawConnection, mechanism: &str) -> Result<(), Failure> {
    let text = format!(
        "ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. \
         For details see the broker logfile."
    );
    raw.expect_connection_close(403, text, MethodId::NONE).await
}

async fn told_that_refused(t: &Trial) -> Result<(), Failure> {
    let mut raw = at_start(t).await?;
    raw.send_start_ok(&wrong_password(t)).await?;
    expect_told(&mut raw, "PLAIN").await?;
    raw.expect_silent_close().await.map(drop)
}

async fn refused_in_silence(t: &Trial) -> Result<(), Failure> {
    let handshake = wrong_password(t).capability("authentication_failure_close", false);
    let mut raw = at_start(t).await?;
    let since = Instant::now();
    raw.send_start_ok(&handshake).await?;
    raw.expect_silent_close().await?;
    let took = since.elapsed();
    ensure(
        took > Duration::from_secs(1),
        format!("passwords can be tried every {took:?}"),
    )
}

async fn all_refusals_look_alike(t: &Trial) -> Result<(), Failure> {
    let known = t.handshake();
    let logins = [
        Handshake::login("no-such-user", "guess"),
        Handshake::login("", ""),
        Handshake::login(&known.user, "guess"),
        Handshake::login(&known.user, ""),
    ];
    for handshake in logins {
        let mut raw = at_start(t).await?;
        raw.send_start_ok(&handshake).await?;
        let told = expect_told(&mut raw, "PLAIN").await;
        told.map_err(|failure| failure.at(format!("{:?}", handshake.user)))?;
    }
    // Nobody's name can be other bytes than UTF-8, which is no reason to answer otherwise.
    let mut raw = at_start(t).await?;
    let properties = known.client_properties();
    send_start_ok(&mut raw, &properties, "PLAIN", b"\0\xff\0guess").await?;
    expect_told(&mut raw, "PLAIN").await
}

async fn secure_ok_unasked(t: &Trial) -> Result<(), Failure> {
    let secure_ok = connection::SecureOk {
        response: LongStr(b"unasked"),
    };
    let mut before_login = at_start(t).await?;
    before_login.send_method(0, secure_ok).await?;
    let (mut after_login, _) = at_tune(t).await?;
    after_login.send_method(0, secure_ok).await?;
    RawConnection::expect_all_silent(vec![
        ("before login".to_owned(), before_login),
        ("after login".to_owned(), after_login),
    ])
    .await
}

async fn tune_follows(t: &Trial) -> Result<(), Failure> {
    at_tune(t).await.map(drop)
}

async fn pipelined_handshake(t: &Trial) -> Result<(), Failure> {
    let handshake = t.handshake();
    let properties = handshake.client_properties();
    let response = handshake.plain_response();
    let start_ok = connection::StartOk {
        client_properties: properties.view(),
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(&response),
        locale: ShortStr(b"en_US"),
    };
    let tune_ok = connection::TuneOk {
        channel_max: 10,
        frame_max: 131_072,
        heartbeat: 0,
    };
    let open = connection::Open {
        virtual_host: t.vhost().into(),
        ..Default::default()
    };
    let open_channel = leveret_protocol::method::channel::Open::default();
    let mut raw = at_start(t).await?;
    raw.send_methods(&[
        (0, start_ok.into()),
        (0, tune_ok.into()),
        (0, open.into()),
        (1, open_channel.into()),
    ])
    .await?;
    raw.expect_tune().await?;
    raw.expect(0, connection::OpenOk::ID).await?;
    raw.expect(1, leveret_protocol::method::channel::OpenOk::ID)
        .await
        .map(drop)
}

async fn connection_name(t: &Trial) -> Result<(), Failure> {
    let name = t.name("connection");
    let handshake = Handshake {
        connection_name: Some(name.clone()),
        ..t.handshake()
    };
    let _raw = t.raw_with(&handshake).await?;
    let listed = t.management()?.connection(&name).await?;
    expect_eq("user", listed.user.as_str(), t.target().user())?;
    expect_eq("vhost", listed.vhost.as_str(), t.vhost())
}
