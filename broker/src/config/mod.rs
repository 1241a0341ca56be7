//! The configuration of a broker as plain data.
//!
//! [`Config`] holds every key with its default; [`Config::from_toml`] reads one document and
//! [`Layers`] lays several sources over each other. A key that does not exist or a value outside
//! what is allowed is an error that names the key, the value and the place it came from.
//!
//! What it is not: it reads no file, no environment variable and no command line, and it holds no
//! state. Two brokers in one process have two values of this type.
//!
//! Invariant: a `Config` that came out of this module satisfies [`Config::validate`]; one that was
//! put together by hand is checked when a broker starts with it.

mod argon2id;
mod check;
mod error;
mod identity;
mod key;
mod layers;
mod locate;
mod mechanism;
mod network;
mod password;
mod password_hash;
mod password_hashing;
mod proxy_protocol;
mod queue_type;
mod storage;
mod tls;
mod user;
mod user_keys;
mod workers;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

pub(crate) use argon2id::HashingMemory;
pub use check::NAME_BYTES_MAX;
pub use error::{ConfigError, Origin};
pub use identity::{Capabilities, Identity};
pub use key::{Key, keys};
pub use layers::Layers;
pub use mechanism::AuthMechanism;
pub use network::{Network, NotANetwork};
pub use password::Password;
pub use password_hash::{PasswordHash, Salt};
pub use password_hashing::{HashingAlgorithm, PasswordHashing};
pub use proxy_protocol::ProxyProtocolConfig;
pub use queue_type::DefaultQueueType;
pub use storage::{StorageConfig, StorageSync};
pub use tls::{CertLoginFrom, SanType, ServerNameConfig, TlsConfig, TlsVerify, TlsVersion};
pub use user::{PermissionConfig, TopicPermissionConfig, UserConfig, VhostConfig};
pub use workers::WorkerScheduling;

/// Everything an operator can choose. Each field is the TOML key of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses to accept AMQP connections on, `address:port`; port 0 lets the system choose.
    #[serde(deserialize_with = "listeners")]
    pub listeners: Vec<SocketAddr>,
    /// Threads that serve connections; 0 means one per core.
    pub worker_threads: u32,
    /// How connections come to these threads.
    pub worker_scheduling: WorkerScheduling,
    /// Whether each pinned thread stays on one CPU.
    pub worker_affinity: bool,
    /// The directory that keeps durable exchanges, queues, bindings and persistent messages. `None`,
    /// in TOML the empty string, keeps nothing: what is durable lasts as long as the broker.
    #[serde(with = "storage::directory_or_file")]
    pub data_dir: Option<PathBuf>,
    /// A file of RabbitMQ's definitions, or a directory of such files, that is imported at every start
    /// before anybody can connect. With it neither the default vhost nor the default user is made.
    /// `None`, in TOML the empty string, imports nothing.
    #[serde(with = "storage::directory_or_file")]
    pub load_definitions: Option<PathBuf>,

    /// Channels one connection may have open at once (TUNE-01, TUNE-07); 0 leaves only the
    /// protocol's own bound of 65535.
    pub channel_max: u16,
    /// Largest frame in bytes that is offered to a client (TUNE-01, TUNE-05).
    pub frame_max: u32,
    /// Heartbeat interval in seconds that is suggested to a client (TUNE-06); 0 suggests none.
    pub heartbeat_s: u16,
    /// Largest message body in bytes that is accepted (PUB-03).
    pub max_message_size_bytes: u64,
    /// Connections this broker holds at once (CONN-23). Each costs a file descriptor and some
    /// 20 KiB, so the default of 65536 stands for about 1.3 GiB of idle clients.
    pub connections_max: u32,
    /// Consumers one channel may hold (CONS-13). A client with ten thousand on one channel has
    /// lost count of them.
    pub consumers_per_channel_max: u32,
    /// What queues are that are declared without a type (QARG-35), in vhosts that say nothing else.
    pub default_queue_type: DefaultQueueType,
    /// Bytes of messages in memory above which publishers are held back; 0 never holds them back.
    /// The default of 2 GiB is a plain number on purpose: a broker inside a test or an
    /// application must not size itself by the machine.
    pub memory_high_watermark_bytes: u64,
    /// Bytes of memory for everything but messages in queues: connections, channels, consumers, incomplete
    /// messages, transactions, queues, exchanges, bindings. Who asks for more is refused with 506. Zero: no
    /// limit.
    pub memory_reserve_bytes: u64,

    /// Time in milliseconds a client has from being accepted to an open connection (PROTO-09).
    pub handshake_timeout_ms: u64,
    /// Time in milliseconds a refused handshake stays silent before TCP is closed (CONN-12), which
    /// slows down guessing.
    pub failed_login_delay_ms: u64,
    /// Longest time in milliseconds to wait for a client to end a connection that is being closed
    /// (CONN-34); a shorter heartbeat interval shortens it.
    pub close_timeout_ms: u64,
    /// Time in milliseconds a delivery may stay unacknowledged (DELIV-13); 0 switches this off.
    pub consumer_timeout_ms: u64,
    /// Time in milliseconds connections get to end when the broker shuts down.
    pub shutdown_timeout_ms: u64,

    /// The vhost that a broker on a blank data directory begins with. It can be deleted, unless one of
    /// `users` has a permission on it or `vhosts` names it.
    pub default_vhost: String,
    /// The user that a broker on a blank data directory begins with if `users` has none: an administrator
    /// with all permissions on the default vhost, who can be changed and deleted. In TOML the empty string
    /// makes none.
    pub default_user: String,
    /// The password of that user.
    pub default_pass: Password,
    /// How passwords are hashed that are new: those of users who are made or changed while the broker runs, of
    /// the default user, and of definitions that have them in clear text.
    pub password_hashing: PasswordHashing,
    /// Threads that check the passwords of logins, beside those that serve connections; 0 means half as many as
    /// there are cores, at least one.
    pub login_threads: u32,
    /// How clients may log in, in the order in which it is offered (CONN-03).
    pub auth_mechanisms: Vec<AuthMechanism>,
    /// As whom ANONYMOUS logs in; in TOML the empty string is nobody.
    pub anonymous_login_user: String,
    /// Users who may log in from a loopback address only (CONN-13).
    pub loopback_users: Vec<String>,
    /// Vhosts that belong to the configuration: they are as it says at every start, and are changed nowhere
    /// else. Naming the default vhost here gives it limits.
    pub vhosts: Vec<VhostConfig>,
    /// Users who belong to the configuration, as with `vhosts`.
    pub users: Vec<UserConfig>,

    /// AMQP over TLS.
    pub tls: TlsConfig,
    /// Proxies that tell whom they speak for.
    pub proxy_protocol: ProxyProtocolConfig,
    /// How the data directory is written.
    pub storage: StorageConfig,
    /// What the broker says about itself.
    pub identity: Identity,
    /// The capabilities the broker announces.
    pub capabilities: Capabilities,
    /// The log the binary writes.
    pub log: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5672)],
            worker_threads: 0,
            worker_scheduling: WorkerScheduling::default(),
            worker_affinity: false,
            data_dir: None,
            load_definitions: None,
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat_s: 60,
            max_message_size_bytes: 134_217_728,
            connections_max: 65_536,
            consumers_per_channel_max: 10_000,
            default_queue_type: DefaultQueueType::default(),
            memory_high_watermark_bytes: 2 << 30,
            memory_reserve_bytes: 1 << 30,
            handshake_timeout_ms: 10_000,
            failed_login_delay_ms: 3_000,
            close_timeout_ms: 30_000,
            consumer_timeout_ms: 1_800_000,
            shutdown_timeout_ms: 10_000,
            auth_mechanisms: vec![AuthMechanism::Plain, AuthMechanism::AmqPlain],
            anonymous_login_user: String::new(),
            loopback_users: vec!["guest".to_owned()],
            vhosts: Vec::new(),
            users: Vec::new(),
            default_vhost: "/".to_owned(),
            default_user: "guest".to_owned(),
            default_pass: Password::new("guest"),
            password_hashing: PasswordHashing::default(),
            login_threads: 0,
            tls: TlsConfig::default(),
            proxy_protocol: ProxyProtocolConfig::default(),
            storage: StorageConfig::default(),
            identity: Identity::default(),
            capabilities: Capabilities::default(),
            log: LogConfig::default(),
        }
    }
}

impl Config {
    /// Reads one TOML document. What it leaves out keeps its default.
    ///
    /// # Errors
    /// The first thing that is not allowed, with its key and line.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let mut layers = Layers::new();
        layers.push_document(None, text)?;
        layers.build()
    }

    /// The same configuration with definitions to be imported.
    #[must_use]
    pub fn with_definitions(mut self, path: impl Into<PathBuf>) -> Self {
        self.load_definitions = Some(path.into());
        self
    }

    /// Checks what the types alone do not: ranges, names, patterns, and that a permission names a
    /// vhost that exists.
    ///
    /// # Errors
    /// The first thing that is not allowed, with its key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check::check(self).map_err(|problem| ConfigError::new(None, problem))
    }

    /// The vhosts of a fresh broker, each once, the default vhost first. Which vhosts there are besides
    /// those in [`Config::vhosts`] is for the definitions to say, if there are any.
    pub fn vhost_names(&self) -> impl Iterator<Item = &str> {
        let names = self.vhosts.iter().map(|vhost| vhost.name.as_str());
        let has_default = self.load_definitions.is_none();
        let first = has_default.then_some(self.default_vhost.as_str());
        let further = names.filter(move |name| !has_default || *name != self.default_vhost);
        first.into_iter().chain(further)
    }

    /// The vhosts that belong to the configuration, each once: those that have an entry, and the default
    /// vhost if a user has a permission on it.
    pub fn own_vhosts(&self) -> impl Iterator<Item = VhostConfig> + '_ {
        let default = &self.default_vhost;
        let speaks_of_default = |user: &UserConfig| {
            let permissions = user.permissions.iter().map(|one| &one.vhost);
            let topics = user.topic_permissions.iter().map(|one| &one.vhost);
            permissions.chain(topics).any(|vhost| vhost == default)
        };
        let is_needed = self.vhost(default).is_none() && self.users.iter().any(speaks_of_default);
        let needed = is_needed.then(|| VhostConfig::named(default));
        needed.into_iter().chain(self.vhosts.iter().cloned())
    }

    /// The user that a blank broker begins with, if it is to have one.
    #[must_use]
    pub fn first_user(&self) -> Option<UserConfig> {
        let is_wanted = self.users.is_empty() && !self.default_user.is_empty();
        is_wanted.then(|| UserConfig {
            name: self.default_user.clone(),
            password: self.default_pass.clone(),
            tags: vec!["administrator".to_owned()],
            permissions: vec![PermissionConfig::all(&self.default_vhost)],
            ..UserConfig::default()
        })
    }

    /// The entry of a vhost that was given limits.
    #[must_use]
    pub fn vhost(&self, name: &str) -> Option<&VhostConfig> {
        self.vhosts.iter().find(|vhost| vhost.name == name)
    }

    /// [`Config::handshake_timeout_ms`] as a duration.
    #[must_use]
    pub fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout_ms)
    }

    /// [`Config::failed_login_delay_ms`] as a duration.
    #[must_use]
    pub fn failed_login_delay(&self) -> Duration {
        Duration::from_millis(self.failed_login_delay_ms)
    }

    /// [`Config::close_timeout_ms`] as a duration.
    #[must_use]
    pub fn close_timeout(&self) -> Duration {
        Duration::from_millis(self.close_timeout_ms)
    }

    /// [`Config::consumer_timeout_ms`] as a duration, `None` when it is switched off.
    #[must_use]
    pub fn consumer_timeout(&self) -> Option<Duration> {
        (self.consumer_timeout_ms > 0).then(|| Duration::from_millis(self.consumer_timeout_ms))
    }

    /// [`Config::shutdown_timeout_ms`] as a duration.
    #[must_use]
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_millis(self.shutdown_timeout_ms)
    }
}

/// The table `[log]`. Only the binary uses it: the library emits events and installs nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// How a line of the log looks.
    pub format: LogFormat,
    /// What is logged: a level, or a filter such as `info,leveret::net=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Says what an address looks like, which the parser of the standard library does not.
fn listeners<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SocketAddr>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| listener(text)).collect()
}

fn listener<E: serde::de::Error>(text: &str) -> Result<SocketAddr, E> {
    text.parse().map_err(|_| {
        E::custom(format_args!(
            "{text:?} is not allowed, expected an IP address and a port such as \
             \"127.0.0.1:5672\" or \"[::1]:5672\""
        ))
    })
}

#[cfg(test)]
mod tests;
