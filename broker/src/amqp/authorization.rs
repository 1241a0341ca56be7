//! Whether the user of a connection may do what a method asks for, and when that is looked up anew.
//!
//! ```text
//!   a channel is opened ──────────────────────┐
//!   the connection has rested for a second ───┼──▶ permissions are renewed; if they have changed,
//!   a method asks, a second after the last ───┘    what was remembered of them is forgotten
//! ```
//!
//! RabbitMQ remembers the latest twelve answers of each channel until the channel has rested for about a
//! second (PERM-16). Here the permissions themselves are remembered, by the connection, for no longer than that;
//! only who publishes without a pause, along ways that are known, is not asked again. Consumers are not
//! ended by a change, as there: whoever was let to consume goes on until it cancels.
//!
//! What it is not: the judge. That is [`crate::access::authorization::authorize`].

use leveret_protocol::Fault;

use crate::access::authorization::{Place, Subject, authorize};
use crate::access::operation::Operation;
use crate::amqp::session::{Session, internal_error};
use crate::core::permission::{Part, Resource};

/// How long permissions are remembered by a connection that rests, or asks, in milliseconds. A
/// channel of RabbitMQ forgets what it knows after about as long a rest.
const REMEMBERED_MS: u64 = 1_000;

impl Session {
    /// May the user do this, as far as this part of it is concerned?
    pub(super) fn permit(
        &self,
        operation: Operation,
        part: Part,
        resource: Resource<'_>,
    ) -> Result<(), Fault> {
        let open = self.open.as_ref().ok_or_else(internal_error)?;
        let user = self.user.as_deref().ok_or_else(internal_error)?;
        let place = Place {
            vhost: open.vhost.name(),
            permissions: Some(&open.permissions),
        };
        let judged = authorize(Subject::from(user), place, operation, &[(part, resource)]);
        Ok(judged?)
    }

    /// Bytes have come: what was remembered before a rest is looked up anew.
    pub(super) fn note_input(&mut self) {
        if self.moment.ms_since(self.heard_at) >= REMEMBERED_MS {
            self.renew_permissions();
        }
        self.heard_at = self.moment;
    }

    /// A method is about to ask: what was remembered for long enough is looked up anew.
    pub(super) fn refresh_permissions(&mut self) {
        if self.moment.ms_since(self.permissions_of) >= REMEMBERED_MS {
            self.renew_permissions();
        }
    }
}
