//! Users, vhosts and permissions that change while clients are connected, the broker is killed, or others do
//! the same. What is expected of the protocol was seen of RabbitMQ 3.10.8.

#![allow(clippy::unwrap_used, missing_docs)]

mod changes;
mod chaos;
mod deletion;
mod kills;
mod session;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;

use leveret::config::{Password, PermissionConfig};
use leveret::{Broker, Config, UserChange, VhostSettings};

/// An empty directory for one test.
pub(crate) fn directory(test: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("accounts-{test}"));
    let _ = std::fs::remove_dir_all(&directory);
    directory
}

/// Keeps its data there.
pub(crate) fn keeping(directory: &std::path::Path) -> Config {
    Config {
        data_dir: Some(directory.to_owned()),
        failed_login_delay_ms: 0,
        ..Config::default()
    }
}

/// A user whose password is its name, with every permission on a vhost.
pub(crate) async fn add_user(broker: &Broker, name: &str, vhost: &str) {
    let change = UserChange {
        password: Some(Password::new(name)),
        tags: None,
    };
    broker.put_user(name, change).await.unwrap();
    let all = PermissionConfig::all(vhost);
    broker.set_permissions(name, all).await.unwrap();
}

pub(crate) async fn add_vhost(broker: &Broker, name: &str) {
    let settings = VhostSettings::default();
    broker.put_vhost(name, settings).await.unwrap();
}
