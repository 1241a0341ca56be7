//! [`Node`]: what all connections of one broker share.
//!
//! Plain data behind the small locks of its parts. Two brokers in one process have two nodes and
//! nothing in common.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use leveret_protocol::server::ServerOptions;
use leveret_protocol::{TableBuf, Value};
use leveret_storage::{CommitState, Commits, Epoch, Held, LogId, Recovered, RecoveredLog, Store};

use crate::access::verifier::Verifier;
use crate::access::{Access, Beginning, Kept};
use crate::alarm::Alarm;
use crate::broker::StartError;
use crate::clock::Clock;
use crate::config::{AuthMechanism, Config, VhostConfig};
use crate::connections::Connections;
use crate::core::deduplication::Deduplication;
use crate::core::message::COPY_BODY_BYTES_MAX;
use crate::core::queue::arguments::QueueArguments;
use crate::core::queue::{ClassicOptions, ClassicQueue, DelayQueue, Queue};
use crate::core::queue_handle::QueueSpec;
use crate::core::reserve::Reserve;
#[cfg(test)]
use crate::core::topology::MakeQueue;
use crate::core::topology::{Ids, Topology, TopologyLimits};
use crate::core::vhost::Vhost;
use crate::definitions::salt;
use crate::durable::keeping::{self, Keeping};
use crate::durable::{Health, start};
use crate::importing::StartDefinitions;
use crate::limits::{COMPLAINTS_PER_S_MAX, REFUSED_LOGINS_LOGGED};
use crate::log_limit::LogLimit;
use crate::timers::Timers;
use crate::vhosts::{VhostMaker, Vhosts};

/// The shared part of a broker.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) options: Arc<ServerOptions>,
    /// For who comes over TLS: EXTERNAL is offered to nobody else. Who has shown no certificate is
    /// offered it too, so that the refusal can say what is missing, as the reference does.
    pub(crate) options_over_tls: Arc<ServerOptions>,
    pub(crate) access: Access,
    pub(crate) verifier: Verifier,
    /// Of logins that were refused.
    pub(crate) refusals_log: LogLimit,
    pub(crate) clock: Clock,
    pub(crate) connections: Arc<Connections>,
    /// About strangers who are turned away.
    pub(crate) complaints: LogLimit,
    pub(crate) timers: Timers,
    pub(crate) alarm: Arc<Alarm>,
    commits: Option<Arc<Commits>>,
    pub(crate) vhosts: Vhosts,
    /// The memory for everything but queued messages.
    pub(crate) reserve: Arc<Reserve>,
    keeping: Option<Keeping>,
    /// Held by whoever changes users and vhosts.
    pub(crate) changing_accounts: Mutex<()>,
}

impl Node {
    /// Builds everything that the configuration names, what its data directory holds, and what the
    /// definitions say that it imports.
    ///
    /// # Errors
    /// The users cannot be served, the data directory cannot be used, or the definitions not be imported.
    pub(crate) fn new(config: Config) -> Result<Self, StartError> {
        // What can be refused without touching the disk comes first.
        let definitions = StartDefinitions::load(&config)?;
        Access::new(&config)?;
        let opened = match &config.data_dir {
            Some(directory) => Some(keeping::open(directory, &config.storage)?),
            None => None,
        };
        Self::with_definitions(config, opened, definitions)
    }

    /// Builds a node on an open store.
    #[cfg(test)]
    pub(crate) fn with(
        config: Config,
        opened: Option<(Store, Recovered)>,
    ) -> Result<Self, StartError> {
        Self::with_definitions(config, opened, None)
    }

    fn with_definitions(
        config: Config,
        opened: Option<(Store, Recovered)>,
        mut definitions: Option<StartDefinitions>,
    ) -> Result<Self, StartError> {
        let clock = Clock::start();
        let mut judge = |topologies: &BTreeMap<Arc<str>, Topology>, kept: Kept| {
            let mut beginning = Beginning::of(&config, kept);
            if let Some(definitions) = &mut definitions {
                definitions.judge(topologies, &mut beginning)?;
            }
            beginning.hash_passwords(config.password_hashing, salt);
            beginning.log();
            Ok(Access::with(&config, beginning)?)
        };
        let reserve = Reserve::new(config.memory_reserve_bytes);
        let (access, vhosts, timers, keeping) = match opened {
            None => {
                let access = judge(&BTreeMap::new(), Kept::default())?;
                let vhosts = vhosts_in_memory(&access, Arc::clone(&reserve));
                (access, vhosts, Timers::default(), None)
            }
            Some(opened) => {
                let started =
                    start::start(&config, clock, make_body, opened, &reserve, &mut judge)?;
                let keeping = Some(started.keeping);
                (started.access, started.vhosts, started.timers, keeping)
            }
        };
        let node = Self {
            vhosts,
            reserve,
            options: Arc::new(server_options(&config, false)),
            options_over_tls: Arc::new(server_options(&config, true)),
            access,
            verifier: Verifier::new(&config),
            refusals_log: LogLimit::new(REFUSED_LOGINS_LOGGED),
            clock,
            connections: Arc::new(Connections::new(config.connections_max)),
            complaints: LogLimit::new(COMPLAINTS_PER_S_MAX),
            timers,
            alarm: Arc::default(),
            commits: keeping
                .as_ref()
                .map(|keeping| Arc::clone(keeping.commits())),
            keeping,
            changing_accounts: Mutex::default(),
            config,
        };
        for one in node.access.vhosts() {
            if let Some(vhost) = node.vhost(&one.name) {
                node.set_up(&vhost, &one);
            }
        }
        node.timers.reply_through(&node.connections);
        if let Some(keeping) = &node.keeping {
            keeping.watch(&node.alarm, &node.connections);
        }
        if let Some(definitions) = definitions {
            definitions.apply_to(&node)?;
        }
        Ok(node)
    }

    /// What is wrong with the broker.
    pub(crate) fn health(&self) -> Health {
        let keeping = self.keeping.as_ref();
        keeping.map(Keeping::health).unwrap_or_default()
    }

    /// The data directory, if the broker keeps one.
    pub(crate) fn keeping(&self) -> Option<&Keeping> {
        self.keeping.as_ref()
    }

    /// All vhosts, by name.
    pub(crate) fn vhosts(&self) -> Vec<Arc<Vhost>> {
        self.vhosts.all()
    }

    /// The vhost of exactly this name (CONN-20).
    pub(crate) fn vhost(&self, name: &str) -> Option<Arc<Vhost>> {
        self.vhosts.get(name)
    }

    /// Tells a vhost what queues are that are declared without a type, and how much it may have.
    pub(crate) fn set_up(&self, vhost: &Vhost, config: &VhostConfig) {
        let own = config.default_queue_type;
        vhost.set_default_queue_type(own.unwrap_or(self.config.default_queue_type).into());
        vhost.set_limits(TopologyLimits {
            exchanges_max: config.exchanges_max,
            bindings_max: config.bindings_max,
        });
    }
}

fn vhosts_in_memory(access: &Access, reserve: Arc<Reserve>) -> Vhosts {
    let maker = VhostMaker {
        ids: Ids::default(),
        make_queue: Arc::new(|spec, arguments| make_body(spec, arguments, None)),
        sink: None,
        reserve,
    };
    let vhosts = access.vhosts().into_iter();
    let vhosts: Vec<_> = vhosts
        .map(|vhost| maker.vhost(maker.topology(&vhost.name)))
        .collect();
    Vhosts::new(maker, vhosts)
}

/// The body of a queue: one that is kept goes on with its log.
fn make_body(
    spec: &QueueSpec,
    arguments: &QueueArguments,
    log: Option<(&Store, Option<RecoveredLog>)>,
) -> Box<dyn Queue> {
    if spec.of_exchange.is_some() {
        return make_delay_queue(spec, log);
    }
    let options = ClassicOptions::new(spec.auto_delete, arguments);
    let queue = match log {
        None => ClassicQueue::new(options),
        Some((store, found)) => {
            let (journal, log) = (Arc::new(store.clone()), LogId(spec.id.0));
            ClassicQueue::durable(options, journal, log, found.as_ref())
        }
    };
    match Deduplication::asked_by(spec.arguments.view()) {
        Some(asked) => Box::new(queue.dropping_duplicates(asked)),
        None => Box::new(queue),
    }
}

fn make_delay_queue(
    spec: &QueueSpec,
    log: Option<(&Store, Option<RecoveredLog>)>,
) -> Box<dyn Queue> {
    match log {
        None => Box::new(DelayQueue::new()),
        Some((store, found)) => {
            let (journal, log) = (Arc::new(store.clone()), LogId(spec.id.0));
            Box::new(DelayQueue::durable(journal, log, found.as_ref()))
        }
    }
}

fn server_options(config: &Config, over_tls: bool) -> ServerOptions {
    ServerOptions {
        server_properties: server_properties(config),
        mechanisms: mechanisms(config, over_tls),
        channel_max: config.channel_max,
        frame_max: config.frame_max,
        heartbeat_s: config.heartbeat_s,
        message_size_max_bytes: config.max_message_size_bytes,
        borrowed_body_max_bytes: COPY_BODY_BYTES_MAX,
        handshake_timeout: config.handshake_timeout(),
        refusal_delay: config.failed_login_delay(),
        close_timeout: config.close_timeout(),
    }
}

/// Separated by spaces (CONN-03).
fn mechanisms(config: &Config, over_tls: bool) -> String {
    let offered = config.auth_mechanisms.iter();
    let offered = offered.filter(|one| over_tls || **one != AuthMechanism::External);
    let names = offered.map(|offered| offered.as_str());
    names.collect::<Vec<_>>().join(" ")
}

/// Keys sorted, as the reference sends them (CONN-01, CONN-02).
fn server_properties(config: &Config) -> TableBuf {
    let announced = config.capabilities.announced();
    let capabilities =
        TableBuf::from_entries(announced.map(|(name, has)| (name, Value::Bool(has))));
    let identity = &config.identity;
    let text = |text: &'static str, value: &'_ str| (text, value.to_owned());
    let texts = [
        text("cluster_name", &identity.cluster_name),
        text("copyright", &identity.copyright),
        text("information", &identity.information),
        text("platform", &identity.platform),
        text("product", &identity.product),
        text("version", &identity.version),
    ];
    let texts = texts
        .iter()
        .map(|(key, value)| (*key, Value::LongStr(value.as_bytes())));
    let capabilities = ("capabilities", Value::Table(capabilities.view()));
    TableBuf::from_entries(std::iter::once(capabilities).chain(texts))
}

/// What connections ask of the store.
impl Node {
    /// How far the store has got; nothing for a node that keeps nothing.
    pub(crate) fn commits(&self) -> Option<&Arc<Commits>> {
        self.commits.as_ref()
    }

    /// While the answer lives, what this thread submits to the store wakes nobody.
    pub(crate) fn hold_commits(&self) -> Option<Held<'_>> {
        self.keeping.as_ref().map(Keeping::hold)
    }

    /// Whether an epoch is on disk. Without a store nothing waits.
    pub(crate) fn commit_state(&self, epoch: Epoch) -> CommitState {
        self.commits()
            .map_or(CommitState::Reached, |commits| commits.state(epoch))
    }

    /// True while so much is submitted and not committed that those who publish into the store are
    /// not to be read. Asked before every read of such a connection.
    pub(crate) fn store_is_behind(&self) -> bool {
        self.keeping.as_ref().is_some_and(Keeping::is_behind)
    }
}

#[cfg(test)]
impl Node {
    /// A node whose queues the test makes, and whose store commits when the test says so.
    pub(crate) fn for_tests(
        config: Config,
        make_queue: MakeQueue,
        commits: Arc<Commits>,
    ) -> Arc<Self> {
        let Ok(mut node) = Self::new(config) else {
            panic!("not an allowed configuration");
        };
        let vhost = Arc::new(Vhost::new("/", make_queue));
        node.vhosts.insert(vhost);
        node.commits = Some(commits);
        Arc::new(node)
    }
}
