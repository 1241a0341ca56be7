//! Whether the entries of definitions fit each other: names, patterns, and who and what they speak of.
//!
//! What it is not: the rules of queues, exchanges and bindings, which [`super::import`] asks the core
//! about.

use std::collections::BTreeSet;

use leveret_protocol::ShortStr;

use super::document::{Definitions, Place};
use super::policies::{asks_for_nothing, policy_of};
use super::problem::Problems;
use crate::access::{Pattern, PatternError};
use crate::config::NAME_BYTES_MAX;

/// Notes everything that does not fit; `users` and `vhosts` are there beside those in the definitions.
pub(crate) fn check(
    definitions: &Definitions,
    users: &BTreeSet<&str>,
    vhosts: &BTreeSet<&str>,
    problems: &mut Problems,
) {
    let mut check = Check { problems };
    check.names(definitions);
    check.users(definitions, users);
    check.vhosts(definitions, vhosts);
    check.patterns(definitions);
}

struct Check<'p> {
    problems: &'p mut Problems,
}

impl Check<'_> {
    fn names(&mut self, definitions: &Definitions) {
        let users = definitions.users.iter().map(|one| (&one.place, &one.name));
        let vhosts = definitions.vhosts.iter().map(|one| (&one.place, &one.name));
        let policies = definitions
            .policies
            .iter()
            .map(|one| (&one.place, &one.name));
        let exchanges = definitions
            .exchanges
            .iter()
            .map(|one| (&one.place, &one.name));
        let queues = definitions.queues.iter().map(|one| (&one.place, &one.name));
        let all = users
            .chain(vhosts)
            .chain(policies)
            .chain(exchanges)
            .chain(queues);
        for (place, name) in all {
            if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
                let text = format!(
                    "name: expected 1 to {NAME_BYTES_MAX} bytes, found {}",
                    name.len()
                );
                self.problems.add(place, text);
            }
        }
        for one in &definitions.bindings {
            if one.routing_key.len() > ShortStr::LEN_MAX {
                let text = format!("routing_key: expected at most {} bytes", ShortStr::LEN_MAX);
                self.problems.add(&one.place, text);
            }
        }
    }

    fn users(&mut self, definitions: &Definitions, known: &BTreeSet<&str>) {
        let named: BTreeSet<&str> = definitions.users.iter().map(|one| &*one.name).collect();
        let permissions = definitions
            .permissions
            .iter()
            .map(|one| (&one.place, &one.user));
        let topics = definitions
            .topic_permissions
            .iter()
            .map(|one| (&one.place, &one.user));
        for (place, user) in permissions.chain(topics) {
            if !named.contains(&**user) && !known.contains(&**user) {
                self.problems
                    .add(place, format!("there is no user '{user}'"));
            }
        }
    }

    fn vhosts(&mut self, definitions: &Definitions, known: &BTreeSet<&str>) {
        let named: BTreeSet<&str> = definitions.vhosts.iter().map(|one| &*one.name).collect();
        for (place, vhost) in mentioned(definitions) {
            if !named.contains(vhost) && !known.contains(vhost) {
                self.problems
                    .add(place, format!("there is no vhost '{vhost}'"));
            }
        }
    }

    fn patterns(&mut self, definitions: &Definitions) {
        for one in &definitions.permissions {
            self.pattern(&one.place, "configure", &one.configure);
            self.pattern(&one.place, "write", &one.write);
            self.pattern(&one.place, "read", &one.read);
        }
        for one in &definitions.topic_permissions {
            let keys = |pattern: &str| Pattern::of_keys(pattern, &one.user, &one.vhost);
            self.judged(&one.place, "write", &one.write, keys(&one.write));
            self.judged(&one.place, "read", &one.read, keys(&one.read));
        }
        let policies = definitions.policies.iter();
        for one in policies.filter(|one| !asks_for_nothing(one)) {
            for problem in policy_of(one).err().into_iter().flatten() {
                self.problems.add(&one.place, problem);
            }
        }
    }

    fn pattern(&mut self, place: &Place, key: &str, pattern: &str) {
        self.judged(place, key, pattern, Pattern::new(pattern));
    }

    fn judged(
        &mut self,
        place: &Place,
        key: &str,
        pattern: &str,
        judged: Result<Pattern, PatternError>,
    ) {
        if let Err(error) = judged {
            self.problems
                .add(place, format!("{key}: expected {error}, found '{pattern}'"));
        }
    }
}

fn mentioned(definitions: &Definitions) -> impl Iterator<Item = (&Place, &str)> {
    let permissions = definitions
        .permissions
        .iter()
        .map(|one| (&one.place, &*one.vhost));
    let topics = definitions
        .topic_permissions
        .iter()
        .map(|one| (&one.place, &*one.vhost));
    let limits = definitions
        .limits
        .iter()
        .map(|one| (&one.place, &*one.vhost));
    let policies = definitions
        .policies
        .iter()
        .map(|one| (&one.place, &*one.vhost));
    let exchanges = definitions
        .exchanges
        .iter()
        .map(|one| (&one.place, &*one.vhost));
    let queues = definitions
        .queues
        .iter()
        .map(|one| (&one.place, &*one.vhost));
    let bindings = definitions
        .bindings
        .iter()
        .map(|one| (&one.place, &*one.vhost));
    permissions
        .chain(topics)
        .chain(limits)
        .chain(policies)
        .chain(exchanges)
        .chain(queues)
        .chain(bindings)
}
