//! Vhosts, users and permissions as they are written in a configuration.
//!
//! What it is not: the check of a login or a permission, which is [`crate::access`].

use std::fmt;
use std::hint::black_box;

use serde::{Deserialize, Serialize, Serializer};

/// One `[[vhosts]]` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// One `[[users]]` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// The name, 1 to 255 bytes.
    pub name: String,
    /// The password; absent or empty means that no password is right.
    #[serde(default)]
    pub password: Password,
    /// What the user may do beyond messaging, for instance `administrator`.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Connections of this user at once (CONN-22); 0 allows none, absent means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u32>,
    /// Channels of this user at once (TUNE-09); 0 allows none, absent means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels_max: Option<u32>,
    /// At most one entry per vhost; the user may open no other vhost (CONN-19).
    #[serde(default)]
    pub permissions: Vec<PermissionConfig>,
}

impl UserConfig {
    /// The user of a fresh broker: `guest`, who may do everything on `vhost`.
    #[must_use]
    pub fn guest(vhost: &str) -> Self {
        Self {
            name: "guest".to_owned(),
            password: Password::new("guest"),
            tags: vec!["administrator".to_owned()],
            connections_max: None,
            channels_max: None,
            permissions: vec![PermissionConfig::all(vhost)],
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

/// A password that shows itself neither in `Debug` nor when it is serialised.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// What stands in for a password wherever a configuration is shown.
    pub const MASK: &'static str = "***";

    /// Wraps a password in clear text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether `presented` is this password. An empty password matches nothing, not even the empty
    /// one. The time depends on the length of `presented` alone.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let mut difference = usize::from(secret.is_empty()) | (secret.len() ^ presented.len());
        let endless = secret.iter().chain(std::iter::repeat(&0));
        for (ours, theirs) in endless.zip(presented) {
            difference |= black_box(usize::from(ours ^ theirs));
        }
        black_box(difference) == 0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(Self::MASK)
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(Self::MASK)
    }
}
