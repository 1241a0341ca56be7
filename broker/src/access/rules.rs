//! What may become of users and vhosts, and what it leads to.
//!
//! What it is not: it changes nothing; [`AccountChange`]s come out of it, which are then written down and
//! taken over together. Patterns are judged by [`Access::judge`].
//!
//! Invariant: whatever belongs to the configuration is refused by its name.

use thiserror::Error;

use super::{Access, AccessError, AccountChange};
use crate::config::{NAME_BYTES_MAX, UserConfig, VhostConfig};

/// A user or vhost that cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AccountError {
    /// There is no user of this name.
    #[error("user '{0}' does not exist")]
    NoUser(String),
    /// There is no vhost of this name.
    #[error("vhost '{0}' does not exist")]
    NoVhost(String),
    /// A name is empty or too long.
    #[error("{what}: expected 1 to {NAME_BYTES_MAX} bytes, found {found}")]
    Name {
        /// What was to have this name.
        what: &'static str,
        /// Its length in bytes.
        found: usize,
    },
    /// A permission is not a pattern.
    #[error(transparent)]
    Pattern(#[from] AccessError),
    /// It is in the configuration, which alone says what it is.
    #[error("{0} belongs to the configuration: change it there, and start the broker again")]
    Configured(String),
    /// The change holds, but the store has failed: whether it will after a restart is not known.
    #[error("done, but the store has failed")]
    StoreFailed,
}

/// Names are what a short string holds.
///
/// # Errors
/// It is empty or too long.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), AccountError> {
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(()),
        found => Err(AccountError::Name { what, found }),
    }
}

/// A user in every text.
pub(crate) fn user_noun(name: &str) -> String {
    format!("user '{name}'")
}

/// A vhost in every text.
pub(crate) fn vhost_noun(name: &str) -> String {
    format!("vhost '{name}'")
}

impl Access {
    /// The user of this name, to be changed.
    ///
    /// # Errors
    /// There is none, or it belongs to the configuration.
    pub(crate) fn changeable_user(&self, name: &str) -> Result<UserConfig, AccountError> {
        self.check_user_is_kept(name)?;
        let user = self.user(name);
        let user = user.ok_or_else(|| AccountError::NoUser(name.to_owned()))?;
        Ok(user.config.clone())
    }

    /// The user of this name, or a new one.
    ///
    /// # Errors
    /// The name is not allowed, or belongs to the configuration.
    pub(crate) fn changeable_or_new_user(&self, name: &str) -> Result<UserConfig, AccountError> {
        check_name("user name", name)?;
        self.check_user_is_kept(name)?;
        let found = self.user(name).map(|user| user.config.clone());
        Ok(found.unwrap_or_else(|| UserConfig::named(name)))
    }

    /// The vhost of this name, to be changed.
    ///
    /// # Errors
    /// There is none, or it belongs to the configuration.
    pub(crate) fn changeable_vhost(&self, name: &str) -> Result<VhostConfig, AccountError> {
        self.check_vhost_is_kept(name)?;
        let vhost = self.vhost(name);
        let vhost = vhost.ok_or_else(|| AccountError::NoVhost(name.to_owned()))?;
        Ok((*vhost).clone())
    }

    /// The vhost of this name, or a new one.
    ///
    /// # Errors
    /// The name is not allowed, or belongs to the configuration.
    pub(crate) fn changeable_or_new_vhost(&self, name: &str) -> Result<VhostConfig, AccountError> {
        check_name("vhost name", name)?;
        self.check_vhost_is_kept(name)?;
        let found = self.vhost(name).map(|vhost| (*vhost).clone());
        Ok(found.unwrap_or_else(|| VhostConfig::named(name)))
    }

    /// What the deletion of a vhost means for accounts: it goes, and with it everybody's permissions on it.
    ///
    /// # Errors
    /// There is none, or it belongs to the configuration.
    pub(crate) fn without_vhost(&self, name: &str) -> Result<Vec<AccountChange>, AccountError> {
        self.changeable_vhost(name)?;
        let mut changes = vec![AccountChange::DeleteVhost(name.to_owned())];
        for mut user in self.users() {
            let count = user.permissions.len() + user.topic_permissions.len();
            user.permissions.retain(|one| one.vhost != name);
            user.topic_permissions.retain(|one| one.vhost != name);
            if user.permissions.len() + user.topic_permissions.len() < count {
                changes.push(AccountChange::PutUser(user));
            }
        }
        Ok(changes)
    }

    /// # Errors
    /// There is no such vhost.
    pub(crate) fn check_vhost_exists(&self, name: &str) -> Result<(), AccountError> {
        match self.vhost(name) {
            Some(_) => Ok(()),
            None => Err(AccountError::NoVhost(name.to_owned())),
        }
    }

    fn check_user_is_kept(&self, name: &str) -> Result<(), AccountError> {
        match self.configured().users.contains(name) {
            true => Err(AccountError::Configured(user_noun(name))),
            false => Ok(()),
        }
    }

    fn check_vhost_is_kept(&self, name: &str) -> Result<(), AccountError> {
        match self.configured().vhosts.contains(name) {
            true => Err(AccountError::Configured(vhost_noun(name))),
            false => Ok(()),
        }
    }
}
