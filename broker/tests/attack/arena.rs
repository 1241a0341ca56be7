//! [`Arena`]: a broker in this process that is attacked, with a healthy client beside the attackers.
//!
//! ```text
//!   Arena::new ── attack ── still_serves ── attack ── attackers dropped ── ends_empty
//!                             │ publish, confirm, deliver, ack in time          │ nobody connected
//!                             ▼                                                 ▼ nothing left
//! ```
//!
//! Invariants: the healthy client is there before the attack and is never connected anew, so whatever
//! closed it fails the test; `ends_empty` ends only when the broker holds no connection any more.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use leveret::config::{Password, PermissionConfig, UserConfig};
use leveret::{Broker, Config};
use leveret_protocol::client::{write_method, write_publish};
use leveret_protocol::method::{basic, confirm, queue};
use leveret_protocol::{Method, Properties, ShortStr};
use tokio::time::timeout;

use crate::attacker::{Attacker, FRAME_MAX, publish};
use crate::support::{PATIENCE, start};

/// What a healthy client's round trip may take while somebody attacks. Promised is a second; the tests
/// share their machine with others.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

pub(crate) struct Arena {
    pub(crate) broker: Broker,
    pub(crate) address: SocketAddr,
    healthy: Healthy,
}

/// Times so short that whoever is to be thrown out is thrown out soon.
pub(crate) fn impatient() -> Config {
    Config {
        handshake_timeout_ms: 1_000,
        failed_login_delay_ms: 50,
        close_timeout_ms: 1_000,
        ..Config::default()
    }
}

/// A user whose password is the name, with every permission on the default vhost.
pub(crate) fn user(name: &str) -> UserConfig {
    UserConfig {
        password: Password::new(name),
        permissions: vec![PermissionConfig::all("/")],
        ..UserConfig::named(name)
    }
}

impl Arena {
    pub(crate) async fn new() -> Self {
        Self::with(impatient()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let (broker, address) = start(config).await;
        let mut arena = Self {
            healthy: Healthy::at(address).await,
            broker,
            address,
        };
        arena.still_serves().await;
        arena
    }

    /// Somebody else's round trip works, in time.
    pub(crate) async fn still_serves(&mut self) {
        self.healthy.round_trip().await;
    }

    /// Now that the attackers have gone: others are served, and no connection is left behind.
    pub(crate) async fn ends_empty(mut self) {
        self.still_serves().await;
        drop(self.healthy);
        let gone = timeout(PATIENCE, self.broker.all_disconnected()).await;
        assert!(
            gone.is_ok(),
            "{} connections are left behind",
            self.broker.connection_count()
        );
        assert_eq!(self.broker.connection_count(), 0);
        self.broker.shutdown(PATIENCE).await;
    }
}

/// A client that publishes with confirms and consumes with acks.
pub(crate) struct Healthy {
    client: Attacker,
    queue: String,
    trips: u64,
}

impl Healthy {
    pub(crate) async fn at(address: SocketAddr) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let queue = format!("healthy-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut client = Attacker::on_channel(address).await;
        client
            .call(1, confirm::Select::default(), confirm::SelectOk::ID)
            .await;
        let declare = queue::Declare {
            queue: ShortStr(queue.as_bytes()),
            exclusive: true,
            ..Default::default()
        };
        client.call(1, declare, queue::DeclareOk::ID).await;
        let consume = basic::Consume {
            queue: ShortStr(queue.as_bytes()),
            ..Default::default()
        };
        client.call(1, consume, basic::ConsumeOk::ID).await;
        Self {
            client,
            queue,
            trips: 0,
        }
    }

    /// A message there and back, with its confirm and its ack.
    pub(crate) async fn round_trip(&mut self) {
        let served = timeout(SERVED_WITHIN, self.publish_and_consume()).await;
        assert!(served.is_ok(), "a healthy client waits too long");
    }

    async fn publish_and_consume(&mut self) {
        self.trips += 1;
        let body = self.trips.to_be_bytes();
        let mut out = BytesMut::new();
        let properties = Properties::default();
        write_publish(
            1,
            publish("", &self.queue),
            &properties,
            &body,
            FRAME_MAX,
            &mut out,
        );
        self.client.send(&out).await;
        let (mut confirmed, mut delivered) = (false, None);
        while !confirmed || delivered.is_none() {
            let frame = self.client.next().await.unwrap();
            match frame.method().ok() {
                Some(Method::Basic(basic::Method::Ack(_))) => confirmed = true,
                Some(Method::Basic(basic::Method::Deliver(deliver))) => {
                    let _header = self.client.next().await.unwrap();
                    let came = self.client.next().await.unwrap();
                    assert_eq!(*came.payload, body);
                    delivered = Some(deliver.delivery_tag);
                }
                other => panic!("{other:?}"),
            }
        }
        let ack = basic::Ack {
            delivery_tag: delivered.unwrap_or_default(),
            multiple: false,
        };
        let mut out = BytesMut::new();
        write_method(1, ack, &mut out);
        self.client.send(&out).await;
    }
}
