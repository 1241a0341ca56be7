//! Users of a running broker: made, changed, deleted and listed.
//!
//! What it is not: the rules (see [`crate::access`]), or what holds and is written down (see
//! [`crate::accounts`]).
//!
//! Every change is answered once it is safe. One that is not allowed has changed nothing.

use std::sync::Arc;

use super::Broker;
use crate::access::{AccountChange, AccountError, User, UserLimits, check_name};
use crate::config::{Password, PermissionConfig, TopicPermissionConfig, UserConfig};

/// What is to become of a user. What is `None` stays as it is; a new user has no password and no tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// The password; [`Password::default`] is none, and the user cannot log in with one any more.
    pub password: Option<Password>,
    /// What the user may do beyond messaging, each tag 1 to 255 bytes.
    pub tags: Option<Vec<String>>,
}

impl Broker {
    /// All users, by name.
    #[must_use]
    pub fn users(&self) -> Vec<Arc<User>> {
        self.inside.node.access.all_users()
    }

    /// The user of this name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<Arc<User>> {
        self.inside.node.access.user(name)
    }

    /// Changes a user, or makes one of this name, who may open no vhost yet. Passwords are kept as hashes.
    /// Connections stay what they were when they were opened: neither a password nor tags concern them.
    ///
    /// # Errors
    /// A name or tag that is not 1 to 255 bytes, a user of the configuration, or a store that has failed.
    pub async fn put_user(&self, name: &str, change: UserChange) -> Result<(), AccountError> {
        for tag in change.tags.iter().flatten() {
            check_name("tag", tag)?;
        }
        // What is refused is not worth the time that hashing takes.
        self.inside.node.access.changeable_or_new_user(name)?;
        let password = match change.password {
            Some(password) => Some(self.hashed(password).await),
            None => None,
        };
        let epoch = {
            let changing = self.inside.node.change_accounts();
            let mut user = self.inside.node.access.changeable_or_new_user(name)?;
            user.password = password.unwrap_or(user.password);
            user.tags = change.tags.unwrap_or(user.tags);
            changing.apply(&[AccountChange::PutUser(user)])?
        };
        tracing::info!(user = name, "user put");
        self.settled(epoch).await
    }

    /// Deletes a user with its permissions and closes its connections with 320. A user of the same name who
    /// is made later has nothing of it.
    ///
    /// # Errors
    /// There is no such user, it belongs to the configuration, or the store has failed.
    pub async fn delete_user(&self, name: &str) -> Result<(), AccountError> {
        let epoch = {
            let changing = self.inside.node.change_accounts();
            self.inside.node.access.changeable_user(name)?;
            changing.apply(&[AccountChange::DeleteUser(name.to_owned())])?
        };
        tracing::info!(user = name, "user deleted");
        self.settled(epoch).await
    }

    /// Sets what a user may do in a vhost, which it may open then. A connection that is open has it from the
    /// next channel on that it opens, or after a second (PERM-16).
    ///
    /// # Errors
    /// There is no such user or vhost, a permission is not a pattern, the user belongs to the configuration,
    /// or the store has failed.
    pub async fn set_permissions(
        &self,
        user: &str,
        permissions: PermissionConfig,
    ) -> Result<(), AccountError> {
        let vhost = permissions.vhost.clone();
        self.change_user(user, |config| {
            self.inside.node.access.check_vhost_exists(&vhost)?;
            config.permissions.retain(|one| one.vhost != vhost);
            config.permissions.push(permissions);
            Ok(())
        })
        .await?;
        tracing::info!(user, vhost, "permissions set");
        Ok(())
    }

    /// Takes away what a user may do in a vhost, if it may do anything: it cannot open it any more.
    /// Connections that are in it stay, and may do nothing there from the next channel on, or after a second;
    /// consumers go on, as in RabbitMQ. Topic permissions stay too, and count for nothing meanwhile.
    ///
    /// # Errors
    /// There is no such user or vhost, the user belongs to the configuration, or the store has failed.
    pub async fn clear_permissions(&self, user: &str, vhost: &str) -> Result<(), AccountError> {
        self.change_user(user, |config| {
            self.inside.node.access.check_vhost_exists(vhost)?;
            config.permissions.retain(|one| one.vhost != vhost);
            Ok(())
        })
        .await?;
        tracing::info!(user, vhost, "permissions cleared");
        Ok(())
    }

    /// Sets which keys a user may use on a topic exchange (PERM-13), which need not exist.
    ///
    /// # Errors
    /// As [`Broker::set_permissions`]; and the exchange's name has more than 255 bytes.
    pub async fn set_topic_permissions(
        &self,
        user: &str,
        permissions: TopicPermissionConfig,
    ) -> Result<(), AccountError> {
        check_name("exchange name", &permissions.exchange)?;
        let (vhost, exchange) = (permissions.vhost.clone(), permissions.exchange.clone());
        self.change_user(user, |config| {
            self.inside.node.access.check_vhost_exists(&vhost)?;
            let all = &mut config.topic_permissions;
            all.retain(|one| (&one.vhost, &one.exchange) != (&vhost, &exchange));
            all.push(permissions);
            Ok(())
        })
        .await?;
        tracing::info!(user, vhost, exchange, "topic permissions set");
        Ok(())
    }

    /// Lets a user use every key again, on one exchange or, without one, on all of the vhost (PERM-14).
    ///
    /// # Errors
    /// As [`Broker::clear_permissions`].
    pub async fn clear_topic_permissions(
        &self,
        user: &str,
        vhost: &str,
        exchange: Option<&str>,
    ) -> Result<(), AccountError> {
        self.change_user(user, |config| {
            self.inside.node.access.check_vhost_exists(vhost)?;
            let is_meant = |one: &TopicPermissionConfig| {
                one.vhost == vhost && exchange.is_none_or(|exchange| one.exchange == exchange)
            };
            config.topic_permissions.retain(|one| !is_meant(one));
            Ok(())
        })
        .await?;
        tracing::info!(user, vhost, exchange, "topic permissions cleared");
        Ok(())
    }

    /// Sets a user's limits, both of them. They hold from now on; what is open beyond them stays.
    ///
    /// # Errors
    /// There is no such user, it belongs to the configuration, or the store has failed.
    pub async fn set_user_limits(
        &self,
        user: &str,
        limits: UserLimits,
    ) -> Result<(), AccountError> {
        self.change_user(user, |config| {
            config.connections_max = limits.connections_max;
            config.channels_max = limits.channels_max;
            Ok(())
        })
        .await?;
        tracing::info!(user, ?limits, "user limits set");
        Ok(())
    }

    /// Takes a user's limits away.
    ///
    /// # Errors
    /// As [`Broker::set_user_limits`].
    pub async fn clear_user_limits(&self, user: &str) -> Result<(), AccountError> {
        self.set_user_limits(user, UserLimits::default()).await
    }

    async fn change_user(
        &self,
        name: &str,
        change: impl FnOnce(&mut UserConfig) -> Result<(), AccountError>,
    ) -> Result<(), AccountError> {
        let epoch = {
            let changing = self.inside.node.change_accounts();
            let mut user = self.inside.node.access.changeable_user(name)?;
            change(&mut user)?;
            changing.apply(&[AccountChange::PutUser(user)])?
        };
        self.settled(epoch).await
    }
}
