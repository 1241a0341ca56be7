//! Brings back the vhosts that the catalog tells of.
//!
//! What it is not: it brings back no message; a queue's body is made by whoever gives `make_queue`.
//!
//! Invariant: nothing in the catalog is passed over in silence: what cannot be read is an error, and
//! what has no place is named.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::account::AccountEntry;
use super::catalog::{self, BadEntry, Entry};
use crate::access::Kept;
use crate::config::{UserConfig, VhostConfig};
use crate::core::binding::{Binding, Destination};
use crate::core::topology::{Command, Ids, MakeQueue, Topology};

/// What a catalog has brought back.
#[derive(Debug)]
pub struct Restored {
    /// The vhosts by name.
    pub topologies: BTreeMap<Arc<str>, Topology>,
    /// The users, and every vhost that something is said of.
    pub(crate) kept: Kept,
    /// Entries that contradict others, one line each; they are left in the catalog, but for those about
    /// accounts.
    pub misplaced: Vec<String>,
}

/// Builds every vhost that the catalog tells of. The ids go on behind the last one that was durable.
///
/// # Errors
/// The first entry that cannot be read.
pub fn restore(
    catalog: &[(Vec<u8>, Vec<u8>)],
    ids: &Ids,
    make_queue: &MakeQueue,
) -> Result<Restored, BadEntry> {
    let mut work = Work {
        topologies: BTreeMap::new(),
        accounts: KeptAccounts::default(),
        misplaced: Vec::new(),
        ids,
        make_queue,
    };
    let entries = catalog
        .iter()
        .map(|(key, value)| catalog::decode(key, value));
    let mut entries: Vec<_> = entries.collect::<Result<_, _>>()?;
    entries.sort_by_key(|entry| match entry {
        // What queues are made with depends on policies.
        Entry::Policy(..) | Entry::Account(AccountEntry::User(_)) => 0,
        Entry::NextId(_) | Entry::Exchange(..) | Entry::Queue(..) | Entry::Account(_) => 1,
        // Both ends of a binding have to be there before it.
        Entry::Binding(..) => 2,
    });
    entries.into_iter().for_each(|entry| work.take(entry));
    Ok(work.finish())
}

struct Work<'w> {
    topologies: BTreeMap<Arc<str>, Topology>,
    accounts: KeptAccounts,
    misplaced: Vec<String>,
    ids: &'w Ids,
    make_queue: &'w MakeQueue,
}

impl Work<'_> {
    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::NextId(next) => self.ids.pass(next.saturating_sub(1)),
            Entry::Policy(vhost, policy) => {
                let what = format!("{} '{}'", policy.kind().noun(), policy.name());
                self.apply(&vhost, &what, Command::SetPolicy(Arc::new(policy)));
            }
            Entry::Exchange(vhost, spec) => {
                let what = format!("exchange {} '{}'", spec.id.0, spec.name);
                self.apply(&vhost, &what, Command::DeclareExchange(spec));
            }
            Entry::Queue(vhost, spec) => {
                let what = format!("queue {} '{}'", spec.id.0, spec.name);
                self.apply(&vhost, &what, Command::DeclareQueue(spec));
            }
            Entry::Binding(vhost, binding) => {
                self.apply(&vhost, &described(&binding), Command::Bind(binding));
            }
            Entry::Account(entry) => {
                if let Err(whose) = self.accounts.take(entry) {
                    let text =
                        format!("permission of user '{whose}', whom the catalog does not have");
                    self.misplaced.push(text);
                }
            }
        }
    }

    /// A vhost that something lies in is one, also when an earlier version has said nothing of it or the
    /// configuration has named it until now.
    fn finish(mut self) -> Restored {
        for name in self.topologies.keys() {
            let vhosts = &mut self.accounts.vhosts;
            let named = || VhostConfig::named(name);
            vhosts.entry(name.to_string()).or_insert_with(named);
        }
        Restored {
            topologies: self.topologies,
            kept: self.accounts.into_kept(),
            misplaced: self.misplaced,
        }
    }

    fn apply(&mut self, vhost: &Arc<str>, what: &str, command: Command) {
        let topology = self
            .topologies
            .entry(Arc::clone(vhost))
            .or_insert_with_key(|name| {
                Topology::new(
                    Arc::clone(name),
                    self.ids.clone(),
                    Arc::clone(self.make_queue),
                )
            });
        if topology.apply(command).changes.is_empty() {
            let text = format!("{what} in vhost '{vhost}' contradicts the rest of the catalog");
            self.misplaced.push(text);
        }
    }
}

/// Accounts as they are read, to be found by name.
#[derive(Default)]
struct KeptAccounts {
    is_begun: bool,
    users: BTreeMap<String, UserConfig>,
    vhosts: BTreeMap<String, VhostConfig>,
}

impl KeptAccounts {
    /// Takes an entry up; permissions come behind their users.
    ///
    /// # Errors
    /// The user who has no entry.
    fn take(&mut self, entry: AccountEntry) -> Result<(), String> {
        match entry {
            AccountEntry::Begun => self.is_begun = true,
            AccountEntry::User(user) => drop(self.users.insert(user.name.clone(), user)),
            AccountEntry::Vhost(vhost) => drop(self.vhosts.insert(vhost.name.clone(), vhost)),
            AccountEntry::Permission { user, permission } => {
                let permissions = self.users.get_mut(&user).map(|user| &mut user.permissions);
                permissions.ok_or(user)?.push(permission);
            }
            AccountEntry::TopicPermission { user, permission } => {
                let found = self.users.get_mut(&user);
                let permissions = found.map(|user| &mut user.topic_permissions);
                permissions.ok_or(user)?.push(permission);
            }
        }
        Ok(())
    }

    fn into_kept(self) -> Kept {
        Kept {
            is_begun: self.is_begun,
            users: self.users.into_values().collect(),
            vhosts: self.vhosts.into_values().collect(),
        }
    }
}

fn described(binding: &Binding) -> String {
    let id = binding.durable_id().map_or(0, |id| id.0);
    let to = match binding.destination() {
        Destination::Queue(to) => format!("queue {}", to.0),
        Destination::Exchange(to) => format!("exchange {}", to.0),
    };
    let key = String::from_utf8_lossy(binding.routing_key());
    let from = binding.source().0;
    format!("binding {id} from exchange {from} to {to} with key '{key}'")
}

#[cfg(test)]
mod tests;
