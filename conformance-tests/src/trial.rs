//! One run of one test: its own names, its own connections, and the clean-up after it.
//!
//! Names are unique, so tests run side by side. Whatever was named is deleted at the end, whether the
//! test passed, failed or ran into its deadline.

use std::fmt::{Debug, Display};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::{Channel, Connection, ConnectionProperties};
use leveret_protocol::method::{exchange, queue};
use leveret_protocol::{Method, ShortStr};

use crate::alarms::RaisedAlarms;
use crate::failure::Failure;
use crate::management::Management;
use crate::operator::{Order, PermissionsOrder, PolicyName, PolicyOrder, Resource, Setting};
use crate::permissions::ChangedPermissions;
use crate::policies::SetPolicies;
use crate::profile::{SeenVariants, Texts, Variant};
use crate::raw::{Expected, Handshake, RawConnection, Text};
use crate::registry::Rule;
use crate::restart::Stop;
use crate::target::Target;
use crate::vhosts::AddedVhosts;

/// How long the clean-up of one test may take.
const CLEAN_UP_DEADLINE: Duration = Duration::from_secs(10);
/// How long one lapin connection may take to close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// The reply code of a close for no reason.
const REPLY_SUCCESS: u16 = 200;

/// What a test is handed.
#[derive(Debug)]
pub struct Trial {
    target: Arc<Target>,
    rule: &'static Rule,
    variants: SeenVariants,
    prefix: String,
    named: Mutex<Vec<Named>>,
    alarms: RaisedAlarms,
    policies: SetPolicies,
    permissions: ChangedPermissions,
    vhosts: AddedVhosts,
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Kept until their connections are closed: lapin closes a channel when its last handle goes,
    /// and an answer that crosses the connection's close is lost to it.
    channels: Mutex<Vec<Channel>>,
}

/// Something that has to be deleted at the end, if it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    vhost: String,
    name: String,
}

impl Trial {
    pub(crate) fn new(target: Arc<Target>, rule: &'static Rule) -> Self {
        Self {
            prefix: target.fresh_prefix(rule.id),
            target,
            rule,
            variants: SeenVariants::default(),
            named: Mutex::default(),
            alarms: RaisedAlarms::default(),
            policies: SetPolicies::default(),
            permissions: ChangedPermissions::default(),
            vhosts: AddedVhosts::default(),
            connections: Mutex::default(),
            channels: Mutex::default(),
        }
    }

    /// The broker under test.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The vhost under test, as it stands in error texts.
    #[must_use]
    pub fn vhost(&self) -> &str {
        self.target.vhost()
    }

    /// A unique name for a queue or exchange, which is deleted at the end.
    #[must_use]
    pub fn name(&self, suffix: &str) -> String {
        let name = format!("{}-{suffix}", self.prefix);
        self.deletes(&name);
        name
    }

    /// A unique name in another vhost, which is deleted at the end.
    #[must_use]
    pub fn name_in(&self, vhost: &str, suffix: &str) -> String {
        let name = format!("{}-{suffix}", self.prefix);
        self.remember(vhost, &name);
        name
    }

    /// Has a name deleted at the end that the test did not get from [`Trial::name`], for instance
    /// one that the broker made.
    pub fn deletes(&self, name: &str) {
        self.remember(self.target.vhost(), name);
    }

    fn remember(&self, vhost: &str, name: &str) {
        let named = Named {
            vhost: vhost.to_owned(),
            name: name.to_owned(),
        };
        let mut all = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains(&named) {
            all.push(named);
        }
    }

    /// A lapin channel on a connection of its own.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn channel(&self) -> Result<Channel, Failure> {
        let channel = self.connection().await?.create_channel().await?;
        self.channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(channel.clone());
        Ok(channel)
    }

    /// A lapin connection, closed at the end.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn connection(&self) -> Result<Arc<Connection>, Failure> {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect_uri(self.target.uri(), properties).await?;
        let connection = Arc::new(connection);
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&connection));
        Ok(connection)
    }

    /// A raw connection on which channel 1 is open.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn raw(&self) -> Result<RawConnection, Failure> {
        let mut raw = self.raw_with(&self.handshake()).await?;
        raw.open_channel(1).await?;
        Ok(raw)
    }

    /// A raw connection that has done this handshake and opened no channel.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn raw_with(&self, handshake: &Handshake) -> Result<RawConnection, Failure> {
        let raw = RawConnection::open(&self.target.address(), handshake).await?;
        Ok(raw.with_texts(self.target.profile().texts()))
    }

    /// A raw connection that has sent nothing yet, not even the protocol header.
    ///
    /// # Errors
    /// The broker does not accept.
    pub async fn raw_socket(&self) -> Result<RawConnection, Failure> {
        let raw = RawConnection::connect(&self.target.address()).await?;
        Ok(raw.with_texts(self.target.profile().texts()))
    }

    /// The handshake of the target's user, to be changed and given to [`Trial::raw_with`].
    #[must_use]
    pub fn handshake(&self) -> Handshake {
        self.target.handshake()
    }

    /// The handshake of one of the fixtures' users, whose password is its name.
    #[must_use]
    pub fn login(&self, user: &str) -> Handshake {
        Handshake {
            vhost: self.vhost().to_owned(),
            ..Handshake::login(user, user)
        }
    }

    /// Stops the broker in order and starts it again; for tests marked `restart`.
    ///
    /// # Errors
    /// It does not come back.
    pub async fn restart(&self) -> Result<(), Failure> {
        let restarted = self.target.restart(Stop::Clean).await;
        restarted.map_err(|failure| failure.at("restart"))
    }

    /// Kills the broker and starts it again; for tests marked `crash`.
    ///
    /// # Errors
    /// It does not come back.
    pub async fn crash(&self) -> Result<(), Failure> {
        let restarted = self.target.restart(Stop::Crash).await;
        restarted.map_err(|failure| failure.at("restart after a crash"))
    }

    /// Has an operator raise an alarm, and waits until publishers are held up for this reason; for
    /// tests marked `alarms`. It is cleared at the end.
    ///
    /// # Errors
    /// The operator fails, or publishers are not held up.
    pub async fn raise_alarm(&self, resource: Resource) -> Result<(), Failure> {
        self.alarms.raise(&self.target, resource).await
    }

    /// Has an operator clear an alarm, and waits until publishers are no longer held up for this reason.
    ///
    /// # Errors
    /// The operator fails, or publishers are still held up.
    pub async fn clear_alarm(&self, resource: Resource) -> Result<(), Failure> {
        self.alarms.clear(&self.target, resource).await
    }

    /// A policy for the queues and exchanges whose names begin as this one does, to be changed and given to
    /// [`Trial::set_policy`]. It is named after the suffix.
    #[must_use]
    pub fn policy(
        &self,
        suffix: &str,
        names: &str,
        definition: &[(&'static str, Setting)],
    ) -> PolicyOrder {
        PolicyOrder {
            name: PolicyName {
                is_operators: false,
                vhost: self.vhost().to_owned(),
                name: format!("{}-{suffix}", self.prefix),
            },
            pattern: format!("^{names}"),
            apply_to: "all",
            priority: 0,
            definition: definition.to_vec(),
        }
    }

    /// Has an operator set a policy; for tests marked `operator`. It is cleared at the end.
    ///
    /// # Errors
    /// The operator fails.
    pub async fn set_policy(&self, policy: PolicyOrder) -> Result<(), Failure> {
        self.policies.set(&self.target, policy).await
    }

    /// Has an operator clear a policy.
    ///
    /// # Errors
    /// The operator fails.
    pub async fn clear_policy(&self, name: &PolicyName) -> Result<(), Failure> {
        self.policies.clear(&self.target, name.clone()).await
    }

    /// Whether the target may show this variant. The test's row has to declare it.
    #[must_use]
    pub fn accepts(&self, variant: Variant) -> bool {
        self.variants.ask(self.rule, variant);
        self.target.profile().accepts(variant)
    }

    /// Notes for the report that the target has shown this variant.
    pub fn saw(&self, variant: Variant) {
        self.variants.record(variant);
    }

    /// Checks a value of which there is one for each variant, and says which variant came.
    ///
    /// # Errors
    /// It is none of those that the profile accepts.
    pub fn expect_variant_of<C: Debug + PartialEq<E>, E: Debug>(
        &self,
        what: impl Display,
        came: C,
        alternatives: &[(Variant, E)],
    ) -> Result<Variant, Failure> {
        let (accepted, refused): (Vec<_>, Vec<_>) = alternatives
            .iter()
            .partition(|(variant, _)| self.accepts(*variant));
        if let Some((variant, _)) = accepted.iter().find(|(_, value)| came == *value) {
            self.saw(*variant);
            return Ok(*variant);
        }
        let wanted: Vec<_> = accepted
            .iter()
            .map(|(_, value)| format!("{value:?}"))
            .collect();
        let wanted = wanted.join(" or ");
        let failure = Failure::new(format!("{what}: expected {wanted}, but {came:?} came"));
        match refused.iter().find(|(_, value)| came == *value) {
            Some((variant, _)) => Err(failure.note(self.not_accepted(*variant))),
            None => Err(failure),
        }
    }

    /// The sentence that tells a user which line of a profile would let the target pass.
    pub(crate) fn not_accepted(&self, variant: Variant) -> String {
        let profile = self.target.profile().name();
        format!("that is variant {variant}, which profile {profile} does not accept")
    }

    /// What a text has to be under the target's profile, for what lapin reports; a [`RawConnection`]
    /// knows by itself.
    pub fn text(&self, text: impl Into<Text>) -> Text {
        match self.target.profile().texts() {
            Texts::Exact => text.into(),
            Texts::Free => Text::any(),
        }
    }

    pub(crate) fn shown(&self) -> Vec<Variant> {
        self.variants.shown()
    }

    pub(crate) fn expect_declared_variants(&self) -> Result<(), Failure> {
        self.variants.expect_declared(self.rule)
    }

    /// Has an operator change what a user of the fixtures may do who may do everything; for tests marked
    /// `permissions`. What it may configure, write and read are regular expressions. At the end it may do
    /// everything again.
    ///
    /// # Errors
    /// The operator fails.
    pub async fn set_permissions(
        &self,
        user: &str,
        [configure, write, read]: [&str; 3],
    ) -> Result<(), Failure> {
        let order = PermissionsOrder {
            vhost: self.vhost().to_owned(),
            user: user.to_owned(),
            configure: configure.to_owned(),
            write: write.to_owned(),
            read: read.to_owned(),
        };
        self.permissions.change(&self.target, order).await
    }

    /// Has an operator close the connection whose handshake has this name, for this reason; for tests marked
    /// `closes_connections`.
    ///
    /// # Errors
    /// The operator fails.
    pub async fn close_connection(&self, name: &str, reason: &str) -> Result<(), Failure> {
        let order = Order::CloseConnection {
            name: name.to_owned(),
            reason: reason.to_owned(),
        };
        self.target.operate(order).await
    }

    /// Has an operator make a vhost that the target's user may enter, and returns its handshake there; for
    /// tests marked `vhosts`. It is deleted at the end.
    ///
    /// # Errors
    /// The operator fails.
    pub async fn add_vhost(&self, suffix: &str) -> Result<Handshake, Failure> {
        let vhost = format!("{}-{suffix}", self.prefix);
        self.vhosts.add(&self.target, &vhost).await?;
        let everything = || ".*".to_owned();
        let order = PermissionsOrder {
            vhost: vhost.clone(),
            user: self.target.user().to_owned(),
            configure: everything(),
            write: everything(),
            read: everything(),
        };
        self.target.operate(Order::SetPermissions(order)).await?;
        Ok(Handshake {
            vhost,
            ..self.handshake()
        })
    }

    /// Has an operator delete a vhost that the test had made.
    ///
    /// # Errors
    /// The operator fails.
    pub async fn delete_vhost(&self, vhost: &str) -> Result<(), Failure> {
        self.vhosts.delete(&self.target, vhost).await
    }

    /// The broker's HTTP API; for tests marked `management`.
    ///
    /// # Errors
    /// There is none.
    pub fn management(&self) -> Result<&Management, Failure> {
        let management = self.target.management();
        management.ok_or_else(|| Failure::new("no management access is given"))
    }

    /// Clears alarms and policies, gives permissions back, closes the connections and deletes what was named.
    pub(crate) async fn clean_up(&self) -> Result<(), Failure> {
        // Commands have a longer patience of their own.
        let cleared = self.alarms.clear_all(&self.target).await;
        cleared.map_err(|failure| failure.at("clean-up"))?;
        let cleared = self.policies.clear_all(&self.target).await;
        cleared.map_err(|failure| failure.at("clean-up"))?;
        let restored = self.permissions.restore_all(&self.target).await;
        restored.map_err(|failure| failure.at("clean-up"))?;
        let deleted = self.vhosts.delete_all(&self.target).await;
        deleted.map_err(|failure| failure.at("clean-up"))?;
        let work = self.clean_up_unbounded();
        tokio::time::timeout(CLEAN_UP_DEADLINE, work)
            .await
            .unwrap_or_else(|_| Err(Failure::new(format!("not done in {CLEAN_UP_DEADLINE:?}"))))
            .map_err(|failure| failure.at("clean-up"))
    }

    async fn clean_up_unbounded(&self) -> Result<(), Failure> {
        self.close_connections().await;
        let mut named =
            std::mem::take(&mut *self.named.lock().unwrap_or_else(PoisonError::into_inner));
        named.sort_by(|one, other| one.vhost.cmp(&other.vhost));
        for same_vhost in named.chunk_by(|one, other| one.vhost == other.vhost) {
            self.delete_all(same_vhost).await?;
        }
        Ok(())
    }

    async fn close_connections(&self) {
        let connections = std::mem::take(
            &mut *self
                .connections
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for connection in connections {
            // One that the broker has closed already refuses, and is just as closed. One that does
            // not answer is dropped.
            let close = connection.close(REPLY_SUCCESS, "done".into());
            let _ = tokio::time::timeout(CLOSE_PATIENCE, close).await;
        }
    }

    async fn delete_all(&self, named: &[Named]) -> Result<(), Failure> {
        let Some(vhost) = named.first().map(|named| named.vhost.clone()) else {
            return Ok(());
        };
        let handshake = Handshake {
            vhost,
            ..self.handshake()
        };
        let mut raw = self.raw_with(&handshake).await?;
        raw.open_channel(1).await?;
        for Named { name, .. } in named {
            let queue = ShortStr::from(name.as_str());
            let delete_queue = queue::Delete {
                queue,
                ..Default::default()
            };
            let delete_exchange = exchange::Delete {
                exchange: queue,
                ..Default::default()
            };
            delete(&mut raw, delete_queue.into(), queue::DeleteOk::ID).await?;
            delete(&mut raw, delete_exchange.into(), exchange::DeleteOk::ID).await?;
        }
        raw.close().await
    }
}

/// Deletes something that may not exist, which a broker may answer with a channel error.
async fn delete(
    raw: &mut RawConnection,
    method: Method<'_>,
    ok: leveret_protocol::MethodId,
) -> Result<(), Failure> {
    raw.send_method(1, method).await?;
    let deleted = Expected::method(1, ok);
    let refused = Expected::any_channel_close(1, Text::any());
    match raw.expect_any_of(&[deleted, refused]).await? {
        0 => Ok(()),
        _ => raw.open_channel(1).await,
    }
}
