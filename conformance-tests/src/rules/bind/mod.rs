//! Bindings of queues and exchanges.

mod exchanges;
mod identity;
mod names;
mod refusals;

use leveret_protocol::method::{exchange, queue};

use crate::registry::Section;

pub(crate) const SECTION: Section = Section::complete(
    "BIND",
    &[
        identity::RULES,
        names::RULES,
        refusals::RULES,
        exchanges::RULES,
    ],
);

/// A bind to complete or send.
fn bind<'a>(queue: &'a str, exchange: &'a str, key: &'a str) -> queue::Bind<'a> {
    queue::Bind {
        queue: queue.into(),
        exchange: exchange.into(),
        routing_key: key.into(),
        ..Default::default()
    }
}

/// An unbind to complete or send.
fn unbind<'a>(queue: &'a str, exchange: &'a str, key: &'a str) -> queue::Unbind<'a> {
    queue::Unbind {
        queue: queue.into(),
        exchange: exchange.into(),
        routing_key: key.into(),
        ..Default::default()
    }
}

/// A bind between exchanges.
fn bind_exchange<'a>(destination: &'a str, source: &'a str, key: &'a str) -> exchange::Bind<'a> {
    exchange::Bind {
        destination: destination.into(),
        source: source.into(),
        routing_key: key.into(),
        ..Default::default()
    }
}

/// An unbind between exchanges.
fn unbind_exchange<'a>(
    destination: &'a str,
    source: &'a str,
    key: &'a str,
) -> exchange::Unbind<'a> {
    exchange::Unbind {
        destination: destination.into(),
        source: source.into(),
        routing_key: key.into(),
        ..Default::default()
    }
}

fn no_queue(name: &str, vhost: &str) -> String {
    format!("NOT_FOUND - no queue '{name}' in vhost '{vhost}'")
}

fn no_exchange(name: &str, vhost: &str) -> String {
    format!("NOT_FOUND - no exchange '{name}' in vhost '{vhost}'")
}
