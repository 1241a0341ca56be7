//! One connection that finds out whether there is a broker at an address, and what it calls itself.
//!
//! What it is not: a test. Where a test names bytes, this names the step at which things went wrong, in one
//! line for somebody who may have mistyped an address.
//!
//! Invariant: it ends within [`PATIENCE`], whatever the other side does.

use std::time::Duration;

use leveret_protocol::method::connection::{self, Method as Connection};
use leveret_protocol::{Method, MethodId, PROTOCOL_HEADER};

use crate::failure::{Failure, show_bytes};
use crate::greeting;
use crate::raw::{Event, Handshake, OwnedMethod, RawConnection, ServerStart};

/// How long the whole handshake may take. RabbitMQ gives a client 10 s for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long one step of it may take. It is shorter than half of the whole, so that who stalls is told at
/// which step.
const STEP_PATIENCE: Duration = Duration::from_secs(4);

/// Does the whole handshake and closes the connection.
///
/// # Errors
/// At some step something else came than from a broker that lets this user in.
pub(crate) async fn probe(address: &str, handshake: &Handshake) -> Result<ServerStart, Failure> {
    let probe = tokio::time::timeout(PATIENCE, shake_hands(address, handshake));
    let late = || Failure::new(format!("the handshake was not done in {PATIENCE:?}"));
    probe.await.unwrap_or_else(|_| Err(late()))
}

async fn shake_hands(address: &str, handshake: &Handshake) -> Result<ServerStart, Failure> {
    let mut raw = RawConnection::connect(address).await?;
    raw.set_patience(STEP_PATIENCE);
    let start = begin(&mut raw).await?;
    log_in(&mut raw, handshake).await?;
    open(&mut raw, &handshake.vhost).await?;
    // What a broker makes of the close is for the tests.
    let _ = raw.close().await;
    Ok(start)
}

async fn begin(raw: &mut RawConnection) -> Result<ServerStart, Failure> {
    raw.send_header(PROTOCOL_HEADER).await?;
    match answer(raw, "connection.start", connection::Start::ID).await {
        Ok(start) => ServerStart::read(&start),
        Err(failure) => Err(told_by_first_bytes(raw.unread(), failure)),
    }
}

fn told_by_first_bytes(unread: &[u8], failure: Failure) -> Failure {
    match greeting::guess(unread) {
        Some(guess) => Failure::new(format!("{guess}: {} came", show_bytes(unread))),
        None if unread.is_empty() => failure,
        None => Failure::expected("connection.start", show_bytes(unread)),
    }
}

async fn log_in(raw: &mut RawConnection, handshake: &Handshake) -> Result<(), Failure> {
    raw.send_start_ok(handshake).await?;
    let step = format!("log in as {:?}", handshake.user);
    let answer = answer(raw, "connection.tune", connection::Tune::ID).await;
    let offered = answer.and_then(|method| {
        method.read(|method| match method {
            Method::Connection(Connection::Tune(tune)) => Some(tune),
            _ => None,
        })
    });
    let offered = offered.map_err(|failure| failure.at(step))?;
    raw.tune(handshake, offered).await
}

async fn open(raw: &mut RawConnection, vhost: &str) -> Result<(), Failure> {
    raw.send_open(vhost).await?;
    let opened = answer(raw, "connection.open-ok", connection::OpenOk::ID).await;
    opened
        .map(drop)
        .map_err(|failure| failure.at(format!("open vhost {vhost:?}")))
}

/// The next method, which has to be this one; a refusal is told by its code and text.
async fn answer(
    raw: &mut RawConnection,
    name: &str,
    wanted: MethodId,
) -> Result<OwnedMethod, Failure> {
    let event = raw.next_event().await?;
    let Event::Frame(frame) = &event else {
        return Err(Failure::expected(name, show(&event)));
    };
    let method = frame.method()?;
    match refusal(&method) {
        Some(refusal) => Err(refusal),
        None if method.id() == wanted => Ok(method),
        None => Err(Failure::expected(name, show(&event))),
    }
}

fn show(event: &Event) -> String {
    match event {
        Event::Frame(frame) => frame.to_string(),
        Event::End(_) => "the end of the connection".to_owned(),
        Event::Nothing => format!("within {STEP_PATIENCE:?} nothing"),
    }
}

fn refusal(method: &OwnedMethod) -> Option<Failure> {
    let close = method.read(|method| match method {
        Method::Connection(Connection::Close(close)) => {
            Some((close.reply_code, close.reply_text.to_text().into_owned()))
        }
        _ => None,
    });
    let (code, text) = close.ok()?;
    Some(Failure::new(format!(
        "the broker refuses with {code} {text}"
    )))
}
