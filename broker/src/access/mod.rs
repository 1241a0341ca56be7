//! Who may log in and what each user may do: users, passwords, tags, limits and permissions.
//!
//! What it is not: it decodes no frame but the response of PLAIN, counts no connection or channel,
//! and reads no clock. The caller enforces the limits, waits before it closes a refused
//! connection, and tells the client.
//!
//! Invariants: an empty password is never right. A user bound to loopback is refused elsewhere
//! with the right password too. Nothing here shows a password.

mod login;
mod permissions;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::config::{Config, Password, UserConfig};

pub use login::{LoginRefused, Mechanism};
pub use permissions::{PATTERN_BYTES_MAX, Pattern, PatternError, Permissions, permission_name};

/// The users and vhost limits of one broker.
#[derive(Debug)]
pub struct Access {
    users: HashMap<String, Arc<User>>,
    vhosts: HashMap<String, VhostLimits>,
}

/// One user as others may see it.
#[derive(Debug)]
pub struct User {
    name: String,
    password: Password,
    tags: Vec<String>,
    loopback_only: bool,
    connections_max: Option<u32>,
    channels_max: Option<u32>,
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
        /// `configure`, `write` or `read`.
        permission: &'static str,
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
        let users = config.users.iter().map(|user| {
            let loopback_only = config.loopback_users.contains(&user.name);
            let user_entry = User::new(user, loopback_only)?;
            Ok((user.name.clone(), Arc::new(user_entry)))
        });
        Ok(Self {
            users: users.collect::<Result<_, AccessError>>()?,
            vhosts: vhosts(config),
        })
    }

    /// The user of this name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// What a user may do in a vhost; `None` refuses the vhost altogether (CONN-19).
    #[must_use]
    pub fn permissions<'a>(&self, user: &'a User, vhost: &str) -> Option<&'a Arc<Permissions>> {
        user.permissions.get(vhost)
    }

    /// The limits of a vhost; a vhost without an entry has none.
    #[must_use]
    pub fn vhost_limits(&self, vhost: &str) -> VhostLimits {
        self.vhosts.get(vhost).copied().unwrap_or_default()
    }
}

impl User {
    fn new(config: &UserConfig, loopback_only: bool) -> Result<Self, AccessError> {
        let permissions = config.permissions.iter().map(|entry| {
            let permissions = Permissions::new(&entry.configure, &entry.write, &entry.read);
            let permissions = permissions.map_err(|(permission, reason)| AccessError::Pattern {
                user: config.name.clone(),
                vhost: entry.vhost.clone(),
                permission,
                reason,
            })?;
            Ok((entry.vhost.clone(), Arc::new(permissions)))
        });
        Ok(Self {
            name: config.name.clone(),
            password: config.password.clone(),
            tags: config.tags.clone(),
            loopback_only,
            connections_max: config.connections_max,
            channels_max: config.channels_max,
            permissions: permissions.collect::<Result<_, _>>()?,
        })
    }

    /// The name that the user logs in with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tags, for instance `administrator`.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Whether the user has this tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }

    /// Connections of this user at once (CONN-22). `None` means no limit and 0 allows none.
    #[must_use]
    pub fn connections_max(&self) -> Option<u32> {
        self.connections_max
    }

    /// Channels of this user at once (TUNE-09). `None` means no limit and 0 allows none.
    #[must_use]
    pub fn channels_max(&self) -> Option<u32> {
        self.channels_max
    }
}

/// Whether a peer at this address counts as local. An IPv4 address inside an IPv6 one counts as
/// the IPv4 address, since that is how a socket for both shows it.
#[must_use]
pub fn is_loopback(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

fn vhosts(config: &Config) -> HashMap<String, VhostLimits> {
    let limited = config.vhosts.iter().map(|vhost| {
        let limits = VhostLimits {
            connections_max: vhost.connections_max,
            queues_max: vhost.queues_max,
        };
        (vhost.name.clone(), limits)
    });
    limited.collect()
}

#[cfg(test)]
mod tests;
