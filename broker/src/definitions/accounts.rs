//! [`Accounts`]: users, permissions and what is said about vhosts, with definitions laid over them.
//!
//! What it is not: logins (see [`crate::access`]), or a check: definitions that come here have passed it.

use std::collections::BTreeSet;

use super::document::{
    Definitions, LimitsDefinition, PermissionDefinition, TopicPermissionDefinition, UserDefinition,
    VhostDefinition,
};
use super::report::Report;
use crate::access::Access;
use crate::config::{
    Config, DefaultQueueType, PermissionConfig, TopicPermissionConfig, UserConfig, VhostConfig,
};

/// The users and vhosts of a broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) users: Vec<UserConfig>,
    pub(crate) vhosts: Vec<VhostConfig>,
}

impl Accounts {
    /// What a configuration says, every vhost that it names included.
    pub(crate) fn of_config(config: &Config) -> Self {
        let named = |name: &str| VhostConfig {
            name: name.to_owned(),
            ..VhostConfig::default()
        };
        let vhosts = config
            .vhost_names()
            .map(|name| config.vhost(name).cloned().unwrap_or_else(|| named(name)));
        Self {
            users: config.users.clone(),
            vhosts: vhosts.collect(),
        }
    }

    /// What a running broker has, with these vhosts.
    pub(crate) fn of_access<'n>(access: &Access, names: impl Iterator<Item = &'n str>) -> Self {
        let mut accounts = Self {
            users: access.users(),
            vhosts: access.vhosts(),
        };
        for name in names {
            accounts.vhost(name);
        }
        accounts
    }

    pub(crate) fn user_names(&self) -> BTreeSet<&str> {
        self.users.iter().map(|user| &*user.name).collect()
    }

    pub(crate) fn vhost_names(&self) -> BTreeSet<&str> {
        self.vhosts.iter().map(|vhost| &*vhost.name).collect()
    }

    /// Lays definitions over what is there: users are replaced, permissions replaced vhost by vhost.
    pub(crate) fn add(&mut self, definitions: &Definitions, report: &mut Report) {
        definitions
            .users
            .iter()
            .for_each(|user| self.add_user(user));
        definitions
            .vhosts
            .iter()
            .for_each(|vhost| self.add_vhost(vhost, report));
        definitions
            .limits
            .iter()
            .for_each(|limits| self.limit(limits));
        definitions
            .permissions
            .iter()
            .for_each(|one| self.permit(one));
        definitions
            .topic_permissions
            .iter()
            .for_each(|one| self.permit_topic(one));
        super::policies::report(definitions, report);
        report.users += definitions.users.len();
        report.vhosts += definitions.vhosts.len();
        report.permissions += definitions.permissions.len() + definitions.topic_permissions.len();
    }

    fn add_user(&mut self, definition: &UserDefinition) {
        let user = self.user(&definition.name);
        user.password = definition.password.clone();
        user.tags.clone_from(&definition.tags);
        user.connections_max = definition.connections_max;
        user.channels_max = definition.channels_max;
    }

    fn add_vhost(&mut self, definition: &VhostDefinition, report: &mut Report) {
        let vhost = self.vhost(&definition.name);
        vhost.description.clone_from(&definition.description);
        vhost.tags.clone_from(&definition.tags);
        let own_type = own_type(definition);
        if own_type.is_some() {
            vhost.default_queue_type = own_type;
        } else if let Some(other) = definition.default_queue_type.as_deref()
            && !matches!(other, "" | "undefined")
        {
            let what = format!("{} default_queue_type '{other}'", definition.place);
            report.not_honoured(what, "queues of this type cannot be declared here");
        }
    }

    fn limit(&mut self, definition: &LimitsDefinition) {
        let vhost = self.vhost(&definition.vhost);
        vhost.connections_max = definition.connections_max;
        vhost.queues_max = definition.queues_max;
    }

    fn permit(&mut self, definition: &PermissionDefinition) {
        let permissions = &mut self.user(&definition.user).permissions;
        permissions.retain(|one| one.vhost != definition.vhost);
        permissions.push(PermissionConfig {
            vhost: definition.vhost.clone(),
            configure: definition.configure.clone(),
            write: definition.write.clone(),
            read: definition.read.clone(),
        });
    }

    fn permit_topic(&mut self, definition: &TopicPermissionDefinition) {
        let permissions = &mut self.user(&definition.user).topic_permissions;
        let (vhost, exchange) = (&definition.vhost, &definition.exchange);
        permissions.retain(|one| (&one.vhost, &one.exchange) != (vhost, exchange));
        permissions.push(TopicPermissionConfig {
            vhost: vhost.clone(),
            exchange: exchange.clone(),
            write: definition.write.clone(),
            read: definition.read.clone(),
        });
    }

    /// The user of this name, added if there is none.
    fn user(&mut self, name: &str) -> &mut UserConfig {
        let new = || UserConfig {
            name: name.to_owned(),
            ..UserConfig::default()
        };
        found_or_added(&mut self.users, |user| user.name == name, new)
    }

    /// The vhost of this name, added if there is none.
    fn vhost(&mut self, name: &str) -> &mut VhostConfig {
        let new = || VhostConfig {
            name: name.to_owned(),
            ..VhostConfig::default()
        };
        found_or_added(&mut self.vhosts, |vhost| vhost.name == name, new)
    }
}

fn found_or_added<T>(
    items: &mut Vec<T>,
    is_it: impl Fn(&T) -> bool,
    new: impl FnOnce() -> T,
) -> &mut T {
    let at = items.iter().position(is_it).unwrap_or_else(|| {
        items.push(new());
        items.len() - 1
    });
    &mut items[at]
}

/// The type of a vhost's queues that are declared without one, if the definition names one that there is.
pub(crate) fn own_type(definition: &VhostDefinition) -> Option<DefaultQueueType> {
    DefaultQueueType::from_name(definition.default_queue_type.as_deref()?)
}
