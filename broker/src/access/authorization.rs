//! May this user do that here? The one function that every front end asks.
//!
//! ```text
//!   core: "now about the source"  ──▶ (Part, Resource) ─┐
//!   front end: which operation    ──▶ Operation ────────┼─▶ authorize ──▶ Ok, or Denied
//!   login and vhost               ──▶ Subject, Place ───┘       ▲
//!                                                               └─ the table of operations
//! ```
//!
//! What it is not: it keeps nothing, locks nothing and knows no connection. Whoever asks often remembers the
//! answer, and forgets it when the permissions are renewed.
//!
//! Invariants: what the table does not know is refused. A refusal says no more than whose it is and what of.

use std::fmt;

use leveret_protocol::{Fault, ReplyCode};

use super::operation::{Need, Operation, Permission, Tag};
use super::{Permissions, User, permission_name};
use crate::core::permission::{Part, Resource};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The name it has logged in with.
    pub name: &'a str,
    /// Its tags.
    pub tags: &'a [String],
}

impl<'a> From<&'a User> for Subject<'a> {
    fn from(user: &'a User) -> Self {
        let (name, tags) = (user.name(), user.tags());
        Self { name, tags }
    }
}

impl Subject<'_> {
    fn has(&self, tag: Tag) -> bool {
        let enough = tag.standing_in();
        let mut own = self.tags.iter();
        own.any(|own| enough.iter().any(|tag| tag.as_str() == own))
    }
}

/// Where: a vhost, and what the user may do there. For what concerns no vhost, a place without a name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// The vhost's name.
    pub vhost: &'a str,
    /// The user's record in it; none refuses everything that takes one.
    pub permissions: Option<&'a Permissions>,
}

/// Judges an operation: the needs that concern no part, and those that concern the parts that are asked about.
/// A front end that follows the core's questions asks part by part; one that knows all beforehand asks at once.
///
/// # Errors
/// The first need that is not met, in the order of the table.
pub fn authorize(
    subject: Subject<'_>,
    place: Place<'_>,
    operation: Operation,
    resources: &[(Part, Resource<'_>)],
) -> Result<(), Denied> {
    let inquiry = Inquiry { subject, place };
    for (part, resource) in resources {
        if !operation.has_part(*part) {
            return Err(inquiry.denied(Reason::of(*resource)));
        }
    }
    let mut needs = operation.needs().iter();
    needs.try_for_each(|need| inquiry.check(*need, resources))
}

/// One question with who asks it.
struct Inquiry<'a> {
    subject: Subject<'a>,
    place: Place<'a>,
}

impl Inquiry<'_> {
    fn check(&self, need: Need, resources: &[(Part, Resource<'_>)]) -> Result<(), Denied> {
        match need {
            Need::Vhost => self.check_vhost(),
            Need::VhostOr(tag) if self.subject.has(tag) => Ok(()),
            Need::VhostOr(_) => self.check_vhost(),
            Need::Tag(tag) if self.subject.has(tag) => Ok(()),
            Need::Tag(tag) => Err(self.denied(Reason::Tag(tag))),
            Need::PermissionOr(_, _, tag) if self.subject.has(tag) => Ok(()),
            Need::Permission(permission, part) | Need::PermissionOr(permission, part, _) => {
                let mut asked = playing(part, resources);
                asked.try_for_each(|resource| self.check_permission(permission, resource))
            }
            Need::OwnOr(tag) | Need::SelfOr(tag) if self.subject.has(tag) => Ok(()),
            // A message need not name its user; a connection is somebody's, and who is to be said.
            Need::OwnOr(_) if playing(Part::Owner, resources).next().is_none() => {
                Err(self.denied(Reason::NotOwn))
            }
            Need::OwnOr(_) => self.check_self(Part::Owner, resources),
            Need::SelfOr(_) => self.check_self(Part::UserId, resources),
            Need::Unlocked => Ok(()),
        }
    }

    fn check_vhost(&self) -> Result<(), Denied> {
        match self.place.permissions {
            Some(_) => Ok(()),
            None => Err(self.denied(Reason::Vhost)),
        }
    }

    fn check_permission(
        &self,
        permission: Permission,
        resource: Resource<'_>,
    ) -> Result<(), Denied> {
        let record = self.place.permissions;
        match record.is_some_and(|record| allows(record, permission, resource)) {
            true => Ok(()),
            false => Err(self.denied(Reason::of(resource))),
        }
    }

    fn check_self(&self, part: Part, resources: &[(Part, Resource<'_>)]) -> Result<(), Denied> {
        let own = Resource::User(self.subject.name.as_bytes());
        let other = playing(part, resources).find(|resource| *resource != own);
        match (other, part) {
            (None, _) => Ok(()),
            (Some(Resource::User(claimed)), Part::UserId) => {
                let claimed = String::from_utf8_lossy(claimed).into_owned();
                Err(self.denied(Reason::UserId { claimed }))
            }
            (Some(other), _) => Err(self.denied(Reason::of(other))),
        }
    }

    fn denied(&self, reason: Reason) -> Denied {
        Denied {
            user: self.subject.name.to_owned(),
            vhost: self.place.vhost.to_owned(),
            reason,
        }
    }
}

fn playing<'r>(
    part: Part,
    resources: &'r [(Part, Resource<'r>)],
) -> impl Iterator<Item = Resource<'r>> {
    let playing = resources.iter().filter(move |(played, _)| *played == part);
    playing.map(|(_, resource)| *resource)
}

fn allows(record: &Permissions, permission: Permission, resource: Resource<'_>) -> bool {
    let name = match resource {
        Resource::Queue(name) => name,
        Resource::Exchange(name) => permission_name(name),
        Resource::Topic {
            exchange,
            routing_key,
        } => return allows_key(record, permission, exchange, routing_key),
        Resource::User(_) => return false,
    };
    match permission {
        Permission::Configure => record.may_configure(name),
        Permission::Write => record.may_write(name),
        Permission::Read => record.may_read(name),
    }
}

/// There is nothing to configure about a key.
fn allows_key(record: &Permissions, permission: Permission, exchange: &str, key: &[u8]) -> bool {
    match permission {
        Permission::Configure => false,
        Permission::Write => record.may_write_topic(exchange, key),
        Permission::Read => record.may_read_topic(exchange, key),
    }
}

/// A refusal. Its text is what clients are told (PERM-01).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Whom.
    pub user: String,
    /// Where.
    pub vhost: String,
    /// What is missing.
    pub reason: Reason,
}

/// What is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A record of permissions in the vhost.
    Vhost,
    /// A permission on a queue, or the operation asks about none.
    Queue(String),
    /// A permission on an exchange, or the operation asks about none.
    Exchange(String),
    /// A permission on a key of a topic exchange.
    Topic {
        /// The topic exchange.
        exchange: String,
        /// The key, in UTF-8.
        routing_key: String,
    },
    /// A message is in another user's name.
    UserId {
        /// That user.
        claimed: String,
    },
    /// What is asked for is another user's.
    NotOwn,
    /// This tag, or one that includes it.
    Tag(Tag),
}

impl Reason {
    fn of(resource: Resource<'_>) -> Self {
        match resource {
            Resource::Queue(name) => Self::Queue(name.to_owned()),
            Resource::Exchange(name) => Self::Exchange(permission_name(name).to_owned()),
            Resource::Topic {
                exchange,
                routing_key,
            } => Self::Topic {
                exchange: exchange.to_owned(),
                routing_key: String::from_utf8_lossy(routing_key).into_owned(),
            },
            Resource::User(_) => Self::NotOwn,
        }
    }
}

impl Denied {
    /// The code that an AMQP client is told with the text.
    #[must_use]
    pub const fn reply_code(&self) -> ReplyCode {
        match self.reason {
            Reason::Vhost => ReplyCode::NotAllowed,
            Reason::UserId { .. } => ReplyCode::PreconditionFailed,
            Reason::Queue(_)
            | Reason::Exchange(_)
            | Reason::Topic { .. }
            | Reason::NotOwn
            | Reason::Tag(_) => ReplyCode::AccessRefused,
        }
    }
}

impl std::error::Error for Denied {}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            vhost,
            reason,
        } = self;
        match reason {
            Reason::Vhost => write!(f, "access to vhost '{vhost}' refused for user '{user}'"),
            Reason::Queue(name) => write!(
                f,
                "access to queue '{name}' in vhost '{vhost}' refused for user '{user}'"
            ),
            Reason::Exchange(name) => write!(
                f,
                "access to exchange '{name}' in vhost '{vhost}' refused for user '{user}'"
            ),
            Reason::Topic {
                exchange,
                routing_key,
            } => write!(
                f,
                "access to topic '{routing_key}' in exchange '{exchange}' in vhost '{vhost}' refused \
                 for user '{user}'"
            ),
            Reason::UserId { claimed } => write!(
                f,
                "user_id property set to '{claimed}' but authenticated user was '{user}'"
            ),
            Reason::NotOwn => write!(
                f,
                "access to what is another user's refused for user '{user}'"
            ),
            Reason::Tag(tag) => write!(f, "user '{user}' lacks the tag '{}'", tag.as_str()),
        }
    }
}

impl From<Denied> for Fault {
    fn from(denied: Denied) -> Self {
        Self::new(denied.reply_code(), denied.to_string())
    }
}

#[cfg(test)]
mod tests;
