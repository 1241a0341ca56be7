//! A node that is started again on what another has left.

#![allow(clippy::unwrap_used)]
use std::sync::mpsc::channel;
use std::time::Duration;

use leveret_protocol::{TableBuf, Value};
use leveret_storage::disk::fake::{FakeDisk, Fault, OperationKind, Trouble};
use leveret_storage::{CommitBell, CommitState, Epoch};

use super::*;
use crate::amqp::mailbox::Mailbox;
use crate::config::VhostConfig;
use crate::core::queue::DeleteConditions;
use crate::core::queue_handle::QueueHandle;
use crate::core::topology::QueueDeclare;
use crate::core::topology::tests::{ME, allow, queue, to_queue};
use crate::durable::keeping::open_on;
use crate::node::Node;

/// So that a broken store fails a test instead of holding it up.
const PATIENCE: Duration = Duration::from_secs(30);

fn config(vhosts: &[&str]) -> Config {
    let vhost = |name: &&str| VhostConfig {
        name: (*name).to_owned(),
        ..VhostConfig::default()
    };
    let mut config = Config {
        vhosts: vhosts.iter().map(vhost).collect(),
        ..Config::default()
    };
    // The smallest: what a fake disk reserves it has in memory.
    config.storage.segment_bytes = 65_536;
    config
}

fn started(disk: &FakeDisk, config: &Config) -> Node {
    let opened = open_on(Arc::new(disk.clone()), &config.storage).unwrap();
    Node::with(config.clone(), Some(opened)).unwrap()
}

fn declare(node: &Node, vhost: &str, name: &str) -> (Arc<QueueHandle>, Option<Epoch>) {
    let request = QueueDeclare {
        durable: true,
        ..queue(name)
    };
    let vhost = node.vhost(vhost).unwrap();
    let (queue, applied) = vhost.declare_queue(&request, &mut allow).unwrap();
    (queue, applied.durable_at)
}

fn has_queue(node: &Node, vhost: &str, name: &str) -> bool {
    let vhost = node.vhost(vhost).unwrap();
    vhost.check_queue(name, ME).is_ok()
}

fn state_of(node: &Node, epoch: Epoch) -> CommitState {
    struct Told(std::sync::mpsc::Sender<()>);
    impl CommitBell for Told {
        fn on_commit(&self) {
            let _ = self.0.send(());
        }
    }
    let commits = node.keeping().unwrap().commits();
    let (send, told) = channel();
    commits.ring_at(epoch, Arc::new(Told(send)));
    told.recv_timeout(PATIENCE).unwrap();
    commits.state(epoch)
}

#[test]
fn dur_01_durable_things_are_there_after_a_restart_and_transient_ones_are_not() {
    let (disk, config) = (FakeDisk::new(), config(&["orders"]));
    let node = started(&disk, &config);
    let (q, _) = declare(&node, "orders", "q");
    let vhost = node.vhost("orders").unwrap();
    vhost.declare_queue(&queue("t"), &mut allow).unwrap();
    let bound = vhost.bind(&to_queue("amq.topic", "q", "a.#"), &mut allow);
    bound.unwrap();
    drop((node, vhost));
    let node = started(&disk, &config);
    let vhost = node.vhost("orders").unwrap();
    assert_eq!(vhost.check_queue("q", ME).unwrap().0.id(), q.id());
    assert!(vhost.check_queue("t", ME).is_err());
    assert_eq!(vhost.topology().routed("amq.topic", "a.b"), ["q"]);
    assert!(!has_queue(&node, "/", "q"));
    assert!(node.health().is_ok(), "{}", node.health());
}

/// Whatever a client was told is so must be so after the process died at that instant.
#[test]
fn what_was_answered_survives_a_kill_and_ids_go_on_behind_it() {
    let (disk, config) = (FakeDisk::new(), config(&[]));
    let node = started(&disk, &config);
    let mut images = Vec::new();
    for step in 0..4 {
        let (_, epoch) = declare(&node, "/", &format!("q{step}"));
        assert_eq!(state_of(&node, epoch.unwrap()), CommitState::Reached);
        images.push(disk.kill(disk.operations()));
    }
    let (last, _) = declare(&node, "/", "last");
    let vhost = node.vhost("/").unwrap();
    let deleted = vhost.delete_queue("last", ME, DeleteConditions::default(), &mut allow);
    let epoch = deleted.unwrap().applied.durable_at.unwrap();
    assert_eq!(state_of(&node, epoch), CommitState::Reached);
    images.push(disk.kill(disk.operations()));
    for (declared, image) in images.iter().enumerate() {
        let node = started(image, &config);
        for step in 0..4 {
            let name = format!("q{step}");
            assert_eq!(
                has_queue(&node, "/", &name),
                step <= declared,
                "{name} {declared}"
            );
        }
        assert!(!has_queue(&node, "/", "last"));
    }
    let node = started(&images[4], &config);
    assert!(declare(&node, "/", "new").0.id() > last.id());
}

#[test]
fn a_vhost_that_the_configuration_forgets_keeps_what_it_has() {
    let disk = FakeDisk::new();
    let node = started(&disk, &config(&["orders"]));
    declare(&node, "orders", "q");
    drop(node);
    let node = started(&disk, &config(&[]));
    assert!(has_queue(&node, "orders", "q"));
    drop(node);
    let node = started(&disk, &config(&["orders"]));
    assert!(has_queue(&node, "orders", "q"));
}

#[test]
fn starting_again_writes_nothing_down_and_ids_of_vhosts_differ() {
    let (disk, config) = (FakeDisk::new(), config(&["orders"]));
    let ids = |node: &Node| {
        let ids = |name| {
            let vhost = node.vhost(name).unwrap();
            let topology = vhost.topology();
            let ids = topology.exchanges().into_iter().map(|x| x.spec().id.0);
            ids.collect::<Vec<_>>()
        };
        [ids("/"), ids("orders")].concat()
    };
    let node = started(&disk, &config);
    let first = ids(&node);
    let distinct: std::collections::BTreeSet<_> = first.iter().collect();
    assert_eq!(distinct.len(), 14);
    drop(node);
    let node = started(&disk, &config);
    assert_eq!(ids(&node), first);
    assert_eq!(node.vhost("/").unwrap().recorded(), None);
}

#[test]
fn a_store_that_fails_is_told_and_promises_nothing_more() {
    let (disk, config) = (FakeDisk::new(), config(&[]));
    let node = started(&disk, &config);
    let (_, epoch) = declare(&node, "/", "q");
    assert_eq!(state_of(&node, epoch.unwrap()), CommitState::Reached);
    disk.plan(Fault::lasting(
        OperationKind::SyncFile,
        1,
        Trouble::InputOutput,
    ));
    let (_, epoch) = declare(&node, "/", "r");
    assert_eq!(state_of(&node, epoch.unwrap()), CommitState::Failed);
    let health = node.health();
    assert!(!health.is_ok());
    assert!(
        health.to_string().starts_with("the store has failed: "),
        "{health}"
    );
}

/// Told when something is put into a mailbox.
struct Woken(std::sync::mpsc::Sender<()>);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

#[test]
fn flow_02_and_03_a_full_disk_holds_publishers_up_until_there_is_space() {
    let (disk, config) = (FakeDisk::new(), config(&[]));
    let node = started(&disk, &config);
    let mailbox = Arc::new(Mailbox::default());
    node.connections.register(Arc::clone(&mailbox));
    let (send, woken) = channel();
    let waker = std::task::Waker::from(Arc::new(Woken(send)));
    mailbox.take(&mut Vec::new(), &waker);

    disk.set_capacity(Some(disk.used_bytes()));
    // More than any segment that may have been made ahead.
    let arguments = TableBuf::new().with("x", Value::LongStr(&[b'x'; 65_536]));
    let request = QueueDeclare {
        durable: true,
        arguments: arguments.view(),
        ..queue("large")
    };
    let vhost = node.vhost("/").unwrap();
    let mut last = None;
    for number in 0..4 {
        let name = format!("large{number}");
        let request = QueueDeclare {
            name: &name,
            ..request
        };
        let (_, applied) = vhost.declare_queue(&request, &mut allow).unwrap();
        last = applied.durable_at;
    }
    woken.recv_timeout(PATIENCE).unwrap();
    assert!(mailbox.take(&mut Vec::new(), &waker).alarm_changed);
    assert_eq!(
        (node.alarm.is_raised(), node.alarm.reason()),
        (true, "low on disk")
    );
    assert_eq!(node.health().to_string(), "the disk is full");

    disk.set_capacity(None);
    assert_eq!(state_of(&node, last.unwrap()), CommitState::Reached);
    woken.recv_timeout(PATIENCE).unwrap();
    assert!(!node.alarm.is_raised());
    assert!(node.health().is_ok());
}

#[test]
fn a_node_that_ends_leaves_no_thread() {
    let (disk, config) = (FakeDisk::new(), config(&[]));
    let node = started(&disk, &config);
    let (_, epoch) = declare(&node, "/", "q");
    node.keeping().unwrap().close();
    let state = node.keeping().unwrap().commits().state(epoch.unwrap());
    assert_eq!(
        state,
        CommitState::Reached,
        "closing writes what was submitted"
    );
    let operations = disk.operations();
    let (_, late) = declare(&node, "/", "late");
    drop(node);
    assert_eq!(
        disk.operations(),
        operations,
        "nothing is written after the end"
    );
    assert!(late.is_some());
    assert!(!has_queue(&started(&disk, &config), "/", "late"));
}

/// The store has lost a log; the queue is there, empty, and takes messages into a new one.
#[test]
fn a_queue_without_a_log_gets_one() {
    let disk = FakeDisk::new();
    let config = config(&[]);
    let node = started(&disk, &config);
    let (q, _) = declare(&node, "/", "q");
    drop(node);
    let (store, recovered) = open_on(Arc::new(disk.clone()), &config.storage).unwrap();
    let log = LogId(q.id().0);
    assert!(recovered.logs.iter().any(|found| found.id == log));
    let mut records = Records::default();
    records.catalog(&[CatalogChange::DropLog(log)], 0);
    store.submit(&mut records);
    store.close();
    drop(started(&disk, &config));
    let (_, recovered) = open_on(Arc::new(disk.clone()), &config.storage).unwrap();
    assert!(recovered.logs.iter().any(|found| found.id == log));
}

#[test]
fn an_entry_of_the_catalog_that_cannot_be_read_stops_the_start() {
    let (disk, config) = (FakeDisk::new(), config(&[]));
    let node = started(&disk, &config);
    declare(&node, "/", "q");
    drop(node);
    let (store, mut recovered) = open_on(Arc::new(disk), &config.storage).unwrap();
    let entry = recovered.catalog.iter_mut().find(|(key, _)| key[0] == b'q');
    entry.unwrap().1[0] = 200;
    let error = Node::with(config, Some((store, recovered))).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("catalog entry of queue "), "{text}");
    assert!(text.contains("it is of version 200"), "{text}");
}
