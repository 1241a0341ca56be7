//! A login in several steps, by the one such mechanism that RabbitMQ brings along: RABBIT-CR-DEMO. The
//! client names a user, is asked for the password, and says it.

use leveret_protocol::method::connection::{self, Method as Connection};
use leveret_protocol::{LongStr, Method};

use super::at_start;
use super::login::{expect_told, send_start_ok};
use crate::failure::{Failure, expect_eq};
use crate::raw::RawConnection;
use crate::trial::Trial;

const DEMO: &str = "RABBIT-CR-DEMO";

rules! {
    "CONN-14" second_step [raw, mechanism(DEMO)] "A mechanism may take several steps …";
    "CONN-14" refused_at_the_second_step [raw, slow(20), mechanism(DEMO), also(&["CONN-11"])]
        "… the last of which may fail …";
    "CONN-14" malformed_second_step [raw, slow(20), mechanism(DEMO)] "… or be no answer at all.";
}

async fn second_step(t: &Trial) -> Result<(), Failure> {
    let handshake = t.handshake();
    let mut raw = challenged(t).await?;
    answer(&mut raw, &format!("My password is {}", handshake.password)).await?;
    let offered = raw.expect_tune().await?;
    raw.tune(&handshake, offered).await?;
    raw.open_vhost(t.vhost()).await
}

async fn refused_at_the_second_step(t: &Trial) -> Result<(), Failure> {
    let mut raw = challenged(t).await?;
    answer(&mut raw, "My password is not this").await?;
    expect_told(&mut raw, DEMO).await?;
    raw.expect_silent_close().await.map(drop)
}

async fn malformed_second_step(t: &Trial) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for text in ["", "guest", "my password is guest"] {
        let mut raw = challenged(t).await?;
        answer(&mut raw, text).await?;
        refused.push((format!("{text:?}"), raw));
    }
    let mut raw = challenged(t).await?;
    raw.send_method(0, connection::TuneOk::default()).await?;
    refused.push(("tune-ok".to_owned(), raw));
    let mut raw = challenged(t).await?;
    raw.send_start_ok(&t.handshake()).await?;
    refused.push(("another login".to_owned(), raw));
    RawConnection::expect_all_silent(refused).await
}

/// A connection that has named the target's user and was asked for the password.
async fn challenged(t: &Trial) -> Result<RawConnection, Failure> {
    let handshake = t.handshake();
    let properties = handshake.client_properties();
    let mut raw = at_start(t).await?;
    send_start_ok(&mut raw, &properties, DEMO, handshake.user.as_bytes()).await?;
    let method = raw.expect(0, connection::Secure::ID).await?;
    let challenge = method.read(|method| match method {
        Method::Connection(Connection::Secure(secure)) => Some(secure.challenge.0.to_vec()),
        _ => None,
    })?;
    let challenge = String::from_utf8_lossy(&challenge);
    expect_eq("challenge", &*challenge, "Please tell me your password")?;
    Ok(raw)
}

async fn answer(raw: &mut RawConnection, text: &str) -> Result<(), Failure> {
    let response = LongStr(text.as_bytes());
    raw.send_method(0, connection::SecureOk { response }).await
}
