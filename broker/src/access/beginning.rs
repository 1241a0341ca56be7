//! [`Beginning`]: the users and vhosts that a broker has when it starts.
//!
//! ```text
//!   blank? ──▶ default vhost, default user ─┐
//!   kept in the data directory ─────────────┼─▶ Beginning      the configuration wins
//!   configuration ──────────────────────────┘
//! ```
//!
//! What it is not: it reads no data directory and no definitions; the latter are laid over it afterwards.
//!
//! Invariants: a name has one owner: the configuration, or whoever changes the running broker. The default
//! user and the default vhost are made once in the life of a data directory. No user that is kept has a
//! permission on a vhost that there is not.

use std::collections::BTreeSet;

use crate::config::{Config, Password, PasswordHashing, Salt, UserConfig, VhostConfig};

/// The users and vhosts that belong to the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Configured {
    pub(crate) users: BTreeSet<String>,
    pub(crate) vhosts: BTreeSet<String>,
}

/// The users and vhosts of a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// A broker has begun on it before.
    pub(crate) is_begun: bool,
    pub(crate) users: Vec<UserConfig>,
    pub(crate) vhosts: Vec<VhostConfig>,
}

/// What a broker begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) configured: Configured,
    pub(crate) users: Vec<UserConfig>,
    pub(crate) vhosts: Vec<VhostConfig>,
    /// What an operator may not expect, a line each.
    pub(crate) notes: Vec<String>,
}

impl Configured {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            users: config.users.iter().map(|user| user.name.clone()).collect(),
            vhosts: config.own_vhosts().map(|vhost| vhost.name).collect(),
        }
    }
}

impl Beginning {
    /// What a broker with this configuration begins with on a data directory that has this.
    pub(crate) fn of(config: &Config, kept: Kept) -> Self {
        let mut beginning = Self {
            configured: Configured::of(config),
            ..Self::default()
        };
        let (mut users, mut vhosts) = (kept.users, kept.vhosts);
        if !kept.is_begun && config.load_definitions.is_none() {
            add_first(config, &mut users, &mut vhosts);
        }
        beginning.take_kept_users(users);
        beginning.users.extend(config.users.iter().cloned());
        let of_others = |vhost: &VhostConfig| !beginning.configured.vhosts.contains(&vhost.name);
        beginning.vhosts = vhosts.into_iter().filter(of_others).collect();
        beginning.vhosts.extend(config.own_vhosts());
        beginning.drop_lost_permissions();
        beginning
    }

    fn take_kept_users(&mut self, kept: Vec<UserConfig>) {
        for user in kept {
            match self.configured.users.contains(&user.name) {
                false => self.users.push(user),
                true => self.notes.push(format!(
                    "user '{}' belongs to the configuration now; what the data directory had of it is \
                     dropped",
                    user.name
                )),
            }
        }
    }

    /// A permission that came to life with a vhost that somebody else makes would be nobody's decision.
    fn drop_lost_permissions(&mut self) {
        let vhosts: BTreeSet<_> = self.vhosts.iter().map(|vhost| &*vhost.name).collect();
        let kept = self.users.iter_mut();
        for user in kept.filter(|user| !self.configured.users.contains(&user.name)) {
            let count = user.permissions.len() + user.topic_permissions.len();
            user.permissions.retain(|one| vhosts.contains(&*one.vhost));
            user.topic_permissions
                .retain(|one| vhosts.contains(&*one.vhost));
            let lost = count - user.permissions.len() - user.topic_permissions.len();
            if lost > 0 {
                self.notes.push(format!(
                    "user '{}' had {lost} permissions on vhosts that do not exist; they are dropped",
                    user.name
                ));
            }
        }
    }

    /// Writes to the log what an operator may not expect.
    pub(crate) fn log(&self) {
        for note in &self.notes {
            tracing::warn!("{note}");
        }
        if self.users.is_empty() {
            tracing::warn!("there is no user: nobody can log in");
        }
    }

    /// Hashes the passwords that are to be kept.
    pub(crate) fn hash_passwords(&mut self, hashing: PasswordHashing, salt: impl Fn() -> Salt) {
        let configured = &self.configured.users;
        let users = self.users.iter_mut();
        for user in users.filter(|user| !configured.contains(&user.name)) {
            user.password = hashed(&user.password, hashing, salt());
        }
    }
}

/// A password as it is kept: never in clear text.
pub(crate) fn hashed(password: &Password, hashing: PasswordHashing, salt: Salt) -> Password {
    let hash = password.to_hash(hashing, salt);
    hash.map(Password::hashed).unwrap_or_default()
}

fn add_first(config: &Config, users: &mut Vec<UserConfig>, vhosts: &mut Vec<VhostConfig>) {
    if vhosts
        .iter()
        .all(|vhost| vhost.name != config.default_vhost)
    {
        vhosts.push(VhostConfig::named(&config.default_vhost));
    }
    let first = config.first_user();
    users.extend(first.filter(|first| users.iter().all(|user| user.name != first.name)));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::PermissionConfig;

    fn config(text: &str) -> Config {
        Config::from_toml(text).unwrap()
    }

    fn names(beginning: &Beginning) -> (Vec<&str>, Vec<&str>) {
        let users = beginning.users.iter().map(|user| &*user.name);
        let vhosts = beginning.vhosts.iter().map(|vhost| &*vhost.name);
        (users.collect(), vhosts.collect())
    }

    fn kept_user(name: &str, vhosts: &[&str]) -> UserConfig {
        UserConfig {
            permissions: vhosts
                .iter()
                .map(|one| PermissionConfig::all(one))
                .collect(),
            ..UserConfig::named(name)
        }
    }

    #[test]
    fn a_blank_broker_begins_with_the_default_user_and_vhost_and_both_can_go() {
        let beginning = Beginning::of(&Config::default(), Kept::default());
        assert_eq!(names(&beginning), (vec!["guest"], vec!["/"]));
        assert_eq!(beginning.configured, Configured::default());
    }

    #[test]
    fn the_defaults_are_made_once() {
        let begun = Kept {
            is_begun: true,
            ..Kept::default()
        };
        let beginning = Beginning::of(&Config::default(), begun);
        assert_eq!(names(&beginning), (vec![], vec![]));
    }

    #[test]
    fn the_default_user_is_not_made_beside_configured_ones_nor_anything_beside_definitions() {
        let beginning = Beginning::of(&config("users = [{ name = 'ada' }]"), Kept::default());
        assert_eq!(names(&beginning), (vec!["ada"], vec!["/"]));
        let imports = config("load_definitions = 'a.json'");
        assert_eq!(
            names(&Beginning::of(&imports, Kept::default())),
            (vec![], vec![])
        );
    }

    #[test]
    fn the_configuration_wins_over_what_is_kept() {
        let text =
            "users = [{ name = 'ada', tags = ['new'] }]\nvhosts = [{ name = 'v', queues_max = 1 }]";
        let kept = Kept {
            is_begun: true,
            users: vec![kept_user("ada", &[]), kept_user("eve", &["v", "gone"])],
            vhosts: vec![VhostConfig::named("v"), VhostConfig::named("w")],
        };
        let beginning = Beginning::of(&config(text), kept);
        assert_eq!(names(&beginning), (vec!["eve", "ada"], vec!["w", "v"]));
        assert_eq!(beginning.users[1].tags, ["new"]);
        assert_eq!(beginning.vhosts[1].queues_max, Some(1));
        assert_eq!(beginning.users[0].permissions, [PermissionConfig::all("v")]);
        let expected = [
            "user 'ada' belongs to the configuration now; what the data directory had of it is dropped",
            "user 'eve' had 1 permissions on vhosts that do not exist; they are dropped",
        ];
        assert_eq!(beginning.notes, expected);
    }
}
