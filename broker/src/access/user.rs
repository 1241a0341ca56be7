//! [`User`]: one user with its permissions compiled.
//!
//! What it is not: a login (see [`super::login`]), or changed: a user that has changed is another value of
//! this type, with the same [`Birth`].

use std::collections::HashMap;
use std::sync::Arc;

use super::permissions::{PatternError, Permissions};
use super::topics::TopicPermissions;
use super::{AccessError, UserLimits};
use crate::config::{Password, PermissionConfig, TopicPermissionConfig, UserConfig};

/// Tells a user from one of the same name that was deleted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Birth(pub(super) u64);

/// One user as others may see it.
#[derive(Debug)]
pub struct User {
    pub(super) config: UserConfig,
    pub(super) loopback_only: bool,
    pub(super) permissions: HashMap<String, Arc<Permissions>>,
    pub(super) birth: Birth,
}

impl User {
    /// Compiles what a user may do. What `earlier` has compiled of the same text is taken over.
    pub(super) fn new(
        config: UserConfig,
        loopback_only: bool,
        birth: Birth,
        earlier: Option<&Self>,
    ) -> Result<Self, AccessError> {
        let earlier = earlier.map(Compiled::of);
        let topics = topics_by_vhost(&config);
        let mut permissions = HashMap::new();
        for entry in &config.permissions {
            let topics = topics.get(&*entry.vhost).map_or(&[][..], Vec::as_slice);
            let same = earlier.as_ref().and_then(|known| known.same(entry, topics));
            let compiled = match same {
                Some(same) => Arc::clone(same),
                None => Arc::new(compile(&config.name, entry, topics)?),
            };
            permissions.insert(entry.vhost.clone(), compiled);
        }
        // Those that count for nothing as yet are judged too, so that none is in the way later.
        let idle = topics.iter().filter(|of| !permissions.contains_key(*of.0));
        for (vhost, topics) in idle {
            compile_topics(&config.name, vhost, topics)?;
        }
        Ok(Self {
            loopback_only,
            permissions,
            birth,
            config,
        })
    }

    /// The name that the user logs in with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The tags, for instance `administrator`.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.config.tags
    }

    /// Whether the user has this tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.config.tags.iter().any(|own| own == tag)
    }

    pub(super) fn password(&self) -> &Password {
        &self.config.password
    }

    /// Connections of this user at once (CONN-22). `None` means no limit and 0 allows none.
    #[must_use]
    pub fn connections_max(&self) -> Option<u32> {
        self.config.connections_max
    }

    /// Channels of this user at once (TUNE-09). `None` means no limit and 0 allows none.
    #[must_use]
    pub fn channels_max(&self) -> Option<u32> {
        self.config.channels_max
    }

    /// Both limits.
    #[must_use]
    pub fn limits(&self) -> UserLimits {
        UserLimits {
            connections_max: self.connections_max(),
            channels_max: self.channels_max(),
        }
    }

    /// What the user may do, vhost by vhost; it may open no other vhost (CONN-19).
    #[must_use]
    pub fn permissions(&self) -> &[PermissionConfig] {
        &self.config.permissions
    }

    /// Which keys the user may use on topic exchanges (PERM-13).
    #[must_use]
    pub fn topic_permissions(&self) -> &[TopicPermissionConfig] {
        &self.config.topic_permissions
    }

    /// The user as a configuration would have it.
    pub(crate) fn config(&self) -> &UserConfig {
        &self.config
    }
}

type Topics<'u> = HashMap<&'u str, Vec<&'u TopicPermissionConfig>>;

fn topics_by_vhost(user: &UserConfig) -> Topics<'_> {
    let mut topics = Topics::new();
    for topic in &user.topic_permissions {
        topics.entry(&topic.vhost).or_default().push(topic);
    }
    topics
}

fn compile(
    user: &str,
    entry: &PermissionConfig,
    topics: &[&TopicPermissionConfig],
) -> Result<Permissions, AccessError> {
    let vhost = &entry.vhost;
    let permissions = Permissions::new(&entry.configure, &entry.write, &entry.read);
    let permissions =
        permissions.map_err(|(which, reason)| refused(user, vhost, which.to_owned(), reason))?;
    Ok(permissions.with_topics(compile_topics(user, vhost, topics)?))
}

fn compile_topics(
    user: &str,
    vhost: &str,
    topics: &[&TopicPermissionConfig],
) -> Result<TopicPermissions, AccessError> {
    let compiled = TopicPermissions::new(user, topics);
    compiled.map_err(|(which, reason)| refused(user, vhost, which, reason))
}

fn refused(user: &str, vhost: &str, permission: String, reason: PatternError) -> AccessError {
    AccessError::Pattern {
        user: user.to_owned(),
        vhost: vhost.to_owned(),
        permission,
        reason,
    }
}

/// What a user had, to be found by vhost.
struct Compiled<'u> {
    user: &'u User,
    entries: HashMap<&'u str, &'u PermissionConfig>,
    topics: Topics<'u>,
}

impl<'u> Compiled<'u> {
    fn of(user: &'u User) -> Self {
        let entries = user.config.permissions.iter();
        Self {
            user,
            entries: entries.map(|entry| (&*entry.vhost, entry)).collect(),
            topics: topics_by_vhost(&user.config),
        }
    }

    fn same(
        &self,
        entry: &PermissionConfig,
        topics: &[&TopicPermissionConfig],
    ) -> Option<&'u Arc<Permissions>> {
        let vhost = &*entry.vhost;
        let had = self.topics.get(vhost).map_or(&[][..], Vec::as_slice);
        let is_same = self.entries.get(vhost) == Some(&entry) && had == topics;
        is_same.then(|| self.user.permissions.get(vhost)).flatten()
    }
}
