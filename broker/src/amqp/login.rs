//! Who may connect: logins, vhosts and the limits on connections.
//!
//! Why a login failed is for the log; the client learns only that it did (CONN-13).
//!
//! ```text
//!   start-ok ── PLAIN, AMQPLAIN ───────────────────▶ conclude_login ──▶ tune, or refused
//!       └────── RABBIT-CR-DEMO ─▶ secure ─▶ secure-ok ─────┘
//! ```

use std::sync::Arc;

use leveret_protocol::method::connection;
use leveret_protocol::server::{Failure, Login};
use leveret_protocol::{Fault, ReplyCode, Table};

use crate::access::authorization::{Place, Subject, authorize};
use crate::access::operation::Operation;
use crate::access::{DEMO_CHALLENGE, LoginRefused, Permissions, User};
use crate::amqp::session::{OpenVhost, Session};
use crate::config::AuthMechanism;
use crate::core::vhost::Vhost;
use crate::net::peer::CertificateName;

impl Session {
    pub(super) fn on_login(&mut self, login: &Login<'_>) {
        // The machine lets no other mechanism than the offered ones through.
        let mechanism = AuthMechanism::from_name(login.mechanism);
        let Some(mechanism) = mechanism else {
            return self.machine.refuse(self.now);
        };
        let access = &self.node.access;
        let outcome = match mechanism {
            AuthMechanism::Plain => access.authenticate_plain(login.response, self.is_local()),
            AuthMechanism::AmqPlain => match amqplain(login.response) {
                Some((name, password)) => {
                    access.authenticate_password(name, password, self.is_local())
                }
                None => Err(LoginRefused::Malformed),
            },
            AuthMechanism::External => self.certified_user(),
            AuthMechanism::Anonymous => {
                let name = &self.node.config.anonymous_login_user;
                access.authenticate_name(name, self.is_local())
            }
            AuthMechanism::RabbitCrDemo => return self.ask_for_password(login.response),
        };
        self.conclude_login(mechanism, outcome);
    }

    /// What the client says of itself is not looked at: its certificate has said it (EXTERNAL).
    fn certified_user(&self) -> Result<Arc<User>, LoginRefused> {
        match &self.peer.certificate_name {
            Some(CertificateName::Is(name)) => {
                self.node.access.authenticate_name(name, self.is_local())
            }
            Some(CertificateName::Missing) => Err(LoginRefused::NamelessCertificate),
            Some(CertificateName::NotShown) | None => Err(LoginRefused::NoCertificate),
        }
    }

    /// The first step of RABBIT-CR-DEMO brings the name alone (CONN-14).
    fn ask_for_password(&mut self, name: &[u8]) {
        self.asked_for_password = Some(name.into());
        self.machine.challenge(DEMO_CHALLENGE, self.outbox.buffer());
    }

    /// The second step. Whether anything was asked is the machine's to know.
    pub(super) fn on_secure_ok(&mut self, answer: &[u8]) {
        let Some(name) = self.asked_for_password.take() else {
            return self.machine.refuse(self.now);
        };
        let access = &self.node.access;
        let outcome = access.authenticate_demo(&name, answer, self.is_local());
        self.conclude_login(AuthMechanism::RabbitCrDemo, outcome);
    }

    fn is_local(&self) -> bool {
        self.peer.is_local()
    }

    fn conclude_login(
        &mut self,
        mechanism: AuthMechanism,
        outcome: Result<Arc<User>, LoginRefused>,
    ) {
        match outcome {
            Ok(user) => {
                tracing::debug!(connection = self.id.0, user = user.name(), "logged in");
                self.user = Some(user);
                self.machine.accept_login(self.outbox.buffer());
            }
            Err(LoginRefused::Malformed) => {
                tracing::warn!(connection = self.id.0, peer = %self.peer, "malformed login");
                self.machine.refuse(self.now);
            }
            Err(reason) => {
                tracing::warn!(connection = self.id.0, peer = %self.peer, %reason, "login refused");
                self.machine
                    .refuse_login(mechanism.as_str(), self.now, self.outbox.buffer());
            }
        }
    }

    /// The checks at `connection.open`, in the reference's order (CONN-25).
    pub(super) fn on_open(&mut self, name: &str) -> Result<(), Failure> {
        let exhausted = self.share.check(0);
        exhausted.map_err(|exhausted| Failure {
            channel: 0,
            fault: Fault::from(exhausted).caused_by(connection::Open::ID),
        })?;
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
        let (access, connections) = (&self.node.access, &self.node.connections);
        let vhost = self.node.vhost(name);
        let limit = access.vhost_limits(name).connections_max;
        // A limit may have changed since the login, and counts as it is now.
        let limited = access.user_now(user).unwrap_or_else(|| Arc::clone(user));
        connections.enter(self.id, name, vhost.is_some(), limit, &limited)?;
        self.opened(vhost, user, name).inspect_err(|_| {
            connections.leave(self.id);
        })
    }

    /// Once the connection has been counted, whoever deletes its user or its vhost finds it; so what has been
    /// deleted before is found here.
    fn opened(
        &self,
        vhost: Option<Arc<Vhost>>,
        user: &User,
        name: &str,
    ) -> Result<OpenVhost, String> {
        let vhost = vhost.filter(|vhost| !vhost.is_sealed());
        let vhost = vhost.ok_or_else(|| format!("vhost {name} not found"))?;
        let permissions = self.permissions_now(user, name);
        let place = Place {
            vhost: name,
            permissions: permissions.as_deref(),
        };
        let judged = authorize(Subject::from(user), place, Operation::OpenVhost, &[]);
        judged.map_err(|denied| denied.to_string())?;
        Ok(OpenVhost {
            writable: None,
            vhost,
            permissions: permissions.unwrap_or_else(Permissions::nothing),
        })
    }

    /// What a user who has logged in may do in a vhost by now: nothing if it was deleted.
    fn permissions_now(&self, user: &User, vhost: &str) -> Option<Arc<Permissions>> {
        let access = &self.node.access;
        let user = access.user_now(user)?;
        access.permissions(&user, vhost).cloned()
    }

    /// What the user may do by now: a channel that is opened asks anew (PERM-16).
    pub(super) fn renew_permissions(&mut self) {
        self.permissions_of = self.moment;
        let (Some(open), Some(user)) = (&self.open, &self.user) else {
            return;
        };
        let now = self.permissions_now(user, open.vhost.name());
        // Whoever has lost the right to the vhost stays in it, and may do nothing there.
        let now = now.unwrap_or_else(Permissions::nothing);
        if let Some(open) = self.open.as_mut()
            && !Arc::ptr_eq(&now, &open.permissions)
        {
            open.permissions = now;
            open.writable = None;
            // A route is remembered of an exchange that the user might write to.
            self.routes.clear();
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
