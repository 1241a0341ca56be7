//! Vhosts of a running broker: made, changed, deleted and listed.
//!
//! What it is not: the rules (see [`crate::access`]), or what holds and is written down (see
//! [`crate::accounts`]).
//!
//! Every change is answered once it is safe. One that is not allowed has changed nothing.

use leveret_storage::Epoch;

use super::Broker;
use crate::access::{AccountChange, AccountError, VhostLimits, check_name};
use crate::config::{DefaultQueueType, VhostConfig};
use crate::importing::Committed;

/// What an operator says about a vhost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VhostSettings {
    /// What it is for.
    pub description: String,
    /// Words by which operators find it, each 1 to 255 bytes; they change nothing.
    pub tags: Vec<String>,
    /// What a queue is that is declared without a type; `None` means the broker's (QARG-35).
    pub default_queue_type: Option<DefaultQueueType>,
}

impl Broker {
    /// All vhosts with their limits, by name.
    #[must_use]
    pub fn vhosts(&self) -> Vec<VhostConfig> {
        self.inside.node.access.vhosts()
    }

    /// Makes a vhost, or says something else about one; its limits stay as they are. Nobody may open a new
    /// one until [`Broker::set_permissions`] says so.
    ///
    /// # Errors
    /// A name or tag that is not 1 to 255 bytes, a vhost of the configuration, or a store that has failed.
    pub async fn put_vhost(&self, name: &str, settings: VhostSettings) -> Result<(), AccountError> {
        for tag in &settings.tags {
            check_name("tag", tag)?;
        }
        self.change_vhost(name, true, |vhost| {
            vhost.description = settings.description;
            vhost.tags = settings.tags;
            vhost.default_queue_type = settings.default_queue_type;
        })
        .await?;
        tracing::info!(vhost = name, "vhost put");
        Ok(())
    }

    /// Deletes a vhost: its connections are closed with 320, and exchanges, queues, messages, policies, limits
    /// and everybody's permissions on it are gone. A vhost of the same name that is made later has nothing of
    /// it. With very many queues this takes its time, on a thread that may wait.
    ///
    /// # Errors
    /// There is no such vhost, it belongs to the configuration, or the store has failed.
    pub async fn delete_vhost(&self, name: &str) -> Result<(), AccountError> {
        let vhost = name.to_owned();
        let deleted = self.off_the_runtime(move |node| node.change_accounts().delete_vhost(&vhost));
        // It does not panic; should it ever, the answer must not be that all is well.
        let epoch = deleted.await.unwrap_or(Err(AccountError::StoreFailed))?;
        tracing::info!(vhost = name, "vhost deleted");
        self.settled(epoch).await
    }

    /// Sets a vhost's limits, all of them. They hold from now on; what is there beyond them stays.
    ///
    /// # Errors
    /// There is no such vhost, it belongs to the configuration, or the store has failed.
    pub async fn set_vhost_limits(
        &self,
        name: &str,
        limits: VhostLimits,
    ) -> Result<(), AccountError> {
        self.change_vhost(name, false, |vhost| limits.write_to(vhost))
            .await?;
        tracing::info!(vhost = name, ?limits, "vhost limits set");
        Ok(())
    }

    /// Takes a vhost's limits away.
    ///
    /// # Errors
    /// As [`Broker::set_vhost_limits`].
    pub async fn clear_vhost_limits(&self, name: &str) -> Result<(), AccountError> {
        self.set_vhost_limits(name, VhostLimits::default()).await
    }

    async fn change_vhost(
        &self,
        name: &str,
        may_be_new: bool,
        change: impl FnOnce(&mut VhostConfig),
    ) -> Result<(), AccountError> {
        let epoch = {
            let changing = self.inside.node.change_accounts();
            let access = &self.inside.node.access;
            let mut vhost = match may_be_new {
                true => access.changeable_or_new_vhost(name)?,
                false => access.changeable_vhost(name)?,
            };
            change(&mut vhost);
            let changes = [AccountChange::PutVhost(vhost)];
            let epoch = changing.apply(&changes)?;
            changing.tell_vhosts(&changes);
            epoch
        };
        self.settled(epoch).await
    }

    /// Waits until a change is safe.
    pub(super) async fn settled(&self, epoch: Option<Epoch>) -> Result<(), AccountError> {
        match (epoch, self.inside.node.commits()) {
            (Some(epoch), Some(commits)) if !Committed::new(commits, epoch).await => {
                Err(AccountError::StoreFailed)
            }
            _ => Ok(()),
        }
    }
}
