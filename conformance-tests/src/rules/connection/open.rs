//! Opening a vhost: which exist, who may enter, and how many.

use leveret_protocol::Method;
use leveret_protocol::method::connection::{Method as Connection, Open, OpenOk};

use super::at_open;
use crate::failure::{Failure, expect_eq};
use crate::raw::{Handshake, RawConnection};
use crate::trial::Trial;

rules! {
    "CONN-17" open_ok [raw] "open-ok names no hosts; the other fields of open mean nothing.";
    "CONN-18" missing_vhost [raw] "A vhost that is missing is not allowed.";
    "CONN-19" forbidden_vhost [raw, fixtures] "Nor is one without a permission for the user.";
    "CONN-20" names_are_taken_as_they_are [raw] "A slash more or less is another vhost.";
    "CONN-21" full_vhost [raw, fixtures] "A vhost's limit is kept.";
    "CONN-22" connections_of_a_user [raw, fixtures, lock("limited")] "A user's limit is kept.";
    "CONN-22" place_is_free_again [raw, fixtures, lock("limited")] "A closed one does not count.";
    "CONN-23" untestable "A node's limit is kept."
        "the limit is a setting that a node reads when it starts";
    "CONN-24" untestable "A vhost may be down."
        "a vhost is down when its processes have crashed, which no operator orders";
    "CONN-25" order_of_checks [raw, fixtures, lock("limited")] "Limits come before permissions.";
}

async fn open_ok(t: &Trial) -> Result<(), Failure> {
    let mut raw = at_open(t).await?;
    let open = Open {
        virtual_host: t.vhost().into(),
        capabilities: "anything".into(),
        insist: true,
    };
    let reply = raw.call(0, open, OpenOk::ID).await?;
    let known_hosts = reply.read(|method| match method {
        Method::Connection(Connection::OpenOk(ok)) => Some(ok.known_hosts.to_text().into_owned()),
        _ => None,
    })?;
    expect_eq("known hosts", known_hosts, "")
}

/// A connection of this user that may open a vhost.
async fn logged_in(t: &Trial, handshake: &Handshake) -> Result<RawConnection, Failure> {
    let mut raw = t.raw_socket().await?;
    raw.begin().await?;
    let offered = raw.log_in(handshake).await?;
    raw.tune(handshake, offered).await?;
    Ok(raw)
}

/// Opens a vhost and expects to be refused with this explanation.
async fn expect_refused(
    t: &Trial,
    handshake: &Handshake,
    vhost: &str,
    explanation: &str,
) -> Result<(), Failure> {
    let mut raw = logged_in(t, handshake).await?;
    raw.send_open(vhost).await?;
    let text = format!("NOT_ALLOWED - {explanation}");
    raw.expect_connection_close(530, text, Open::ID).await
}

async fn expect_missing(t: &Trial, vhost: &str) -> Result<(), Failure> {
    let explanation = format!("vhost {vhost} not found");
    expect_refused(t, &t.handshake(), vhost, &explanation).await
}

async fn missing_vhost(t: &Trial) -> Result<(), Failure> {
    expect_missing(t, &t.name("missing")).await
}

async fn names_are_taken_as_they_are(t: &Trial) -> Result<(), Failure> {
    for vhost in ["", "//", "%2f", " /", &format!("/{}", t.name("missing"))] {
        expect_missing(t, vhost).await?;
    }
    Ok(())
}

async fn forbidden_vhost(t: &Trial) -> Result<(), Failure> {
    let user = t.target().user();
    let refused =
        |vhost: &str, user: &str| format!("access to vhost '{vhost}' refused for user '{user}'");
    let explanation = refused("leveret-empty", user);
    expect_refused(t, &t.handshake(), "leveret-empty", &explanation).await?;
    let explanation = refused(t.vhost(), "stranger");
    expect_refused(t, &t.login("stranger"), t.vhost(), &explanation).await
}

async fn full_vhost(t: &Trial) -> Result<(), Failure> {
    let user = t.target().user();
    let explanation = format!(
        "access to vhost 'leveret-full' refused for user '{user}': connection limit (0) is reached"
    );
    expect_refused(t, &t.handshake(), "leveret-full", &explanation).await
}

const LIMITED_REFUSED: &str =
    "connection refused for user 'limited': user connection limit (1) is reached";

/// Ends a connection and waits until the broker has let it go.
async fn end(mut raw: RawConnection) -> Result<(), Failure> {
    let close = leveret_protocol::method::connection::Close::default();
    let close_ok = leveret_protocol::method::connection::CloseOk::ID;
    raw.call(0, close, close_ok).await?;
    let close_ok = leveret_protocol::method::connection::CloseOk {};
    raw.send_method(0, close_ok).await?;
    raw.expect_silent_close().await.map(drop)
}

async fn connections_of_a_user(t: &Trial) -> Result<(), Failure> {
    let limited = t.login("limited");
    let first = t.raw_with(&limited).await?;
    expect_refused(t, &limited, t.vhost(), LIMITED_REFUSED).await?;
    end(first).await
}

async fn place_is_free_again(t: &Trial) -> Result<(), Failure> {
    let limited = t.login("limited");
    end(t.raw_with(&limited).await?).await?;
    end(t.raw_with(&limited).await?).await
}

async fn order_of_checks(t: &Trial) -> Result<(), Failure> {
    let limited = t.login("limited");
    let first = t.raw_with(&limited).await?;
    let missing = t.name("missing");
    // A missing vhost is found before the user's limit is …
    let explanation = format!("vhost {missing} not found");
    expect_refused(t, &limited, &missing, &explanation).await?;
    // … the vhost's limit before the user's …
    let full = |user| {
        format!(
            "access to vhost 'leveret-full' refused for user '{user}': connection limit (0) is \
             reached"
        )
    };
    expect_refused(t, &limited, "leveret-full", &full("limited")).await?;
    // … and both before the permission.
    expect_refused(t, &limited, "leveret-empty", LIMITED_REFUSED).await?;
    let stranger = t.login("stranger");
    expect_refused(t, &stranger, "leveret-full", &full("stranger")).await?;
    end(first).await
}
