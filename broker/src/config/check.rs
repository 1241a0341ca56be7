//! The rules that a configuration has to satisfy beyond its types.
//!
//! Ranges are looked up in a TOML table, so that one list serves a layer that has only some keys
//! and a whole configuration alike.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

use super::error::Problem;
use super::{Config, PermissionConfig, TlsConfig, TlsVerify, UserConfig};
use crate::access::{Pattern, PatternError};

/// Longest name of a user or vhost and longest identity text in bytes. It is what a short string
/// holds, and it keeps `connection.start` inside the 4096 bytes of a first frame.
pub const NAME_BYTES_MAX: usize = 255;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// What each number may be.
const RANGES: &[Range] = &[
    Range::new("worker_threads", 0, 1_024),
    // Each may take 19 MiB and a core.
    Range::new("login_threads", 0, 64),
    Range::new("channel_max", 0, 65_535),
    // The least is the protocol's frame-min-size. The most bounds what one frame can make a
    // connection hold; "no limit" (0) is therefore not on offer.
    Range::new("frame_max", 4_096, 16_777_216),
    Range::new("heartbeat_s", 0, 65_535),
    // The most is the hard cap of the reference (PUB-03).
    Range::new("max_message_size_bytes", 1, 536_870_912),
    Range::new("connections_max", 1, 4_294_967_295),
    Range::new("consumers_per_channel_max", 1, 4_294_967_295),
    Range::new("memory_high_watermark_bytes", 0, i64::MAX),
    Range::new("memory_reserve_bytes", 0, i64::MAX),
    // A handshake without a deadline would let silent peers use up all connections.
    Range::new("handshake_timeout_ms", 1, HOUR_MS),
    Range::new("failed_login_delay_ms", 0, HOUR_MS),
    Range::new("close_timeout_ms", 1, HOUR_MS),
    // Ten years: some switch a timeout off by a very large number.
    Range::new("consumer_timeout_ms", 0, 3_653 * DAY_MS),
    Range::new("shutdown_timeout_ms", 0, DAY_MS),
    // As with the other handshake.
    Range::new("tls.handshake_timeout_ms", 1, HOUR_MS),
    Range::new("tls.handshakes_max", 1, 65_536),
    // Smaller files would cost more in names than they hold; larger ones would give space back late.
    Range::new("storage.segment_bytes", 65_536, 1 << 30),
    Range::new("storage.disk_free_min_bytes", 0, i64::MAX),
];

/// All rules on a whole configuration.
pub(super) fn check(config: &Config) -> Result<(), Problem> {
    let table = Table::try_from(config).map_err(|error| Problem::new("", error.to_string()))?;
    ranges(&table)?;
    identity(config)?;
    auth_mechanisms(config)?;
    vhosts(config)?;
    tls(&config.tls)?;
    config
        .users
        .iter()
        .enumerate()
        .try_for_each(|(index, one)| {
            user(config, index, one)?;
            permissions(config, index, one)?;
            topic_permissions(config, index, one)
        })
}

/// The ranges of the numbers that `table` has.
pub(super) fn ranges(table: &Table) -> Result<(), Problem> {
    RANGES
        .iter()
        .try_for_each(|range| match value_at(table, range.path) {
            None => Ok(()),
            Some(Value::Integer(number)) if range.holds(*number) => Ok(()),
            Some(other) => Err(Problem::value(range.path, shown(other), range)),
        })
}

/// The value at a dotted path. A step into what is no table finds nothing: its type is refused
/// elsewhere.
fn value_at<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    let mut steps = path.split('.');
    let first = table.get(steps.next()?);
    steps.fold(first, |value, step| value?.get(step))
}

struct Range {
    path: &'static str,
    least: i64,
    most: i64,
}

impl Range {
    const fn new(path: &'static str, least: i64, most: i64) -> Self {
        Self { path, least, most }
    }

    fn holds(&self, number: i64) -> bool {
        (self.least..=self.most).contains(&number)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a whole number from {} to {}", self.least, self.most)
    }
}

fn identity(config: &Config) -> Result<(), Problem> {
    let identity = &config.identity;
    let texts = [
        ("product", &identity.product),
        ("version", &identity.version),
        ("platform", &identity.platform),
        ("cluster_name", &identity.cluster_name),
        ("information", &identity.information),
        ("copyright", &identity.copyright),
    ];
    texts.into_iter().try_for_each(|(name, text)| {
        let allowed = format!("at most {NAME_BYTES_MAX} bytes");
        let ok = text.len() <= NAME_BYTES_MAX;
        ensure(ok, || {
            Problem::value(format!("identity.{name}"), Quoted(text), allowed)
        })
    })
}

/// Without any, nobody could log in and nothing would say why.
fn auth_mechanisms(config: &Config) -> Result<(), Problem> {
    let offered = &config.auth_mechanisms;
    let key = "auth_mechanisms".to_owned();
    ensure(!offered.is_empty(), || {
        Problem::value(key.clone(), "[]", "at least one mechanism")
    })?;
    let mut seen = HashSet::new();
    let mut offered = offered.iter().map(|mechanism| mechanism.as_str());
    offered.try_for_each(|name| unique(seen.insert(name), key.clone(), name))
}

/// What listeners need; the files themselves are opened later.
fn tls(tls: &TlsConfig) -> Result<(), Problem> {
    let is_used = !tls.listeners.is_empty();
    let verifies = tls.verify == TlsVerify::VerifyPeer;
    ensure(!is_used || cfg!(feature = "tls"), || {
        Problem::value("tls.listeners", "[…]", "none, in a build without TLS")
    })?;
    let needs = |key: &str, is_needed: bool, file: &Option<PathBuf>, why: &str| {
        ensure(!is_needed || file.is_some(), || {
            Problem::value(format!("tls.{key}"), Quoted(""), why)
        })
    };
    needs(
        "certfile",
        is_used,
        &tls.certfile,
        "a file, since tls.listeners are set",
    )?;
    needs(
        "keyfile",
        is_used,
        &tls.keyfile,
        "a file, since tls.listeners are set",
    )?;
    let why = "a file, since tls.verify is \"verify_peer\"";
    needs("cacertfile", is_used && verifies, &tls.cacertfile, why)?;
    ensure(!tls.fail_if_no_peer_cert || verifies, || {
        let why = "false, or tls.verify = \"verify_peer\"";
        Problem::value("tls.fail_if_no_peer_cert", "true", why)
    })?;
    ensure(!tls.versions.is_empty(), || {
        Problem::value("tls.versions", "[]", "at least one version")
    })
}

fn vhosts(config: &Config) -> Result<(), Problem> {
    name("default_vhost".to_owned(), &config.default_vhost)?;
    let default_user = &config.default_user;
    ensure(default_user.len() <= NAME_BYTES_MAX, || {
        let allowed = format!("at most {NAME_BYTES_MAX} bytes");
        Problem::value("default_user", Quoted(default_user), allowed)
    })?;
    let mut seen = HashSet::new();
    let vhosts = config.vhosts.iter().enumerate();
    vhosts.into_iter().try_for_each(|(index, vhost)| {
        let key = format!("vhosts[{index}].name");
        name(key.clone(), &vhost.name)?;
        unique(seen.insert(&vhost.name), key, &vhost.name)
    })
}

fn user(config: &Config, index: usize, user: &UserConfig) -> Result<(), Problem> {
    let key = format!("users[{index}].name");
    name(key.clone(), &user.name)?;
    let earlier = config.users.iter().take(index);
    let is_first = earlier.into_iter().all(|other| other.name != user.name);
    unique(is_first, key, &user.name)
}

fn permissions(config: &Config, index: usize, user: &UserConfig) -> Result<(), Problem> {
    let mut seen = HashSet::new();
    let entries = user.permissions.iter().enumerate();
    entries.into_iter().try_for_each(|(entry, permission)| {
        let key = format!("users[{index}].permissions[{entry}]");
        let vhost = &permission.vhost;
        existing(config, &key, vhost)?;
        unique(seen.insert(vhost), format!("{key}.vhost"), vhost)?;
        patterns(&key, permission)
    })
}

fn topic_permissions(config: &Config, index: usize, user: &UserConfig) -> Result<(), Problem> {
    let mut seen = HashSet::new();
    let entries = user.topic_permissions.iter().enumerate();
    entries.into_iter().try_for_each(|(entry, permission)| {
        let key = format!("users[{index}].topic_permissions[{entry}]");
        existing(config, &key, &permission.vhost)?;
        let exchange = (&permission.vhost, &permission.exchange);
        let is_first = seen.insert(exchange);
        unique(is_first, format!("{key}.exchange"), &permission.exchange)?;
        let patterns = [("write", &permission.write), ("read", &permission.read)];
        patterns.into_iter().try_for_each(|(name, pattern)| {
            let compiled = Pattern::of_keys(pattern, &user.name, &permission.vhost);
            checked(format!("{key}.{name}"), pattern, compiled)
        })
    })
}

/// Whether a permission's vhost exists; which ones there are besides is for definitions to say.
fn existing(config: &Config, key: &str, vhost: &str) -> Result<(), Problem> {
    let exists = config.vhost_names().any(|name| name == vhost);
    ensure(exists || config.load_definitions.is_some(), || {
        let allowed = "the default vhost or one of `vhosts`";
        Problem::value(format!("{key}.vhost"), Quoted(vhost), allowed)
    })
}

fn patterns(key: &str, permission: &PermissionConfig) -> Result<(), Problem> {
    let patterns = [
        ("configure", &permission.configure),
        ("write", &permission.write),
        ("read", &permission.read),
    ];
    compile(key, patterns)
}

fn compile<const N: usize>(key: &str, patterns: [(&str, &String); N]) -> Result<(), Problem> {
    patterns.into_iter().try_for_each(|(name, pattern)| {
        checked(format!("{key}.{name}"), pattern, Pattern::new(pattern))
    })
}

fn checked(
    key: String,
    pattern: &str,
    compiled: Result<Pattern, PatternError>,
) -> Result<(), Problem> {
    let compiled = compiled.map(drop);
    compiled.map_err(|error| Problem::value(key, Quoted(pattern), error))
}

fn name(key: String, name: &str) -> Result<(), Problem> {
    let ok = (1..=NAME_BYTES_MAX).contains(&name.len());
    ensure(ok, || {
        Problem::value(key, Quoted(name), format!("1 to {NAME_BYTES_MAX} bytes"))
    })
}

fn unique(is_unique: bool, key: String, name: &str) -> Result<(), Problem> {
    ensure(is_unique, || {
        Problem::value(key, Quoted(name), "each name only once")
    })
}

fn ensure(ok: bool, problem: impl FnOnce() -> Problem) -> Result<(), Problem> {
    if ok { Ok(()) } else { Err(problem()) }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => Quoted(text).to_string(),
        other => other.to_string(),
    }
}

/// A text in quotes, with control characters escaped and cut to a readable length.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_CHARACTERS_MAX: usize = 60;
        let shown: String = self.0.chars().take(SHOWN_CHARACTERS_MAX).collect();
        let more = if shown.len() < self.0.len() {
            "…"
        } else {
            ""
        };
        write!(out, "{shown:?}{more}")
    }
}
