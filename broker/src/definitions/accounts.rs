//! [`Accounts`]: users, permissions and what is said about vhosts, with definitions laid over them.
//!
//! What it is not: logins (see [`crate::access`]), or a check: definitions that come here have passed it.
//!
//! Invariant: what belongs to the configuration stays as it is; what definitions say of it is reported.

use std::collections::BTreeSet;

use super::document::{
    Definitions, LimitsDefinition, PermissionDefinition, Place, TopicPermissionDefinition,
    UserDefinition, VhostDefinition,
};
use super::report::Report;
use crate::access::{Access, Beginning, Configured, user_noun, vhost_noun};
use crate::config::{
    DefaultQueueType, PermissionConfig, TopicPermissionConfig, UserConfig, VhostConfig,
};

/// The users and vhosts of a broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) users: Vec<UserConfig>,
    pub(crate) vhosts: Vec<VhostConfig>,
    configured: Configured,
}

impl Accounts {
    /// What a broker begins with.
    pub(crate) fn of_beginning(beginning: &Beginning) -> Self {
        Self {
            users: beginning.users.clone(),
            vhosts: beginning.vhosts.clone(),
            configured: beginning.configured.clone(),
        }
    }

    /// What a running broker has.
    pub(crate) fn of_access(access: &Access) -> Self {
        Self {
            users: access.users(),
            vhosts: access.vhosts(),
            configured: access.configured().clone(),
        }
    }

    pub(crate) fn user_names(&self) -> BTreeSet<&str> {
        self.users.iter().map(|user| &*user.name).collect()
    }

    pub(crate) fn vhost_names(&self) -> BTreeSet<&str> {
        self.vhosts.iter().map(|vhost| &*vhost.name).collect()
    }

    /// Lays definitions over what is there: users are replaced, permissions replaced vhost by vhost.
    pub(crate) fn add(&mut self, definitions: &Definitions, report: &mut Report) {
        for user in &definitions.users {
            if self.may_change_user(&user.name, &user.place, report) {
                self.add_user(user);
                report.users += 1;
            }
        }
        for one in &definitions.vhosts {
            report.vhosts += 1;
            self.change_vhost(&one.name, &one.place, report, |vhost, report| {
                describe(vhost, one, report);
            });
        }
        for one in &definitions.limits {
            self.change_vhost(&one.vhost, &one.place, report, |vhost, _| limit(vhost, one));
        }
        for one in &definitions.permissions {
            if self.may_change_user(&one.user, &one.place, report) {
                self.permit(one);
                report.permissions += 1;
            }
        }
        for one in &definitions.topic_permissions {
            if self.may_change_user(&one.user, &one.place, report) {
                self.permit_topic(one);
                report.permissions += 1;
            }
        }
        super::policies::report(definitions, report);
    }

    fn may_change_user(&self, name: &str, place: &Place, report: &mut Report) -> bool {
        let is_configured = self.configured.users.contains(name);
        if is_configured {
            let reason = format!("{} belongs to the configuration", user_noun(name));
            report.not_honoured(place, reason);
        }
        !is_configured
    }

    /// A vhost of the configuration is reported where it would become another one; exports name it too.
    fn change_vhost(
        &mut self,
        name: &str,
        place: &Place,
        report: &mut Report,
        change: impl FnOnce(&mut VhostConfig, &mut Report),
    ) {
        let is_configured = self.configured.vhosts.contains(name);
        let vhost = self.vhost(name);
        let before = vhost.clone();
        change(vhost, report);
        if is_configured && *vhost != before {
            *vhost = before;
            let reason = format!("{} belongs to the configuration", vhost_noun(name));
            report.not_honoured(place, reason);
        }
    }

    fn add_user(&mut self, definition: &UserDefinition) {
        let user = self.user(&definition.name);
        user.password = definition.password.clone();
        user.tags.clone_from(&definition.tags);
        user.connections_max = definition.connections_max;
        user.channels_max = definition.channels_max;
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
        let new = || UserConfig::named(name);
        found_or_added(&mut self.users, |user| user.name == name, new)
    }

    /// The vhost of this name, added if there is none.
    fn vhost(&mut self, name: &str) -> &mut VhostConfig {
        let new = || VhostConfig::named(name);
        found_or_added(&mut self.vhosts, |vhost| vhost.name == name, new)
    }
}

fn describe(vhost: &mut VhostConfig, definition: &VhostDefinition, report: &mut Report) {
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

fn limit(vhost: &mut VhostConfig, definition: &LimitsDefinition) {
    vhost.connections_max = definition.connections_max;
    vhost.queues_max = definition.queues_max;
    vhost.exchanges_max = definition.exchanges_max;
    vhost.bindings_max = definition.bindings_max;
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
fn own_type(definition: &VhostDefinition) -> Option<DefaultQueueType> {
    DefaultQueueType::from_name(definition.default_queue_type.as_deref()?)
}
