//! [`Node`]: what all connections of one broker share.
//!
//! Plain data behind the small locks of its parts. Two brokers in one process have two nodes and
//! nothing in common.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use leveret_protocol::server::ServerOptions;
use leveret_protocol::{TableBuf, Value};
use leveret_storage::{CommitState, Commits, Epoch, Held, LogId, Recovered, RecoveredLog, Store};

use crate::access::Access;
use crate::alarm::Alarm;
use crate::broker::StartError;
use crate::clock::Clock;
use crate::config::{AuthMechanism, Config};
use crate::connections::Connections;
use crate::core::deduplication::Deduplication;
use crate::core::message::COPY_BODY_BYTES_MAX;
use crate::core::queue::arguments::QueueArguments;
use crate::core::queue::{ClassicOptions, ClassicQueue, DelayQueue, Queue};
use crate::core::queue_handle::QueueSpec;
use crate::core::topology::{Ids, MakeQueue, Topology};
use crate::core::vhost::Vhost;
use crate::durable::keeping::{self, Keeping};
use crate::durable::{Health, start};
use crate::importing::StartDefinitions;
use crate::timers::Timers;

/// The shared part of a broker.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) options: Arc<ServerOptions>,
    /// For who has shown a certificate: EXTERNAL is offered to nobody else.
    pub(crate) options_with_certificate: Arc<ServerOptions>,
    pub(crate) access: Access,
    pub(crate) clock: Clock,
    pub(crate) connections: Arc<Connections>,
    pub(crate) timers: Timers,
    pub(crate) alarm: Arc<Alarm>,
    commits: Option<Arc<Commits>>,
    vhosts: HashMap<String, Arc<Vhost>>,
    keeping: Option<Keeping>,
    pub(crate) importing: Mutex<()>,
}

impl Node {
    /// Builds everything that the configuration names, what its data directory holds, and what the
    /// definitions say that it imports.
    ///
    /// # Errors
    /// The users cannot be served, the data directory cannot be used, or the definitions not be imported.
    pub(crate) fn new(mut config: Config) -> Result<Self, StartError> {
        // What can be refused without touching the disk comes first.
        let definitions = StartDefinitions::load(&mut config)?;
        let access = Access::new(&config)?;
        let opened = match &config.data_dir {
            Some(directory) => Some(keeping::open(directory, &config.storage)?),
            None => None,
        };
        Self::with_definitions(config, access, opened, definitions)
    }

    /// Builds a node on an open store.
    #[cfg(test)]
    pub(crate) fn with(
        config: Config,
        access: Access,
        opened: Option<(Store, Recovered)>,
    ) -> Result<Self, StartError> {
        Self::with_definitions(config, access, opened, None)
    }

    fn with_definitions(
        config: Config,
        access: Access,
        opened: Option<(Store, Recovered)>,
        definitions: Option<StartDefinitions>,
    ) -> Result<Self, StartError> {
        let clock = Clock::start();
        let mut judge = |topologies: &BTreeMap<Arc<str>, Topology>| match &definitions {
            Some(definitions) => definitions.judge(topologies).map_err(StartError::from),
            None => Ok(()),
        };
        let (vhosts, timers, keeping) = match opened {
            None => {
                judge(&BTreeMap::new())?;
                (vhosts_in_memory(&config), Timers::default(), None)
            }
            Some(opened) => {
                let started = start::start(&config, clock, make_body, opened, &mut judge)?;
                (started.vhosts, started.timers, Some(started.keeping))
            }
        };
        for vhost in vhosts.values() {
            let own = config.vhosts.iter().find(|one| *one.name == **vhost.name());
            let own = own.and_then(|one| one.default_queue_type);
            vhost.set_default_queue_type(own.unwrap_or(config.default_queue_type).into());
        }
        let node = Self {
            vhosts,
            options: Arc::new(server_options(&config, false)),
            options_with_certificate: Arc::new(server_options(&config, true)),
            access,
            clock,
            connections: Arc::new(Connections::new(config.connections_max)),
            timers,
            alarm: Arc::default(),
            commits: keeping
                .as_ref()
                .map(|keeping| Arc::clone(keeping.commits())),
            keeping,
            importing: Mutex::default(),
            config,
        };
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

    /// All vhosts.
    pub(crate) fn vhosts(&self) -> impl Iterator<Item = &Arc<Vhost>> {
        self.vhosts.values()
    }

    /// The vhost of exactly this name (CONN-20).
    pub(crate) fn vhost(&self, name: &str) -> Option<Arc<Vhost>> {
        self.vhosts.get(name).cloned()
    }
}

fn vhosts_in_memory(config: &Config) -> HashMap<String, Arc<Vhost>> {
    let ids = Ids::default();
    let make_queue: MakeQueue = Arc::new(|spec, arguments| make_body(spec, arguments, None));
    let vhosts = config.vhost_names().map(|name| {
        let topology = Topology::new(name, ids.clone(), Arc::clone(&make_queue));
        (name.to_owned(), Arc::new(Vhost::with(topology, None)))
    });
    vhosts.collect()
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

fn server_options(config: &Config, has_certificate: bool) -> ServerOptions {
    ServerOptions {
        server_properties: server_properties(config),
        mechanisms: mechanisms(config, has_certificate),
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
fn mechanisms(config: &Config, has_certificate: bool) -> String {
    let offered = config.auth_mechanisms.iter();
    let offered = offered.filter(|one| has_certificate || **one != AuthMechanism::External);
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
        node.vhosts = HashMap::from([("/".to_owned(), vhost)]);
        node.commits = Some(commits);
        Arc::new(node)
    }
}
