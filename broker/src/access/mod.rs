//! Who may log in and what each user may do: users, passwords, tags, limits and permissions, and which
//! vhosts there are.
//!
//! ```text
//!   configuration ─┐
//!   data directory ┼─▶ Beginning ─▶ Access ◀── AccountChange, judged by rules.rs ◀── the operator
//!   definitions ───┘                  │
//!                                     └──▶ logins, vhosts that are opened, channels that are opened
//! ```
//!
//! What it is not: it counts no connection or channel, writes nothing down and, but for the threads of the
//! verifier, reads no clock. The caller enforces the limits, waits before it closes a refused
//! connection, and tells the client.
//!
//! Invariants: an empty password is never right. A user bound to loopback is refused elsewhere
//! with the right password too. Nothing here shows a password. What belongs to the configuration does not
//! change while the broker runs.

pub mod authorization;
mod beginning;
mod login;
pub mod operation;
mod permissions;
pub mod request;
mod rules;
pub mod sasl;
mod topics;
mod user;
mod variables;
mod verified;
pub(crate) mod verifier;
pub(crate) mod waiting_line;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use thiserror::Error;

use crate::config::{Config, UserConfig, VhostConfig};

pub(crate) use beginning::{Beginning, Configured, Kept, hashed};
pub use login::LoginRefused;
pub(crate) use login::PendingLogin;
pub use permissions::{PATTERN_BYTES_MAX, Pattern, PatternError, Permissions, permission_name};
pub use rules::AccountError;
pub(crate) use rules::{check_name, user_noun, vhost_noun};
use user::Birth;
pub use user::User;

/// The users and vhosts of one broker. They can change while it runs; a connection keeps what
/// its user was when it logged in, but for the permissions, which it looks up for each channel it opens.
#[derive(Debug)]
pub struct Access {
    loopback_users: Vec<String>,
    configured: Configured,
    accounts: RwLock<Accounts>,
}

#[derive(Debug, Default)]
struct Accounts {
    users: HashMap<String, Arc<User>>,
    vhosts: BTreeMap<String, Arc<VhostConfig>>,
    births: u64,
}

/// One user or vhost as it is to be from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccountChange {
    PutUser(UserConfig),
    DeleteUser(String),
    PutVhost(VhostConfig),
    DeleteVhost(String),
}

/// Changes that are allowed, ready to be taken over.
#[derive(Debug)]
pub(crate) struct Judged(Vec<JudgedChange>);

#[derive(Debug)]
enum JudgedChange {
    PutUser(User),
    DeleteUser(String),
    PutVhost(VhostConfig),
    DeleteVhost(String),
}

/// The limits of one user. `None` means no limit and 0 allows none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserLimits {
    /// Connections at once (CONN-22).
    pub connections_max: Option<u32>,
    /// Channels at once, over all connections (TUNE-09).
    pub channels_max: Option<u32>,
}

/// The limits of one vhost. `None` means no limit and 0 allows none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VhostLimits {
    /// Connections at once (CONN-21).
    pub connections_max: Option<u32>,
    /// Queues at once (QUEUE-30).
    pub queues_max: Option<u32>,
    /// Exchanges at once, the predeclared ones included.
    pub exchanges_max: Option<u32>,
    /// Bindings at once.
    pub bindings_max: Option<u32>,
}

impl VhostLimits {
    /// The limits of a vhost that is written like this.
    #[must_use]
    pub fn of(vhost: &VhostConfig) -> Self {
        Self {
            connections_max: vhost.connections_max,
            queues_max: vhost.queues_max,
            exchanges_max: vhost.exchanges_max,
            bindings_max: vhost.bindings_max,
        }
    }

    pub(crate) fn write_to(self, vhost: &mut VhostConfig) {
        vhost.connections_max = self.connections_max;
        vhost.queues_max = self.queues_max;
        vhost.exchanges_max = self.exchanges_max;
        vhost.bindings_max = self.bindings_max;
    }
}

/// A configuration whose users cannot be served. A configuration that was validated has none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AccessError {
    /// A permission is not a pattern.
    #[error("user {user:?}, vhost {vhost:?}, {permission} permission: expected {reason}")]
    Pattern {
        /// Whose permission.
        user: String,
        /// In which vhost.
        vhost: String,
        /// `configure`, `write` or `read`, for a topic permission with its exchange.
        permission: String,
        /// Why it is none.
        reason: PatternError,
    },
}

impl Access {
    /// Takes over what a broker with this configuration and nothing else begins with.
    ///
    /// # Errors
    /// The first permission that is not a pattern.
    pub fn new(config: &Config) -> Result<Self, AccessError> {
        Self::with(config, Beginning::of(config, Kept::default()))
    }

    /// Takes over what a broker begins with.
    ///
    /// # Errors
    /// The first permission that is not a pattern.
    pub(crate) fn with(config: &Config, beginning: Beginning) -> Result<Self, AccessError> {
        let access = Self {
            loopback_users: config.loopback_users.clone(),
            configured: beginning.configured,
            accounts: RwLock::default(),
        };
        let users = beginning.users.into_iter().map(AccountChange::PutUser);
        let vhosts = beginning.vhosts.into_iter().map(AccountChange::PutVhost);
        let changes: Vec<_> = users.chain(vhosts).collect();
        access.take(access.judge(&changes)?);
        Ok(access)
    }

    /// Compiles what is to be from now on. Whoever does so sees to it that nobody else changes anything until
    /// it is taken over.
    ///
    /// # Errors
    /// The first permission that is not a pattern; then nothing is to change.
    pub(crate) fn judge(&self, changes: &[AccountChange]) -> Result<Judged, AccessError> {
        let mut births = self.accounts().births;
        let judged = changes.iter().map(|change| {
            Ok(match change {
                AccountChange::PutUser(config) => {
                    let earlier = self.user(&config.name);
                    births += 1;
                    let birth = earlier.as_ref().map_or(Birth(births), |user| user.birth);
                    let is_loopback = self.loopback_users.contains(&config.name);
                    let user = User::new(config.clone(), is_loopback, birth, earlier.as_deref());
                    JudgedChange::PutUser(user?)
                }
                AccountChange::DeleteUser(name) => JudgedChange::DeleteUser(name.clone()),
                AccountChange::PutVhost(config) => JudgedChange::PutVhost(config.clone()),
                AccountChange::DeleteVhost(name) => JudgedChange::DeleteVhost(name.clone()),
            })
        });
        judged.collect::<Result<_, _>>().map(Judged)
    }

    /// What was judged holds from now on, all of it at once.
    pub(crate) fn take(&self, judged: Judged) {
        let mut accounts = self
            .accounts
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        judged.0.into_iter().for_each(|one| accounts.take(one));
    }

    /// What belongs to the configuration.
    pub(crate) fn configured(&self) -> &Configured {
        &self.configured
    }

    /// The user of this name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<Arc<User>> {
        self.accounts().users.get(name).cloned()
    }

    /// What has become of a user who has logged in: `None` if it was deleted since, also if there is another
    /// of the same name.
    #[must_use]
    pub fn user_now(&self, user: &User) -> Option<Arc<User>> {
        let found = self.user(user.name());
        found.filter(|found| found.birth == user.birth)
    }

    /// What a user may do in a vhost; `None` refuses the vhost altogether (CONN-19).
    #[must_use]
    pub fn permissions<'a>(&self, user: &'a User, vhost: &str) -> Option<&'a Arc<Permissions>> {
        user.permissions.get(vhost)
    }

    /// The vhost of this name.
    #[must_use]
    pub fn vhost(&self, name: &str) -> Option<Arc<VhostConfig>> {
        self.accounts().vhosts.get(name).cloned()
    }

    /// The limits of a vhost; one that there is not has none.
    #[must_use]
    pub fn vhost_limits(&self, vhost: &str) -> VhostLimits {
        let accounts = self.accounts();
        let found = accounts.vhosts.get(vhost);
        found
            .map(|found| VhostLimits::of(found))
            .unwrap_or_default()
    }

    /// All users, by name.
    #[must_use]
    pub fn all_users(&self) -> Vec<Arc<User>> {
        let mut users: Vec<_> = self.accounts().users.values().cloned().collect();
        users.sort_by(|one, other| one.name().cmp(other.name()));
        users
    }

    /// All users as a configuration would have them, by name.
    #[must_use]
    pub fn users(&self) -> Vec<UserConfig> {
        let users = self.all_users().into_iter();
        users.map(|user| user.config.clone()).collect()
    }

    /// All vhosts as a configuration would have them, by name.
    #[must_use]
    pub fn vhosts(&self) -> Vec<VhostConfig> {
        let accounts = self.accounts();
        let vhosts = accounts.vhosts.values();
        vhosts.map(|vhost| (**vhost).clone()).collect()
    }

    fn accounts(&self) -> RwLockReadGuard<'_, Accounts> {
        // Each entry is replaced as a whole.
        self.accounts.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    fn take(&mut self, change: JudgedChange) {
        match change {
            JudgedChange::PutUser(user) => {
                self.births = self.births.max(user.birth.0);
                self.users.insert(user.name().to_owned(), Arc::new(user));
            }
            JudgedChange::DeleteUser(name) => {
                self.users.remove(&name);
            }
            JudgedChange::PutVhost(vhost) => {
                self.vhosts.insert(vhost.name.clone(), Arc::new(vhost));
            }
            JudgedChange::DeleteVhost(name) => {
                self.vhosts.remove(&name);
            }
        }
    }
}

/// Whether a peer at this address counts as local. An IPv4 address inside an IPv6 one counts as
/// the IPv4 address, since that is how a socket for both shows it.
#[must_use]
pub fn is_loopback(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests;
