//! Definitions and a node: what is imported at its start, what while it runs, and what it exports.
//!
//! ```text
//!   start    load ─▶ data directory ─▶ check, judge, lay accounts over it ─▶ node ─▶ apply, log
//!   running  check ─▶ locks ─▶ try ─▶ users and vhosts, then topology ─▶ leases begin
//! ```
//!
//! What it is not: the rules (see [`crate::definitions`]).
//!
//! Invariant: until everything has been judged, nothing is changed, in memory or on disk.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use leveret_storage::{CommitBell, CommitState, Commits, Epoch};

use crate::access::{AccountChange, Beginning};
use crate::config::Config;
use crate::core::effects::carry_out;
use crate::core::policy::change::tell;
use crate::core::queue::Effects;
use crate::core::topology::Topology;
use crate::definitions::{
    self, Accounts, Definitions, DefinitionsError, Imported, Problems, Report, check,
    check_topologies, import_all, salt,
};
use crate::node::Node;

/// Definitions that a node begins with.
#[derive(Debug)]
pub(crate) struct StartDefinitions {
    definitions: Definitions,
    report: Report,
}

impl StartDefinitions {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// Everything that is wrong with the text; each thing is logged.
    pub(crate) fn load(config: &Config) -> Result<Option<Self>, DefinitionsError> {
        let Some(path) = &config.load_definitions else {
            return Ok(None);
        };
        let loaded = definitions::load(path, &config.default_vhost);
        let definitions = loaded.inspect_err(log)?;
        let mut report = Report::default();
        report
            .not_honoured
            .extend_from_slice(definitions.not_honoured());
        Ok(Some(Self {
            definitions,
            report,
        }))
    }

    /// Holds the definitions against what the configuration and a data directory have, and lays users, vhosts
    /// and limits over it.
    ///
    /// # Errors
    /// Everything that contradicts it; each thing is logged.
    pub(crate) fn judge(
        &mut self,
        topologies: &BTreeMap<Arc<str>, Topology>,
        beginning: &mut Beginning,
    ) -> Result<(), DefinitionsError> {
        let mut problems = Problems::default();
        let mut accounts = Accounts::of_beginning(beginning);
        check(
            &self.definitions,
            &accounts.user_names(),
            &accounts.vhost_names(),
            &mut problems,
        );
        problems.verdict().inspect_err(log)?;
        let (mut problems, mut report) = (Problems::default(), Report::default());
        check_topologies(
            &self.definitions,
            |name| topologies.get(name),
            &mut problems,
            &mut report,
        );
        problems.verdict().inspect_err(log)?;
        accounts.add(&self.definitions, &mut self.report);
        (beginning.users, beginning.vhosts) = (accounts.users, accounts.vhosts);
        Ok(())
    }

    /// Brings exchanges, queues and bindings into the node's vhosts.
    ///
    /// # Errors
    /// What [`StartDefinitions::judge`] would have found.
    pub(crate) fn apply_to(mut self, node: &Node) -> Result<(), DefinitionsError> {
        let find = |name: &str| node.vhost(name);
        let (problems, report) = (Problems::default(), &mut self.report);
        let imported = import_all(&self.definitions, find, problems, report, || ())?;
        tell_queues(node, imported);
        self.report.log();
        Ok(())
    }
}

fn log(error: &DefinitionsError) {
    for problem in &error.problems {
        tracing::error!(at = problem.at, problem.text, "definitions not imported");
    }
}

/// Imports while the node runs; with the report comes when it is safe.
///
/// # Errors
/// Everything that stands against it.
pub(crate) fn import(
    node: &Node,
    definitions: &Definitions,
) -> Result<(Report, Option<Epoch>), DefinitionsError> {
    let definitions = &*definitions.with_hashed_passwords(node.config.password_hashing);
    let changing = node.change_accounts();
    let mut accounts = Accounts::of_access(&node.access);
    let mut problems = Problems::default();
    let (users, vhosts) = (accounts.user_names(), accounts.vhost_names());
    check(definitions, &users, &vhosts, &mut problems);
    let mut report = Report::default();
    report
        .not_honoured
        .extend_from_slice(definitions.not_honoured());
    accounts.add(definitions, &mut report);
    let find = |name: &str| node.vhost(name);
    let changes = changes(node, accounts);
    let mut changed_at = None;
    let replace = || {
        // The patterns have passed their check.
        match changing.apply(&changes) {
            Ok(epoch) => changed_at = epoch,
            Err(error) => tracing::error!(%error, "users and permissions were not imported"),
        }
    };
    let imported = import_all(definitions, find, problems, &mut report, replace)?;
    changing.tell_vhosts(&changes);
    let durable_at = imported.durable_at.max(changed_at);
    tell_queues(node, imported);
    drop(changing);
    report.log();
    Ok((report, durable_at))
}

/// The users and vhosts that are to be others than they are.
fn changes(node: &Node, accounts: Accounts) -> Vec<AccountChange> {
    let access = &node.access;
    let vhosts = accounts.vhosts.into_iter();
    let vhosts = vhosts.filter(|to| access.vhost(&to.name).is_none_or(|is| *is != *to));
    let users = accounts.users.into_iter();
    let users = users.filter(|to| {
        let is = access.user(&to.name);
        is.is_none_or(|is| is.config() != to)
    });
    let vhosts = vhosts.map(AccountChange::PutVhost);
    vhosts.chain(users.map(AccountChange::PutUser)).collect()
}

/// What the node has.
pub(crate) fn export(node: &Node) -> Definitions {
    let mut exported = definitions::export(
        &Accounts::of_access(&node.access),
        node.config.password_hashing,
        salt,
    );
    for vhost in node.vhosts() {
        exported.add_topology(&vhost.topology());
    }
    exported
}

/// Queues that were there learn what the policies say now. A declared queue that expires does so from now
/// on (EXP-01), as if a client had declared it.
fn tell_queues(node: &Node, imported: Imported) {
    let now = node.clock.moment(Instant::now());
    for (vhost, queue) in imported.changed {
        tell(&vhost, &queue, now, &node.timers);
    }
    let mut effects = Effects::default();
    for (vhost, queue) in imported.queues {
        queue.body().renew_lease(now, &mut effects);
        carry_out(&vhost, &queue, &mut effects, now, &node.timers);
    }
}

/// Ready when an epoch is reached, with whether it was.
#[derive(Debug)]
pub(crate) struct Committed<'c> {
    commits: &'c Commits,
    epoch: Epoch,
    waker: Arc<Bell>,
    is_hung: bool,
}

#[derive(Debug, Default)]
struct Bell(Mutex<Option<Waker>>);

impl CommitBell for Bell {
    fn on_commit(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<'c> Committed<'c> {
    pub(crate) fn new(commits: &'c Commits, epoch: Epoch) -> Self {
        Self {
            commits,
            epoch,
            waker: Arc::default(),
            is_hung: false,
        }
    }
}

impl Future for Committed<'_> {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let waker = Some(cx.waker().clone());
        *self.waker.0.lock().unwrap_or_else(PoisonError::into_inner) = waker;
        if !std::mem::replace(&mut self.is_hung, true) {
            let bell: Arc<Bell> = Arc::clone(&self.waker);
            self.commits.ring_at(self.epoch, bell);
        }
        match self.commits.state(self.epoch) {
            CommitState::Waiting => Poll::Pending,
            state => Poll::Ready(state == CommitState::Reached),
        }
    }
}
