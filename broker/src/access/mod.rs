//! Who may log in and what each user may do: users, passwords, tags, limits and permissions.
//!
//! What it is not: it decodes no field table (AMQPLAIN is for the front end), counts no connection or channel,
//! and reads no clock. The caller enforces the limits, waits before it closes a refused
//! connection, and tells the client.
//!
//! Invariants: an empty password is never right. A user bound to loopback is refused elsewhere
//! with the right password too. Nothing here shows a password.

pub mod authorization;
mod login;
pub mod operation;
mod permissions;
pub mod request;
mod topics;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use thiserror::Error;

use crate::config::{Config, UserConfig, VhostConfig};

pub use login::{DEMO_CHALLENGE, LoginRefused};
pub use permissions::{PATTERN_BYTES_MAX, Pattern, PatternError, Permissions, permission_name};
use topics::TopicPermissions;
pub(crate) use topics::filled_in;

/// The users and vhost limits of one broker. They can be replaced while it runs; a connection keeps what
/// its user was when it logged in, but for the permissions, which it looks up for each channel it opens.
#[derive(Debug)]
pub struct Access {
    loopback_users: Vec<String>,
    accounts: RwLock<Accounts>,
}

#[derive(Debug)]
struct Accounts {
    users: HashMap<String, Arc<User>>,
    vhosts: Vec<VhostConfig>,
}

/// One user as others may see it.
#[derive(Debug)]
pub struct User {
    config: UserConfig,
    loopback_only: bool,
    permissions: HashMap<String, Arc<Permissions>>,
}

/// The limits of one vhost. `None` means no limit and 0 allows none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VhostLimits {
    /// Connections at once (CONN-21).
    pub connections_max: Option<u32>,
    /// Queues at once (QUEUE-30).
    pub queues_max: Option<u32>,
}

/// A configuration whose users cannot be served. A configuration that was validated has none.
#[derive(Debug, Error)]
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
    /// Takes over users, permissions and limits.
    ///
    /// # Errors
    /// The first permission that is not a pattern.
    pub fn new(config: &Config) -> Result<Self, AccessError> {
        let loopback_users = config.loopback_users.clone();
        let accounts = Accounts::new(&config.users, &config.vhosts, &loopback_users)?;
        Ok(Self {
            loopback_users,
            accounts: RwLock::new(accounts),
        })
    }

    /// Other users, permissions and limits from now on.
    ///
    /// # Errors
    /// The first permission that is not a pattern; then nothing has changed.
    pub fn replace(&self, users: &[UserConfig], vhosts: &[VhostConfig]) -> Result<(), AccessError> {
        let accounts = Accounts::new(users, vhosts, &self.loopback_users)?;
        *self
            .accounts
            .write()
            .unwrap_or_else(PoisonError::into_inner) = accounts;
        Ok(())
    }

    /// The user of this name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<Arc<User>> {
        self.accounts().users.get(name).cloned()
    }

    /// What a user may do in a vhost; `None` refuses the vhost altogether (CONN-19).
    #[must_use]
    pub fn permissions<'a>(&self, user: &'a User, vhost: &str) -> Option<&'a Arc<Permissions>> {
        user.permissions.get(vhost)
    }

    /// The limits of a vhost; a vhost without an entry has none.
    #[must_use]
    pub fn vhost_limits(&self, vhost: &str) -> VhostLimits {
        let accounts = self.accounts();
        let found = accounts.vhosts.iter().find(|entry| entry.name == vhost);
        let limits = |entry: &VhostConfig| VhostLimits {
            connections_max: entry.connections_max,
            queues_max: entry.queues_max,
        };
        found.map(limits).unwrap_or_default()
    }

    /// All users as a configuration would have them, by name.
    #[must_use]
    pub fn users(&self) -> Vec<UserConfig> {
        let accounts = self.accounts();
        let mut users: Vec<_> = accounts.users.values().map(|u| u.config.clone()).collect();
        users.sort_by(|one, other| one.name.cmp(&other.name));
        users
    }

    /// The vhosts that a configuration said something about.
    #[must_use]
    pub fn vhosts(&self) -> Vec<VhostConfig> {
        self.accounts().vhosts.clone()
    }

    fn accounts(&self) -> RwLockReadGuard<'_, Accounts> {
        // It is only ever replaced as a whole.
        self.accounts.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    fn new(
        users: &[UserConfig],
        vhosts: &[VhostConfig],
        loopback_users: &[String],
    ) -> Result<Self, AccessError> {
        let users = users.iter().map(|user| {
            let loopback_only = loopback_users.contains(&user.name);
            let user_entry = User::new(user, loopback_only)?;
            Ok((user.name.clone(), Arc::new(user_entry)))
        });
        Ok(Self {
            users: users.collect::<Result<_, AccessError>>()?,
            vhosts: vhosts.to_vec(),
        })
    }
}

impl User {
    fn new(config: &UserConfig, loopback_only: bool) -> Result<Self, AccessError> {
        let permissions = config.permissions.iter().map(|entry| {
            let refused = |vhost: &str, permission: String, reason| AccessError::Pattern {
                user: config.name.clone(),
                vhost: vhost.to_owned(),
                permission,
                reason,
            };
            let permissions = Permissions::new(&entry.configure, &entry.write, &entry.read);
            let permissions = permissions
                .map_err(|(which, reason)| refused(&entry.vhost, which.to_owned(), reason))?;
            let topics = TopicPermissions::new(config, &entry.vhost)
                .map_err(|(which, reason)| refused(&entry.vhost, which, reason))?;
            let permissions = permissions.with_topics(topics);
            Ok((entry.vhost.clone(), Arc::new(permissions)))
        });
        Ok(Self {
            loopback_only,
            permissions: permissions.collect::<Result<_, _>>()?,
            config: config.clone(),
        })
    }

    /// The name that the user logs in with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The tags, for instance `administrator`.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.config.tags
    }

    /// Whether the user has this tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.config.tags.iter().any(|own| own == tag)
    }

    /// Connections of this user at once (CONN-22). `None` means no limit and 0 allows none.
    #[must_use]
    pub fn connections_max(&self) -> Option<u32> {
        self.config.connections_max
    }

    /// Channels of this user at once (TUNE-09). `None` means no limit and 0 allows none.
    #[must_use]
    pub fn channels_max(&self) -> Option<u32> {
        self.config.channels_max
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
