//! Permissions that an operator takes away.

use std::pin::pin;
use std::time::Duration;

use leveret_protocol::method::{basic, exchange as exchanges};
use tokio::time::timeout;

use super::{Asking, Need, exchange};
use crate::failure::Failure;
use crate::raw::transient_exchange;
use crate::rules::access::ACCESS_REFUSED;
use crate::trial::Trial;

rules! {
    "PERM-16" busy_channel_goes_on [raw, fixtures, variants(&[ACCESS_REFUSED]), permissions, lock("revocable")]
        "A channel that is in use need not notice at once what is taken away.";
    "PERM-16" new_channel_asks_anew [raw, fixtures, variants(&[ACCESS_REFUSED]), permissions, lock("revocable")]
        "A channel that is opened later does.";
    "PERM-16" new_connection_asks_anew [raw, fixtures, variants(&[ACCESS_REFUSED]), permissions, lock("revocable")]
        "So does a connection, which is also given what is new.";
}

const REVOCABLE: &str = "revocable";
/// Configure and read as before, and write nothing.
const NO_WRITE: [&str; 3] = [".*", "^$", ".*"];
/// How long the channel rests at most. RabbitMQ's forget after a second.
const PAUSE: Duration = Duration::from_millis(50);

/// The user with an exchange of its own, to which it has published.
async fn publisher(t: &Trial) -> Result<(Asking, String), Failure> {
    let mut asking = Asking::of(t, REVOCABLE).await?;
    let name = t.name("x");
    asking
        .raw
        .declare_exchange(1, transient_exchange(&name, "fanout"))
        .await?;
    asking.raw.publish(1, &name, "", "m").await?;
    asking.raw.barrier(1).await?;
    Ok((asking, name))
}

/// The channel is kept busy meanwhile: one that rests may forget what it knows.
async fn busy_channel_goes_on(t: &Trial) -> Result<(), Failure> {
    let (mut asking, name) = publisher(t).await?;
    let mut revoked = pin!(t.set_permissions(REVOCABLE, NO_WRITE));
    let outcome = loop {
        match timeout(PAUSE, &mut revoked).await {
            Ok(outcome) => break outcome,
            Err(_) => {
                asking.raw.publish(1, &name, "", "m").await?;
                asking.raw.barrier(1).await?;
            }
        }
    };
    outcome?;
    asking.raw.publish(1, &name, "", "m").await?;
    asking.raw.barrier(1).await
}

async fn new_channel_asks_anew(t: &Trial) -> Result<(), Failure> {
    let (mut asking, name) = publisher(t).await?;
    t.set_permissions(REVOCABLE, NO_WRITE).await?;
    asking.raw.open_channel(2).await?;
    asking.raw.publish(2, &name, "", "m").await?;
    let text = asking.refusal(Need::Write, exchange(&name));
    let id = basic::Publish::ID;
    asking.raw.expect_channel_close(2, 403, text, id).await
}

async fn new_connection_asks_anew(t: &Trial) -> Result<(), Failure> {
    let (_, name) = publisher(t).await?;
    t.set_permissions(REVOCABLE, NO_WRITE).await?;
    let mut asking = Asking::of(t, REVOCABLE).await?;
    asking
        .expect_publish_refused((&name, ""), exchange(&name))
        .await?;
    t.set_permissions(REVOCABLE, ["^$", ".*", "^$"]).await?;
    let mut asking = Asking::of(t, REVOCABLE).await?;
    asking.raw.publish(1, &name, "", "m").await?;
    asking.raw.barrier(1).await?;
    let delete = exchanges::Delete {
        exchange: name.as_str().into(),
        ..Default::default()
    };
    asking
        .expect_refused(delete, Need::Configure, exchange(&name))
        .await
}
