//! What the broker says about itself in `connection.start` (CONN-01, CONN-02).
//!
//! Clients change their behaviour by these values, so the defaults name the server that Leveret
//! stands in for; only `platform` names Leveret itself.

use serde::{Deserialize, Serialize};

/// The table `[identity]`: the server properties of `connection.start`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// The product clients look for.
    pub product: String,
    /// The version of that product whose behaviour is followed.
    pub version: String,
    /// What really runs.
    pub platform: String,
    /// The name of the cluster, by convention `name@host`.
    pub cluster_name: String,
    /// Where to read more.
    pub information: String,
    /// Whose work it is.
    pub copyright: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            product: "RabbitMQ".to_owned(),
            version: "3.13.7".to_owned(),
            platform: concat!("Leveret ", env!("CARGO_PKG_VERSION")).to_owned(),
            cluster_name: "leveret@localhost".to_owned(),
            information: "An AMQP 0-9-1 broker, https://github.com/leveret-mq/leveret".to_owned(),
            copyright: "Copyright (c) the Leveret authors".to_owned(),
        }
    }
}

/// The table `[capabilities]`: what the broker announces that it can do (CONN-02).
///
/// A key changes the announcement only, so that a client's behaviour without a capability can be
/// tried; the broker itself goes on serving it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capabilities {
    /// `publisher_confirms`
    pub publisher_confirms: bool,
    /// `exchange_exchange_bindings`
    pub exchange_exchange_bindings: bool,
    /// `basic.nack`
    pub basic_nack: bool,
    /// `consumer_cancel_notify`
    pub consumer_cancel_notify: bool,
    /// `connection.blocked`
    pub connection_blocked: bool,
    /// `consumer_priorities`
    pub consumer_priorities: bool,
    /// `authentication_failure_close`
    pub authentication_failure_close: bool,
    /// `per_consumer_qos`
    pub per_consumer_qos: bool,
    /// `direct_reply_to`
    pub direct_reply_to: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            publisher_confirms: true,
            exchange_exchange_bindings: true,
            basic_nack: true,
            consumer_cancel_notify: true,
            connection_blocked: true,
            consumer_priorities: true,
            authentication_failure_close: true,
            per_consumer_qos: true,
            direct_reply_to: true,
        }
    }
}

impl Capabilities {
    /// Every capability with its name on the wire, sorted by name as the reference does.
    #[must_use]
    pub fn announced(&self) -> [(&'static str, bool); 9] {
        [
            (
                "authentication_failure_close",
                self.authentication_failure_close,
            ),
            ("basic.nack", self.basic_nack),
            ("connection.blocked", self.connection_blocked),
            ("consumer_cancel_notify", self.consumer_cancel_notify),
            ("consumer_priorities", self.consumer_priorities),
            ("direct_reply_to", self.direct_reply_to),
            (
                "exchange_exchange_bindings",
                self.exchange_exchange_bindings,
            ),
            ("per_consumer_qos", self.per_consumer_qos),
            ("publisher_confirms", self.publisher_confirms),
        ]
    }
}
