//! Who may connect: logins, vhosts and the limits on connections.
//!
//! Why a login failed is for the log; the client learns only that it did (CONN-13).

use std::sync::Arc;

use leveret_protocol::method::connection;
use leveret_protocol::server::{Failure, Login};
use leveret_protocol::{Fault, ReplyCode, Table};

use crate::access::{LoginRefused, Mechanism, User, is_loopback};
use crate::amqp::session::{OpenVhost, Session};

impl Session {
    pub(super) fn on_login(&mut self, login: &Login<'_>) {
        match self.authenticate(login) {
            Ok(user) => {
                tracing::debug!(connection = self.id.0, user = user.name(), "logged in");
                self.impersonator = user.has_tag("impersonator");
                self.user = Some(user);
                self.machine.accept_login(self.outbox.buffer());
            }
            Err(LoginRefused::Malformed) => {
                tracing::warn!(connection = self.id.0, peer = ?self.peer, "malformed login");
                self.machine.refuse(self.now);
            }
            Err(reason) => {
                tracing::warn!(connection = self.id.0, peer = ?self.peer, %reason, "login refused");
                self.machine
                    .refuse_login(login.mechanism, self.now, self.outbox.buffer());
            }
        }
    }

    fn authenticate(&self, login: &Login<'_>) -> Result<Arc<User>, LoginRefused> {
        // A stream without an address is a pipe inside this process.
        let local = self.peer.is_none_or(|peer| is_loopback(peer.ip()));
        let access = &self.node.access;
        match login.mechanism {
            "PLAIN" => access.authenticate(Mechanism::Plain, login.response, local),
            _ => {
                let (name, password) = amqplain(login.response).ok_or(LoginRefused::Malformed)?;
                access.authenticate_password(name, password, local)
            }
        }
    }

    /// The checks at `connection.open`, in the reference's order (CONN-25).
    pub(super) fn on_open(&mut self, name: &str) -> Result<(), Failure> {
        let opened = self.check_open(name).map_err(|text| {
            let fault = Fault::new(ReplyCode::NotAllowed, text).caused_by(connection::Open::ID);
            Failure { channel: 0, fault }
        })?;
        self.open = Some(opened);
        self.machine.accept_open(self.outbox.buffer());
        Ok(())
    }

    fn check_open(&self, name: &str) -> Result<OpenVhost, String> {
        let user = self
            .user
            .as_ref()
            .ok_or_else(|| "not logged in".to_owned())?;
        let vhost = self.node.vhost(name);
        let limit = self.node.access.vhost_limits(name).connections_max;
        self.node
            .connections
            .enter(name, vhost.is_some(), limit, user)?;
        let permissions = self.node.access.permissions(user, name);
        match (vhost, permissions) {
            (Some(vhost), Some(permissions)) => Ok(OpenVhost {
                writable: None,
                vhost,
                permissions: Arc::clone(permissions),
            }),
            _ => {
                self.node.connections.leave(name, Some(user));
                Err(format!(
                    "access to vhost '{name}' refused for user '{}'",
                    user.name()
                ))
            }
        }
    }

    /// What the user may do by now: a channel that is opened asks anew (PERM-16).
    pub(super) fn renew_permissions(&mut self) {
        let (Some(open), Some(user)) = (&mut self.open, &self.user) else {
            return;
        };
        let access = &self.node.access;
        let Some(user) = access.user(user.name()) else {
            return;
        };
        // Neither a user nor its record in a vhost goes while the broker runs.
        match access.permissions(&user, open.vhost.name()) {
            Some(permissions) if !Arc::ptr_eq(permissions, &open.permissions) => {
                open.permissions = Arc::clone(permissions);
                open.writable = None;
                // A route is remembered of an exchange that the user might write to.
                self.routes.clear();
            }
            _ => {}
        }
    }
}

/// AMQPLAIN: a field table without its length, with LOGIN and PASSWORD (CONN-10).
fn amqplain(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let table = Table::parse(response).ok()?;
    let name = table.get("LOGIN")?.as_long_str()?;
    let password = table.get("PASSWORD")?.as_long_str()?;
    Some((name, password))
}
