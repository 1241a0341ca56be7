//! [`Timers`]: calls queues back: when a message of theirs, or they themselves, are about to expire,
//! and when the store has committed what they wait for.
//!
//! One heap, one list and one task for all queues. A queue asks for an earlier tick only when it needs
//! one, so the heap holds a few entries per queue at most; entries of deleted queues are passed over.
//! The store's committer only puts a queue on the list: whatever a queue does next, it does here, and
//! no commit waits for it.
//!
//! What it is not: the reading of stored messages; that blocks, and has a thread of its own
//! ([`crate::durable::loader`]).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use leveret_storage::{CommitBell, Commits, Epoch};
use tokio::sync::Notify;

use crate::amqp::reply_box::Reply;
use crate::clock::Clock;
use crate::connections::Connections;
use crate::core::direct_reply::ReplyAddress;
use crate::core::effects::{Alarms, carry_out};
use crate::core::queue::{Effects, Load, QueueId};
use crate::core::queue_handle::QueueHandle;
use crate::core::vhost::Vhost;
use crate::core::{Message, Moment};
use crate::durable::loader::Loads;

/// A queue and its vhost, neither of which lives longer for being named here.
#[derive(Clone, Debug)]
struct Member {
    queue: Weak<QueueHandle>,
    vhost: Weak<Vhost>,
}

impl Member {
    fn new(queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>) -> Self {
        Self {
            queue: Arc::downgrade(queue),
            vhost: Arc::downgrade(vhost),
        }
    }
}

/// A queue that wants to be ticked, ordered by when.
#[derive(Debug)]
struct Tick {
    at: Moment,
    id: QueueId,
    member: Member,
}

impl PartialEq for Tick {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Tick {}

impl PartialOrd for Tick {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Tick {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

/// The ticks that were asked for. A queue that asks twice for one moment is ticked once.
#[derive(Debug, Default)]
struct Ticks {
    heap: BinaryHeap<Reverse<Tick>>,
    asked: HashSet<(QueueId, Moment)>,
}

/// What all handles share.
#[derive(Debug, Default)]
struct Shared {
    ticks: Mutex<Ticks>,
    /// Queues whose commit has come, or never will. A queue waits for one commit at a time.
    committed: Mutex<Vec<Member>>,
    /// There is an earlier deadline, or a commit has come.
    woken: Notify,
    /// Who may wait for dead letters as direct replies. Unset while a broker starts.
    connections: OnceLock<Arc<Connections>>,
}

/// The deadlines of all queues. Clones are handles to the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    shared: Arc<Shared>,
    store: Option<StoreSide>,
}

/// What queues of a broker with a store may wait for.
#[derive(Clone, Debug)]
struct StoreSide {
    commits: Arc<Commits>,
    loads: Arc<Loads>,
}

/// Puts a queue on the list when its commit comes.
struct Awaited {
    shared: Arc<Shared>,
    member: Member,
}

impl CommitBell for Awaited {
    fn on_commit(&self) {
        self.shared.committed().push(self.member.clone());
        self.shared.woken.notify_one();
    }
}

impl Alarms for Timers {
    fn tick_at(&self, at: Moment, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>) {
        let id = queue.id();
        let member = Member::new(queue, vhost);
        let mut ticks = self.shared.ticks();
        if !ticks.asked.insert((id, at)) {
            return;
        }
        let is_earliest = ticks.heap.peek().is_none_or(|Reverse(first)| at < first.at);
        ticks.heap.push(Reverse(Tick { at, id, member }));
        drop(ticks);
        if is_earliest {
            self.shared.woken.notify_one();
        }
    }

    // Only a queue with a log asks for these, and only a broker with a store makes one.

    fn tick_at_epoch(&self, epoch: Epoch, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>) {
        if let Some(store) = &self.store {
            let bell = Awaited {
                shared: Arc::clone(&self.shared),
                member: Member::new(queue, vhost),
            };
            store.commits.ring_at(epoch, Arc::new(bell));
        }
    }

    fn load(&self, load: Load, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>) {
        if let Some(store) = &self.store {
            store.loads.ask(load, queue, vhost);
        }
    }

    fn reply(&self, routing_key: &[u8], letter: &Message) {
        let address = ReplyAddress::parse(routing_key);
        if let (Some(to), Some(connections)) = (address, self.shared.connections.get()) {
            let message = letter.clone();
            connections.leave_replies(&mut vec![Reply { to, message }]);
        }
    }

    fn load_letters(&self, load: Load, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>) {
        if let Some(store) = &self.store {
            store.loads.ask_letters(load, queue, vhost);
        }
    }
}

impl Timers {
    /// The timers of a broker whose queues also wait for these commits and loads.
    pub(crate) fn with_store(commits: Arc<Commits>, loads: Arc<Loads>) -> Self {
        Self {
            shared: Arc::default(),
            store: Some(StoreSide { commits, loads }),
        }
    }

    /// Gives dead letters that are direct replies to these connections from now on.
    pub(crate) fn reply_through(&self, connections: &Arc<Connections>) {
        // A broker has one set of connections all its life; a second one could only be the same.
        let _ = self.shared.connections.set(Arc::clone(connections));
    }

    /// Ticks queues when they are due, for as long as the future is polled.
    pub(crate) async fn run(&self, clock: Clock) {
        loop {
            self.tick_committed(clock.moment(Instant::now()));
            let next = self.shared.ticks().heap.peek().map(|Reverse(tick)| tick.at);
            match next {
                None => self.shared.woken.notified().await,
                Some(at) => {
                    let sleep = tokio::time::sleep_until(clock.instant(at).into());
                    tokio::select! {
                        () = self.shared.woken.notified() => {}
                        () = sleep => self.tick_due(clock.moment(Instant::now())),
                    }
                }
            }
        }
    }

    fn tick_due(&self, now: Moment) {
        let mut effects = Effects::default();
        while let Some(due) = self.take_due(now) {
            self.tick(&due.member, now, &mut effects);
        }
    }

    fn tick_committed(&self, now: Moment) {
        // Taken out first: a queue that is ticked may ask for the next commit, which may have come.
        let committed = std::mem::take(&mut *self.shared.committed());
        let mut effects = Effects::default();
        for member in committed {
            self.tick(&member, now, &mut effects);
        }
    }

    fn tick(&self, member: &Member, now: Moment, effects: &mut Effects) {
        if let (Some(queue), Some(vhost)) = (member.queue.upgrade(), member.vhost.upgrade()) {
            queue.body().tick(now, effects);
            carry_out(&vhost, &queue, effects, now, self);
        }
    }

    fn take_due(&self, now: Moment) -> Option<Tick> {
        let mut ticks = self.shared.ticks();
        let is_due = ticks
            .heap
            .peek()
            .is_some_and(|Reverse(first)| first.at <= now);
        if !is_due {
            return None;
        }
        let Reverse(due) = ticks.heap.pop()?;
        ticks.asked.remove(&(due.id, due.at));
        Some(due)
    }
}

impl Shared {
    // Pushing and popping leave heap and list whole whatever happens.

    fn ticks(&self) -> MutexGuard<'_, Ticks> {
        self.ticks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn committed(&self) -> MutexGuard<'_, Vec<Member>> {
        self.committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leveret_protocol::{TableBuf, Value};

    use super::*;
    use crate::config::{Config, VhostConfig};
    use crate::core::queue_handle::ConnectionId;
    use crate::core::topology::QueueDeclare;
    use crate::core::topology::tests::{allow, counting, queue};
    use crate::node::Node;

    fn counting_queue() -> (Arc<Vhost>, Arc<QueueHandle>) {
        let vhost = Arc::new(Vhost::new("/", counting()));
        let (queue, _) = vhost.declare_queue(&queue("q"), &mut allow).unwrap();
        (vhost, queue)
    }

    #[test]
    fn a_queue_is_ticked_once_when_its_commit_has_come_and_not_by_the_committer() {
        let commits = Arc::new(Commits::new());
        let timers = Timers::with_store(Arc::clone(&commits), Arc::default());
        let (vhost, queue) = counting_queue();
        let ticks = || queue.body().status().unsettled;
        timers.tick_at_epoch(Epoch(2), &queue, &vhost);
        commits.advance(Epoch(1));
        timers.tick_committed(Moment::default());
        assert_eq!(ticks(), 0);
        commits.advance(Epoch(3));
        assert_eq!(ticks(), 0, "the committer only says that it is time");
        timers.tick_committed(Moment::default());
        timers.tick_committed(Moment::default());
        assert_eq!(ticks(), 1);
        timers.tick_at_epoch(Epoch(4), &queue, &vhost);
        commits.fail();
        timers.tick_committed(Moment::default());
        assert_eq!(ticks(), 2, "a commit that will never come is news as well");
    }

    #[tokio::test]
    async fn a_commit_wakes_the_task() {
        let commits = Arc::new(Commits::new());
        let timers = Timers::with_store(Arc::clone(&commits), Arc::default());
        let (vhost, queue) = counting_queue();
        timers.tick_at_epoch(Epoch(1), &queue, &vhost);
        let committed = async {
            commits.advance(Epoch(1));
            tokio::task::yield_now().await;
        };
        // Polled in this order: the task falls asleep, the commit comes, the task has run.
        tokio::select! {
            biased;
            () = timers.run(Clock::start()) => {}
            () = committed => {}
        }
        assert_eq!(queue.body().status().unsettled, 1);
    }

    fn node_of_two_vhosts() -> Node {
        let vhosts = vec![VhostConfig {
            name: "orders".to_owned(),
            ..VhostConfig::default()
        }];
        Node::new(Config {
            vhosts,
            ..Config::default()
        })
        .unwrap()
    }

    fn declare_expiring(vhost: &Vhost) -> Arc<QueueHandle> {
        let arguments = TableBuf::new().with("x-expires", Value::I32(10));
        let request = QueueDeclare {
            name: "q",
            generated_name: "",
            durable: false,
            exclusive: false,
            auto_delete: false,
            arguments: arguments.view(),
            connection: ConnectionId(1),
            queues_max: None,
        };
        vhost.declare_queue(&request, &mut |_, _| Ok(())).unwrap().0
    }

    #[test]
    fn queues_of_two_vhosts_that_ask_for_the_same_moment_are_both_ticked() {
        let node = node_of_two_vhosts();
        let now = Moment::from_unix_ms(1_000);
        let mut queues = Vec::new();
        for name in ["/", "orders"] {
            let vhost = node.vhost(name).unwrap();
            let queue = declare_expiring(&vhost);
            let mut effects = Effects::default();
            queue.body().renew_lease(now, &mut effects);
            carry_out(&vhost, &queue, &mut effects, now, &node.timers);
            queues.push(queue);
        }
        node.timers.tick_due(now.after_ms(10));
        let gone: Vec<_> = queues.iter().map(|queue| queue.is_gone()).collect();
        assert_eq!(gone, [true, true]);
    }
}
