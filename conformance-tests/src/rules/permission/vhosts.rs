//! Vhosts: who has no record may not enter, and nothing is shared between them.

use leveret_protocol::method::connection;

use crate::failure::Failure;
use crate::raw::{Handshake, transient_exchange};
use crate::rules::access::ACCESS_REFUSED;
use crate::trial::Trial;

rules! {
    "PERM-18" no_record_no_entry [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Without a record a vhost may not be entered.";
    "PERM-18" names_are_per_vhost [raw, fixtures, variants(&[ACCESS_REFUSED])]
        "Names of one vhost say nothing in another.";
}

const SECOND: &str = "leveret-second";

async fn no_record_no_entry(t: &Trial) -> Result<(), Failure> {
    for (user, vhost) in [
        ("divided", SECOND),
        ("topical", "leveret-empty"),
        ("stranger", t.vhost()),
    ] {
        let handshake = t.login(user);
        let mut raw = t.raw_socket().await?;
        raw.begin().await?;
        let offered = raw.log_in(&handshake).await?;
        raw.tune(&handshake, offered).await?;
        raw.send_open(vhost).await?;
        let text = format!("NOT_ALLOWED - access to vhost '{vhost}' refused for user '{user}'");
        let id = connection::Open::ID;
        raw.expect_connection_close(530, text, id).await?;
    }
    Ok(())
}

async fn names_are_per_vhost(t: &Trial) -> Result<(), Failure> {
    // The same name, to be deleted there too.
    let (name, _) = (t.name("name"), t.name_in(SECOND, "name"));
    let mut here = t.raw().await?;
    let handshake = Handshake {
        vhost: SECOND.to_owned(),
        ..t.handshake()
    };
    let mut there = t.raw_with(&handshake).await?;
    there.open_channel(1).await?;
    here.declare_queue(1, &name).await?;
    here.declare_exchange(1, transient_exchange(&name, "fanout"))
        .await?;
    here.bind(1, &name, &name, "").await?;
    // Nothing of it is there, and the names may mean something else.
    there
        .declare_exchange(1, transient_exchange(&name, "topic"))
        .await?;
    there.declare_queue(1, &name).await?;
    there.publish(1, &name, "k", "nowhere").await?;
    there.expect_empty(1, &name).await?;
    there.publish(1, "", &name, "there").await?;
    here.expect_empty(1, &name).await?;
    here.publish(1, &name, "k", "here").await?;
    here.take_text(1, &name, "here").await?;
    there.take_text(1, &name, "there").await?;
    there.delete_exchange(1, &name).await?;
    there.delete_queue(1, &name).await?;
    here.inspect_queue(1, &name).await?;
    here.expect_exchange(1, &name).await
}
