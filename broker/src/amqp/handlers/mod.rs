//! What each method on an open channel does, one file per class.
//!
//! A handler checks, calls the core, and writes the answer, which waits if it promises what the store
//! has yet to commit; a fault it returns is blamed on the method and answered in one place
//! (`Session::fail`).

mod basic;
mod channel;
mod confirm;
mod exchange;
mod queue;
mod tx;

use leveret_protocol::{Fault, Method, ReplyCode, ShortStr};

use crate::access::permission_name;
use crate::amqp::session::{Session, internal_error};
use crate::core::permission::{Permission, Resource};

/// Handles any method but publish, ack, nack and reject.
pub(super) fn on_method(
    session: &mut Session,
    number: u16,
    method: Method<'_>,
) -> Result<(), Fault> {
    match method {
        Method::Channel(method) => channel::on_method(session, number, method),
        Method::Access(method) => channel::on_access(session, number, method),
        Method::Exchange(method) => exchange::on_method(session, number, method),
        Method::Queue(method) => queue::on_method(session, number, method),
        Method::Basic(method) => basic::on_method(session, number, method),
        Method::Confirm(method) => confirm::on_method(session, number, method),
        Method::Tx(method) => tx::on_method(session, number, method),
        Method::Connection(_) => Err(unimplemented_method()),
    }
}

/// A method that only a server sends, or that belongs to channel 0 (CHAN-14, CONN-39).
fn unimplemented_method() -> Fault {
    Fault::new(ReplyCode::CommandInvalid, "unimplemented method")
}

/// The text of a short string; the protocol machine has checked that it is UTF-8 (FRAME-06).
fn text(string: ShortStr<'_>) -> &str {
    string.as_text().unwrap_or_default()
}

impl Session {
    /// May the user do this? Answers as the rules of declarations ask it.
    fn permit(&self, permission: Permission, resource: Resource<'_>) -> Result<(), Fault> {
        let open = self.open.as_ref().ok_or_else(internal_error)?;
        let (kind, name) = match resource {
            Resource::Queue(name) => ("queue", name),
            Resource::Exchange(name) => ("exchange", permission_name(name)),
            Resource::Topic {
                exchange,
                routing_key,
            } => return self.permit_topic(exchange, routing_key),
        };
        let allowed = match permission {
            Permission::Configure => open.permissions.may_configure(name),
            Permission::Write => open.permissions.may_write(name),
            Permission::Read => open.permissions.may_read(name),
        };
        if allowed {
            Ok(())
        } else {
            Err(self.access_refused(kind, name))
        }
    }

    /// May the user bind with this key of a topic exchange (PERM-13)?
    fn permit_topic(&self, exchange: &str, key: &[u8]) -> Result<(), Fault> {
        let open = self.open.as_ref().ok_or_else(internal_error)?;
        match open.permissions.may_read_topic(exchange, key) {
            true => Ok(()),
            false => Err(self.topic_refused(exchange, key)),
        }
    }

    /// The text of a refused key (PERM-13).
    pub(super) fn topic_refused(&self, exchange: &str, key: &[u8]) -> Fault {
        let key = String::from_utf8_lossy(key);
        self.access_refused("topic", &format!("{key}' in exchange '{exchange}"))
    }

    /// The text of a refused permission (PERM-01).
    pub(super) fn access_refused(&self, kind: &str, name: &str) -> Fault {
        let vhost = self.open.as_ref().map_or("", |open| open.vhost.name());
        let user = self.user.as_ref().map_or("", |user| user.name());
        let text =
            format!("access to {kind} '{name}' in vhost '{vhost}' refused for user '{user}'");
        Fault::new(ReplyCode::AccessRefused, text)
    }
}
