//! Vhosts, users and permissions as they are written in a configuration.
//!
//! What it is not: the check of a login or a permission, which is [`crate::access`].

use serde::{Deserialize, Serialize};

use super::password::Password;
use super::queue_type::DefaultQueueType;
use super::user_keys::UserKeys;

/// One `[[vhosts]]` entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VhostConfig {
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// Connections to this vhost at once (CONN-21); 0 allows none, absent means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u32>,
    /// Queues in this vhost (QUEUE-30); 0 allows none, absent means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues_max: Option<u32>,
    /// Exchanges in this vhost, the seven predeclared ones included; absent means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchanges_max: Option<u32>,
    /// Bindings in this vhost; 0 allows none, absent means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bindings_max: Option<u32>,
    /// What it is for, in the operator's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Words by which operators find it; they change nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What a queue is that is declared without a type; absent means the broker's (QARG-35).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_queue_type: Option<DefaultQueueType>,
}

/// One `[[users]]` entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UserKeys")]
pub struct UserConfig {
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// The password, or its hash: the keys `password`, or `password_hash` and `hashing_algorithm`. Absent or
    /// empty means that no password is right.
    pub password: Password,
    /// What the user may do beyond messaging, for instance `administrator`.
    pub tags: Vec<String>,
    /// Connections of this user at once (CONN-22); 0 allows none, absent means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u32>,
    /// Channels of this user at once (TUNE-09); 0 allows none, absent means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels_max: Option<u32>,
    /// At most one entry per vhost; the user may open no other vhost (CONN-19).
    pub permissions: Vec<PermissionConfig>,
    /// At most one entry per vhost and exchange; without one every key is allowed (PERM-14).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topic_permissions: Vec<TopicPermissionConfig>,
}

impl VhostConfig {
    /// A vhost of this name without limits.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

impl UserConfig {
    /// `guest` with the password `guest`, who may do everything on `vhost`: the user of a blank broker, for those
    /// who have other users beside it.
    #[must_use]
    pub fn guest(vhost: &str) -> Self {
        Self {
            password: Password::new("guest"),
            tags: vec!["administrator".to_owned()],
            permissions: vec![PermissionConfig::all(vhost)],
            ..Self::named("guest")
        }
    }

    /// A user of this name without a password, who may open no vhost.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

/// What a user may do in one vhost: regular expressions that the name of an exchange or queue has
/// to match. A pattern matches anywhere in the name; an empty pattern matches the empty name only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermissionConfig {
    /// The vhost this is about.
    pub vhost: String,
    /// Names that may be declared and deleted.
    #[serde(default)]
    pub configure: String,
    /// Names that may be published to and bound.
    #[serde(default)]
    pub write: String,
    /// Names that may be consumed from and bound from.
    #[serde(default)]
    pub read: String,
}

impl PermissionConfig {
    /// Every permission on `vhost`.
    #[must_use]
    pub fn all(vhost: &str) -> Self {
        Self {
            vhost: vhost.to_owned(),
            configure: ".*".to_owned(),
            write: ".*".to_owned(),
            read: ".*".to_owned(),
        }
    }
}

/// Which keys a user may use on one topic exchange: regular expressions as in [`PermissionConfig`], in
/// which `{username}` and `{vhost}` stand for the user's name and the vhost's (PERM-13, PERM-14).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicPermissionConfig {
    /// The vhost this is about.
    pub vhost: String,
    /// The exchange this is about, which need not exist.
    pub exchange: String,
    /// Routing keys that may be published with.
    #[serde(default)]
    pub write: String,
    /// Binding keys that may be bound with.
    #[serde(default)]
    pub read: String,
}
