//! What a user may configure, write and read: which operation asks for what, in which order, and in
//! which words it is refused.
//!
//! What it is not: logins and vhosts that nobody may enter (see `connection`).
//!
//! Most tests ask as the user `divided` of the fixtures, who may do with a name what the name itself
//! says: `q-readable-writable` may be read and written, and not configured.

mod bindings;
mod exchanges;
mod messages;
mod order;
mod queues;
mod revoked;
mod topics;
mod vhosts;

use std::fmt::Display;

use leveret_protocol::Method;

use crate::failure::Failure;
use crate::raw::{Handshake, RawConnection, Text};
use crate::registry::Section;
use crate::rules::access::is_permission_named;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete(
    "PERM",
    &[
        queues::RULES,
        exchanges::RULES,
        bindings::RULES,
        messages::RULES,
        order::RULES,
        topics::RULES,
        revoked::RULES,
        vhosts::RULES,
    ],
);

/// The user whose permissions are in the names.
const DIVIDED: &str = "divided";
/// The user who may read and nothing else. Its other patterns are those of the empty name.
const READER: &str = "reader";

/// What is missing, as 4.x says it in front of the text.
#[derive(Clone, Copy)]
enum Need {
    Configure,
    Write,
    Read,
}

impl Need {
    fn word(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

fn queue(name: &str) -> String {
    format!("queue '{name}'")
}

fn exchange(name: &str) -> String {
    format!("exchange '{name}'")
}

/// How refusals begin, by the permission that is missing.
fn told(t: &Trial) -> fn(Need) -> String {
    match is_permission_named(t) {
        true => |need| format!("{} access", need.word()),
        false => |_| "access".to_owned(),
    }
}

/// A user with channel 1 of a connection.
struct Asking {
    raw: RawConnection,
    user: String,
    vhost: String,
    /// What stands in front of `access to`, by the permission that is missing.
    told: fn(Need) -> String,
}

impl Asking {
    async fn of(t: &Trial, user: &str) -> Result<Self, Failure> {
        Self::logged_in(t, &t.login(user)).await
    }

    async fn logged_in(t: &Trial, handshake: &Handshake) -> Result<Self, Failure> {
        let mut raw = t.raw_with(handshake).await?;
        raw.open_channel(1).await?;
        Ok(Self {
            raw,
            user: handshake.user.clone(),
            vhost: handshake.vhost.clone(),
            told: told(t),
        })
    }

    /// The text of PERM-01.
    fn refusal(&self, need: Need, resource: impl Display) -> Text {
        let (user, vhost, access) = (&self.user, &self.vhost, (self.told)(need));
        let resource = format!("{resource} in vhost '{vhost}'");
        Text::from(format!(
            "ACCESS_REFUSED - {access} to {resource} refused for user '{user}'"
        ))
    }

    /// Sends a method that is refused for want of a permission, and opens the channel again.
    async fn expect_refused<'m>(
        &mut self,
        method: impl Into<Method<'m>>,
        need: Need,
        resource: impl Display,
    ) -> Result<(), Failure> {
        let text = self.refusal(need, resource);
        self.expect_fault(method, 403, text).await
    }

    /// Sends a method that closes the channel with this code and text, and opens the channel again.
    async fn expect_fault<'m>(
        &mut self,
        method: impl Into<Method<'m>>,
        code: u16,
        text: impl Into<Text>,
    ) -> Result<(), Failure> {
        let method = method.into();
        let step = |failure: Failure| failure.at(format!("{method:?}"));
        self.raw.send_method(1, method).await?;
        let closed = self.raw.expect_channel_close(1, code, text, method.id());
        closed.await.map_err(step)?;
        self.raw.open_channel(1).await
    }

    /// Publishes where the user may not, and opens the channel again.
    async fn expect_publish_refused(
        &mut self,
        (exchange, routing_key): (&str, &str),
        resource: impl Display,
    ) -> Result<(), Failure> {
        use leveret_protocol::method::basic::Publish;
        let text = self.refusal(Need::Write, resource);
        self.raw.publish(1, exchange, routing_key, "m").await?;
        self.raw
            .expect_channel_close(1, 403, text, Publish::ID)
            .await?;
        self.raw.open_channel(1).await
    }
}
