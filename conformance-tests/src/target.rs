//! The broker under test: where it listens, and what can be found out by talking to it.
//!
//! What it is not: it knows no broker's inside, and starts none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::uri::{AMQPScheme, AMQPUri};
use leveret_protocol::Value;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::management::Management;
use crate::operator::{Duty, Operator, Order};
use crate::probe::probe;
use crate::profile::{self, Profile};
use crate::raw::{Event, Handshake, RawConnection, ServerStart};
use crate::restart::{Restart, Stop};

/// How long it may take to find out what the broker has.
const INQUIRY_PATIENCE: Duration = Duration::from_secs(5);
/// How long a broker that has not served a connection is left alone before it is asked again.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(500);

/// How long a restarted broker may take until it serves.
const SERVING_PATIENCE: Duration = Duration::from_secs(60);
/// How long a broker that does not serve yet is left alone.
const SERVING_PAUSE: Duration = Duration::from_millis(100);
/// More frames than any broker sends to an idle connection while it stops.
const LAST_FRAMES_MAX: usize = 16;

/// The user that the fixtures got last; where it can log in, the others are as well.
const FIXTURE_USER: &str = "topical";

/// A broker that answered.
#[derive(Debug)]
pub struct Target {
    /// As it was given; a restart may have moved the broker to another address.
    uri: AMQPUri,
    address: Mutex<(String, u16)>,
    restart: Option<Arc<dyn Restart>>,
    operators: Vec<Arc<dyn Operator>>,
    management: Option<Management>,
    profile: Profile,
    fixtures: bool,
    quorum_queues: bool,
    stream_queues: bool,
    /// What the broker said of itself at first.
    broker: ServerStart,
    run: String,
    trials: AtomicU32,
    locks: Mutex<HashMap<&'static str, Arc<tokio::sync::Mutex<()>>>>,
}

impl Target {
    /// Connects once, to learn what the broker is and whether the fixtures are there.
    ///
    /// # Errors
    /// The URI is not one, or nothing that speaks AMQP 0-9-1 answers there and lets the user in.
    pub async fn connect(uri: &str) -> Result<Self, Failure> {
        let uri = read_uri(uri)?;
        let mut target = Self {
            address: Mutex::new((uri.authority.host.clone(), uri.authority.port)),
            restart: None,
            operators: Vec::new(),
            management: None,
            profile: Profile::named(profile::DEFAULT)
                .map_err(|error| Failure::new(error.to_string()))?,
            uri,
            fixtures: false,
            quorum_queues: false,
            stream_queues: false,
            broker: ServerStart::default(),
            run: run_name(),
            trials: AtomicU32::new(0),
            locks: Mutex::default(),
        };
        target.broker = target.expect_serving().await.map_err(|failure| {
            let address = target.address();
            failure.at(format!("{address} is not a broker to test"))
        })?;
        target.inquire().await;
        Ok(target)
    }

    /// The same broker, for tests that restart it.
    #[must_use]
    pub fn with_restart(mut self, restart: Arc<dyn Restart>) -> Self {
        self.restart = Some(restart);
        self
    }

    /// The same broker, for tests that need an operator. Of several that can do something, the first is
    /// asked.
    #[must_use]
    pub fn with_operator(mut self, operator: Arc<dyn Operator>) -> Self {
        self.operators.push(operator);
        self
    }

    /// The same broker, held against this profile instead of [`profile::DEFAULT`].
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// The same broker with its HTTP API, which is an operator as well.
    #[must_use]
    pub fn with_management(mut self, management: Management) -> Self {
        self.management = Some(management.clone());
        self.with_operator(Arc::new(management))
    }

    /// Does a handshake on a connection of its own.
    pub(crate) async fn expect_serving(&self) -> Result<ServerStart, Failure> {
        probe(&self.address(), &self.handshake()).await
    }

    pub(crate) async fn pause_before_another_attempt(&self) {
        tokio::time::sleep(ATTEMPT_PAUSE).await;
    }

    /// Finds out what the broker has beyond what every broker has.
    async fn inquire(&mut self) {
        self.fixtures = self.has_fixtures().await;
        self.quorum_queues = self.declares_queues_of_type("quorum").await;
        self.stream_queues = self.declares_queues_of_type("stream").await;
    }

    /// Declares a queue of a type, which a broker without it refuses.
    async fn declares_queues_of_type(&self, kind: &str) -> bool {
        let name = self.fresh_prefix(kind);
        let attempt = async {
            let mut raw = RawConnection::open(&self.address(), &self.handshake()).await?;
            raw.open_channel(1).await?;
            let arguments = [("x-queue-type", Value::LongStr(kind.as_bytes()))];
            raw.declare_queue_with(1, &name, &arguments).await?;
            raw.delete_queue(1, &name).await?;
            raw.close().await
        };
        let answer = tokio::time::timeout(INQUIRY_PATIENCE, attempt).await;
        matches!(answer, Ok(Ok(())))
    }

    async fn has_fixtures(&self) -> bool {
        let handshake = Handshake::login(FIXTURE_USER, FIXTURE_USER);
        let address = self.address();
        let attempt = RawConnection::open(&address, &handshake);
        let answer = tokio::time::timeout(INQUIRY_PATIENCE, attempt).await;
        matches!(answer, Ok(Ok(_)))
    }

    /// The URI that was given, with the address where the broker is now.
    #[must_use]
    pub fn uri(&self) -> AMQPUri {
        let mut uri = self.uri.clone();
        (uri.authority.host, uri.authority.port) = self.host_and_port();
        uri
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        let (host, port) = self.host_and_port();
        format!("{host}:{port}")
    }

    fn host_and_port(&self) -> (String, u16) {
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        address.clone()
    }

    /// The vhost of the URI.
    #[must_use]
    pub fn vhost(&self) -> &str {
        &self.uri.vhost
    }

    /// The user of the URI.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    /// The handshake of the URI's user into the URI's vhost.
    #[must_use]
    pub fn handshake(&self) -> Handshake {
        let userinfo = &self.uri.authority.userinfo;
        Handshake {
            vhost: self.uri.vhost.clone(),
            ..Handshake::login(&userinfo.username, &userinfo.password)
        }
    }

    /// What it is held against where brokers differ.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What the broker said of itself when the suite first connected.
    #[must_use]
    pub fn broker(&self) -> &ServerStart {
        &self.broker
    }

    /// Whether the vhosts and users of the README's section "Fixtures" exist.
    #[must_use]
    pub fn has_fixtures_ready(&self) -> bool {
        self.fixtures
    }

    /// Whether the broker has quorum queues.
    #[must_use]
    pub fn has_quorum_queues(&self) -> bool {
        self.quorum_queues
    }

    /// Whether the broker has streams.
    #[must_use]
    pub fn has_stream_queues(&self) -> bool {
        self.stream_queues
    }

    /// Whether the broker offers this login mechanism.
    #[must_use]
    pub fn offers_mechanism(&self, name: &str) -> bool {
        self.broker
            .mechanisms
            .split(' ')
            .any(|offered| offered == name)
    }

    /// Whether the broker can be stopped so and started again.
    #[must_use]
    pub fn can_restart(&self, stop: Stop) -> bool {
        let restart = self.restart.as_ref();
        restart.is_some_and(|restart| restart.offers(stop))
    }

    /// Whether someone carries out orders of this kind, which only an operator can.
    #[must_use]
    pub fn has_operator_for(&self, duty: Duty) -> bool {
        self.operator_for(duty).is_some()
    }

    /// The broker's HTTP API, if its address was given.
    #[must_use]
    pub fn management(&self) -> Option<&Management> {
        self.management.as_ref()
    }

    fn operator_for(&self, duty: Duty) -> Option<&dyn Operator> {
        let mut operators = self.operators.iter().map(AsRef::as_ref);
        operators.find(|operator| operator.offers(duty))
    }

    pub(crate) async fn operate(&self, order: Order) -> Result<(), Failure> {
        let operator = self.operator_for(order.duty());
        let operator = operator.ok_or_else(|| Failure::new("the target has no operator"))?;
        let step = order.to_string();
        let done = operator.carry_out(order).await;
        done.map_err(|failure| failure.at(step))
    }

    /// Stops the broker, starts it with the data it had, and waits until it serves. A connection
    /// that was open before has to be gone afterwards.
    pub(crate) async fn restart(&self, stop: Stop) -> Result<(), Failure> {
        let restart = self
            .restart
            .as_ref()
            .ok_or_else(|| Failure::new("nobody can restart the target"))?;
        let witness = RawConnection::open(&self.address(), &self.handshake()).await?;
        if let Some(moved) = restart.restart(stop).await? {
            let moved = (moved.ip().to_string(), moved.port());
            *self.address.lock().unwrap_or_else(PoisonError::into_inner) = moved;
        }
        expect_ended(witness).await?;
        self.await_serving().await
    }

    /// Nothing but trying tells when a broker is up that somebody else has started.
    async fn await_serving(&self) -> Result<(), Failure> {
        let until = Instant::now() + SERVING_PATIENCE;
        loop {
            let Err(failure) = RawConnection::open(&self.address(), &self.handshake()).await else {
                return Ok(());
            };
            if Instant::now() > until {
                let late = format!("not serving {SERVING_PATIENCE:?} after its restart");
                return Err(failure.at(late));
            }
            tokio::time::sleep(SERVING_PAUSE).await;
        }
    }

    /// A word that no other test of this or another run has.
    pub(crate) fn fresh_prefix(&self, id: &str) -> String {
        let number = self.trials.fetch_add(1, Ordering::Relaxed);
        let id = id.to_ascii_lowercase();
        format!("lc-{}-{number}-{id}", self.run)
    }

    /// Waits until no other test holds the lock of this name.
    pub(crate) async fn lock(&self, name: &'static str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(name).or_default())
        };
        lock.lock_owned().await
    }
}

/// An address as it is given. An error names it without the password.
fn read_uri(text: &str) -> Result<AMQPUri, Failure> {
    // Strictly read, a path of "/" is the vhost with the empty name. Nobody has such a vhost, and most
    // clients take it for the default one.
    let uri: Result<AMQPUri, _> = text.strip_suffix('/').unwrap_or(text).parse();
    let refused = |problem: &str| {
        let shown = without_userinfo(text);
        Failure::new(format!("{shown:?} is not a broker to test: {problem}"))
    };
    match uri {
        Ok(uri) if uri.scheme == AMQPScheme::AMQPS => {
            Err(refused("TLS is not supported yet, give an amqp:// URI"))
        }
        Ok(uri) => Ok(uri),
        Err(problem) if problem.contains(text) => Err(refused("it is not an AMQP URI")),
        Err(problem) => Err(refused(&format!("it is not an AMQP URI ({problem})"))),
    }
}

/// The URI with the user and the password left out.
fn without_userinfo(uri: &str) -> String {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
    match rest.rsplit_once('@') {
        Some((_, rest)) => format!("{scheme}://…@{rest}"),
        None => uri.to_owned(),
    }
}

/// Reads what the broker sent at last, up to the end of the connection.
async fn expect_ended(mut witness: RawConnection) -> Result<(), Failure> {
    for _ in 0..LAST_FRAMES_MAX {
        match witness.next_event().await? {
            Event::Frame(_) => {}
            Event::End(_) => return Ok(()),
            Event::Nothing => break,
        }
    }
    Err(Failure::new(
        "a connection is still there after the restart: the broker was not stopped",
    ))
}

/// Tells runs apart, so that what a killed run left behind disturbs no later one.
fn run_name() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros());
    format!("{:x}{:x}", micros & 0xFFFF_FFFF_FFFF, std::process::id())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_that_is_refused_is_shown_without_its_password() {
        let refused = |text: &str| read_uri(text).unwrap_err().to_string();
        let tls = refused("amqps://guest:secret@broker/%2f");
        assert!(tls.contains("TLS") && tls.contains("@broker/%2f"), "{tls}");
        for text in [
            "http://guest:secret@broker/",
            "guest:secret@broker",
            "amqp://u:secret@[/",
        ] {
            let shown = refused(text);
            assert!(
                !shown.contains("secret") && shown.contains("not an AMQP URI"),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_single_slash_is_the_default_vhost() {
        assert_eq!(read_uri("amqp://h/").unwrap().vhost, "/");
        assert_eq!(read_uri("amqp://h/a").unwrap().vhost, "a");
    }
}
