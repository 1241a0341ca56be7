//! Changes of the users and vhosts of a running broker.
//!
//! ```text
//!   one at a time ─▶ judged (access) ─▶ made (vhosts) ─▶ taken down, as one record ─▶ holds for everybody
//!                          │                                        │
//!                          └─▶ AccountError, nothing has changed     └─▶ whoever is concerned is closed
//!
//!   a vhost goes: sealed ─▶ out of the list ─▶ connections closed ─▶ queues retired ─▶ emptied ─▶ taken down
//! ```
//!
//! What it is not: the rules (see [`crate::access`]), or what programs call (see [`crate::broker`]). It waits
//! for nothing: the epoch it returns is for whoever answers.
//!
//! Invariant: what holds has been handed to the store, in the order in which it came to hold. A connection
//! that opens a vhost either finds the deletion of its vhost or user, or is found by it.

use std::sync::{Arc, MutexGuard, PoisonError};

use leveret_protocol::{Fault, ReplyCode};
use leveret_storage::{CatalogChange, Epoch};

use crate::access::{AccessError, AccountChange, AccountError, user_noun};
use crate::config::VhostConfig;
use crate::core::topology::Applied;
use crate::core::vhost::Vhost;
use crate::durable::account::{Image, differences, user_image, vhost_image};
use crate::node::Node;

/// The right to change accounts, which one has at a time.
#[derive(Debug)]
pub(crate) struct Changing<'n> {
    node: &'n Node,
    _one_at_a_time: MutexGuard<'n, ()>,
}

impl Node {
    /// Waits until nobody else changes accounts. Nothing else is locked by who asks.
    pub(crate) fn change_accounts(&self) -> Changing<'_> {
        let lock = self.changing_accounts.lock();
        Changing {
            node: self,
            _one_at_a_time: lock.unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl Changing<'_> {
    /// Changes users and vhosts, makes the vhosts that are new, and closes the connections of users who are
    /// deleted. Returns when it is safe, if that needs waiting for. Vhosts are deleted by
    /// [`Changing::delete_vhost`].
    ///
    /// # Errors
    /// The first permission that is not a pattern; then nothing has changed.
    pub(crate) fn apply(&self, changes: &[AccountChange]) -> Result<Option<Epoch>, AccessError> {
        let node = self.node;
        let judged = node.access.judge(changes)?;
        let new = self.make_vhosts(changes);
        let records = self.records(changes);
        let made = new
            .iter()
            .map(|(vhost, applied)| (Arc::clone(vhost.name()), applied.clone()));
        let epoch = node
            .vhosts
            .maker()
            .record(records, &made.collect::<Vec<_>>());
        node.access.take(judged);
        new.into_iter()
            .for_each(|(vhost, _)| node.vhosts.insert(vhost));
        changes
            .iter()
            .for_each(|change| self.close_if_deleted(change));
        Ok(epoch)
    }

    /// Tells the vhosts that were there before what queues without a type are from now on. Not a part of
    /// [`Changing::apply`], because that may be called while vhosts are locked.
    pub(crate) fn tell_vhosts(&self, changes: &[AccountChange]) {
        for change in changes {
            if let AccountChange::PutVhost(config) = change
                && let Some(vhost) = self.node.vhost(&config.name)
            {
                self.node.set_up(&vhost, config);
            }
        }
    }

    /// Deletes a vhost with all that is in it, and everybody's permissions on it.
    ///
    /// # Errors
    /// There is none, or it belongs to the configuration.
    pub(crate) fn delete_vhost(&self, name: &str) -> Result<Option<Epoch>, AccountError> {
        let node = self.node;
        let changes = node.access.without_vhost(name)?;
        let judged = node.access.judge(&changes)?;
        let records = self.records(&changes);
        let mut emptied = Vec::new();
        if let Some(vhost) = node.vhosts.get(name) {
            vhost.seal();
            node.vhosts.remove(name);
            node.connections
                .close_of_vhost(name, &Vhost::deleted_fault(name));
            vhost.retire_queues();
            emptied.push((Arc::clone(vhost.name()), vhost.empty()));
        }
        let epoch = node.vhosts.maker().record(records, &emptied);
        node.access.take(judged);
        Ok(epoch)
    }

    fn make_vhosts(&self, changes: &[AccountChange]) -> Vec<(Arc<Vhost>, Applied)> {
        let new = changes.iter().filter_map(|change| match change {
            AccountChange::PutVhost(config) => {
                let is_there = self.node.vhost(&config.name).is_some();
                (!is_there).then(|| self.make_vhost(config))
            }
            _ => None,
        });
        new.collect()
    }

    fn make_vhost(&self, config: &VhostConfig) -> (Arc<Vhost>, Applied) {
        let (vhost, applied) = self.node.vhosts.maker().unrecorded(&config.name);
        self.node.set_up(&vhost, config);
        (vhost, applied)
    }

    /// What the changes mean for the catalog. What belongs to the configuration is not in there.
    fn records(&self, changes: &[AccountChange]) -> Vec<CatalogChange> {
        let mut records = Vec::new();
        for change in changes {
            let (before, after) = self.images(change);
            differences(&before, &after, &mut records);
        }
        records
    }

    fn images(&self, change: &AccountChange) -> (Image, Image) {
        let access = &self.node.access;
        let user = |name: &str| {
            let is_kept = !access.configured().users.contains(name);
            let found = access.user(name).filter(|_| is_kept);
            found.map_or_else(Image::default, |user| user_image(user.config()))
        };
        let vhost = |name: &str| {
            let found = access.vhost(name);
            found.map_or_else(Image::default, |vhost| vhost_image(&vhost))
        };
        match change {
            AccountChange::PutUser(to) if access.configured().users.contains(&to.name) => {
                Default::default()
            }
            AccountChange::PutUser(to) => (user(&to.name), user_image(to)),
            AccountChange::DeleteUser(name) => (user(name), Image::default()),
            AccountChange::PutVhost(to) => (vhost(&to.name), vhost_image(to)),
            AccountChange::DeleteVhost(name) => (vhost(name), Image::default()),
        }
    }

    fn close_if_deleted(&self, change: &AccountChange) {
        if let AccountChange::DeleteUser(name) = change {
            let text = format!("{} is deleted", user_noun(name));
            let fault = Fault::new(ReplyCode::ConnectionForced, text);
            self.node.connections.close_of_user(name, &fault);
        }
    }
}
