//! Starts the vhosts of a broker that keeps its data: those it finds and those it is told of. What there is
//! of users and vhosts from now on is written down first.
//!
//! What it is not: opening (see [`super::keeping`]) or reading the catalog (see [`super::restore`]).
//!
//! Invariant: every durable queue has a log that the store knows, and takes up what is in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use leveret_storage::{CatalogChange, LogId, Records, Recovered, RecoveredLog, Store};

use super::account::{begun_image, differences, is_account_key, user_image, vhost_image};
use super::keeping::{KeepError, Keeping};
use super::loader::Loads;
use super::restore::restore;
use super::sink::StoreSink;
use crate::access::{Access, Kept};
use crate::broker::StartError;
use crate::clock::Clock;
use crate::config::Config;
use crate::core::Moment;
use crate::core::effects::carry_out;
use crate::core::queue::arguments::QueueArguments;
use crate::core::queue::{Effects, Queue};
use crate::core::queue_handle::QueueSpec;
use crate::core::reserve::Reserve;
use crate::core::topology::{Ids, MakeQueue, Topology};
use crate::core::vhost::Vhost;
use crate::timers::Timers;
use crate::vhosts::{VhostMaker, Vhosts};

/// Makes the body of a queue that goes on with this log; with none for a queue that is not durable.
pub(crate) type MakeBody =
    fn(&QueueSpec, &QueueArguments, Option<(&Store, Option<RecoveredLog>)>) -> Box<dyn Queue>;

/// The parts of a broker that have to do with its data.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) access: Access,
    pub(crate) vhosts: Vhosts,
    pub(crate) timers: Timers,
    pub(crate) keeping: Keeping,
}

/// Logs that no queue has taken up yet.
type FoundLogs = Arc<Mutex<BTreeMap<LogId, RecoveredLog>>>;

/// Judges what the data directory holds before anything is added to it, and says who there is from now on.
pub(crate) type Judge<'j> =
    dyn FnMut(&BTreeMap<Arc<str>, Topology>, Kept) -> Result<Access, StartError> + 'j;

/// Builds all vhosts and sets their queues going.
///
/// # Errors
/// An entry of the catalog cannot be read, the system has no thread to give, or what `judge` says.
pub(crate) fn start(
    config: &Config,
    clock: Clock,
    make_body: MakeBody,
    (store, recovered): (Store, Recovered),
    reserve: &Arc<Reserve>,
    judge: &mut Judge<'_>,
) -> Result<Started, StartError> {
    let ids = Ids::starting_at(recovered.next_log_id);
    let logs = recovered.logs.into_iter().map(|log| (log.id, log));
    let found: FoundLogs = Arc::new(Mutex::new(logs.collect()));
    let known: Vec<_> = lock(&found).keys().copied().collect();
    let messages: u64 = lock(&found).values().map(message_count).sum();
    let make_queue = make_queue(make_body, store.clone(), Arc::clone(&found));

    let restored = restore(&recovered.catalog, &ids, &make_queue);
    let restored = restored.map_err(|error| KeepError::Catalog {
        directory: directory(config),
        error,
    })?;
    let access = judge(&restored.topologies, restored.kept)?;
    begin_missing_logs(&restored.topologies, &known, &store);
    report_unclaimed(&found);

    let damage = recovered.damage.iter().map(ToString::to_string);
    let damage = damage.chain(restored.misplaced).collect();
    let loads = Arc::new(Loads::default());
    let timers = Timers::with_store(Arc::clone(store.commits()), Arc::clone(&loads));
    let maker = VhostMaker {
        sink: Some(Arc::new(StoreSink::new(store.clone(), ids.clone(), clock))),
        ids,
        make_queue,
        reserve: Arc::clone(reserve),
    };
    maker.record(accounts_begin(&access, &recovered.catalog), &[]);
    let vhosts = vhosts(&access, restored.topologies, &maker);
    let vhosts = Vhosts::new(maker, vhosts);
    let keeping = Keeping::start(store, loads, timers.clone(), clock, damage)?;
    set_going(&vhosts, &timers, clock.moment(Instant::now()));
    let directory = directory(config);
    tracing::info!(
        directory,
        logs = known.len(),
        messages,
        "data directory opened"
    );
    Ok(Started {
        access,
        vhosts,
        timers,
        keeping,
    })
}

fn directory(config: &Config) -> String {
    let directory = config.data_dir.as_ref();
    directory.map_or_else(String::new, |path| path.display().to_string())
}

fn make_queue(make_body: MakeBody, store: Store, found: FoundLogs) -> MakeQueue {
    Arc::new(move |spec, arguments| {
        if !spec.is_kept() {
            return make_body(spec, arguments, None);
        }
        let log = lock(&found).remove(&LogId(spec.id.0));
        make_body(spec, arguments, Some((&store, log)))
    })
}

/// A queue whose log the store has lost, with what was in it, still needs one for what comes.
fn begin_missing_logs(topologies: &BTreeMap<Arc<str>, Topology>, known: &[LogId], store: &Store) {
    let mut missing = Vec::new();
    for (vhost, topology) in topologies {
        let own = topology.own_queues().cloned();
        for queue in topology.queues().into_iter().chain(own) {
            let log = LogId(queue.id().0);
            if queue.spec().is_kept() && known.binary_search(&log).is_err() {
                let (queue, vhost) = (&**queue.name(), &**vhost);
                tracing::error!(
                    queue,
                    vhost,
                    "the queue's messages are missing in the store"
                );
                missing.push(CatalogChange::CreateLog(log));
            }
        }
    }
    if !missing.is_empty() {
        let mut records = Records::default();
        records.catalog(&missing, 0);
        store.submit(&mut records);
    }
}

fn report_unclaimed(found: &FoundLogs) {
    for log in std::mem::take(&mut *lock(found)).into_values() {
        let (log, messages) = (log.id.0, message_count(&log));
        tracing::warn!(
            log,
            messages,
            "the store has messages of a queue that is not in the catalog"
        );
    }
}

fn message_count(log: &RecoveredLog) -> u64 {
    log.runs.iter().map(|run| run.count).sum()
}

/// What has to be written for the catalog to have the accounts as they are now, and nothing else of the kind.
fn accounts_begin(access: &Access, catalog: &[(Vec<u8>, Vec<u8>)]) -> Vec<CatalogChange> {
    let configured = access.configured();
    let mut after = begun_image();
    for user in access.users() {
        if !configured.users.contains(&user.name) {
            after.extend(user_image(&user));
        }
    }
    for vhost in access.vhosts() {
        if !configured.vhosts.contains(&vhost.name) {
            after.extend(vhost_image(&vhost));
        }
    }
    let before = catalog.iter().filter(|(key, _)| is_account_key(key));
    let before = before.cloned().collect();
    let mut changes = Vec::new();
    differences(&before, &after, &mut changes);
    changes
}

/// Every vhost that there is from now on. Each that something lies in is among them: it is kept, or belongs
/// to the configuration.
fn vhosts(
    access: &Access,
    mut topologies: BTreeMap<Arc<str>, Topology>,
    maker: &VhostMaker,
) -> Vec<Arc<Vhost>> {
    let vhosts = access.vhosts().into_iter().map(|vhost| {
        let found = topologies.remove(&*vhost.name);
        maker.vhost(found.unwrap_or_else(|| maker.topology(&vhost.name)))
    });
    vhosts.collect()
}

/// Leases begin, expired messages go, and the heads of backlogs are asked for.
fn set_going(vhosts: &Vhosts, timers: &Timers, now: Moment) {
    let mut effects = Effects::default();
    for vhost in &vhosts.all() {
        // The list is copied out, so that no queue is called while the topology is locked.
        let topology = vhost.topology();
        let own: Vec<_> = topology.own_queues().cloned().collect();
        let queues = topology.queues();
        drop(topology);
        for queue in queues.into_iter().chain(own) {
            queue.body().renew_lease(now, &mut effects);
            queue.body().tick(now, &mut effects);
            carry_out(vhost, &queue, &mut effects, now, timers);
        }
    }
}

fn lock(found: &FoundLogs) -> std::sync::MutexGuard<'_, BTreeMap<LogId, RecoveredLog>> {
    // Inserting and removing leave the map whole whatever happens.
    found.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
