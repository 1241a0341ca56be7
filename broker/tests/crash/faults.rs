//! System calls that fail: the process is killed at the n-th write, sync, rename and so on, a sync
//! reports an error, a sync takes long.
//!
//! `strace` counts the calls of each thread by itself, so "the n-th" means "the n-th of a thread".

use std::time::{Duration, Instant};

use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation};

use crate::clients::Script;
use crate::history::Event;
use crate::kills::drain_twice;
use crate::load::{Load, PATIENCE, QUEUES, Way, confirm_select, open, within};
use crate::process::{BrokerProcess, Setup};
use crate::runs::faults;
use crate::strace::{Attached, is_allowed};

/// After so many commits a client counts as one that waits for each.
const STEPS_MIN: usize = 8;
/// How long a slow sync takes.
const SLOW_SYNC: Duration = Duration::from_secs(2);

/// Every way to make written data last.
const SYNCS: &str = "/^f(data)?sync$";
/// What makes a commit last: a sync, or a write that is synced by itself.
const COMMITS: &str = "/^(f(data)?sync|pwrite64)$";

#[tokio::test]
async fn killed_at_the_nth_write() {
    let reached = killed_at_each("writes", "/^pwrite").await;
    assert!(
        reached >= faults(),
        "the script writes too little: {reached}"
    );
}

#[tokio::test]
async fn killed_at_the_nth_sync() {
    let reached = killed_at_each("syncs", SYNCS).await;
    assert!(
        reached >= faults(),
        "the script syncs too little: {reached}"
    );
}

#[tokio::test]
async fn killed_at_the_nth_rename() {
    killed_at_each("renames", "/^rename").await;
}

#[tokio::test]
async fn killed_at_the_nth_unlink() {
    killed_at_each("unlinks", "/^unlink").await;
}

#[tokio::test]
async fn killed_at_the_nth_allocation() {
    killed_at_each("allocations", "fallocate").await;
}

#[tokio::test]
async fn killed_at_the_nth_truncation() {
    killed_at_each("truncations", "ftruncate").await;
}

/// Kills the broker at the first, second, ... call of a kind, each time on a new directory, and
/// returns how many there were to be killed at.
async fn killed_at_each(name: &str, calls: &str) -> usize {
    if !is_allowed(name) {
        return usize::MAX;
    }
    let all = faults();
    // Each of the first, most of which a start makes, and some that come later.
    for n in (1..=all).chain([2 * all, 4 * all, 8 * all]) {
        let inject = format!("inject={calls}:signal=SIGKILL:when={n}");
        let (setup, load) = (Setup::fresh(name), Load::default());
        let struck = live_until_struck(&setup, &load, &inject).await;
        // Recovery has calls of its own to be killed at.
        if let Ok(mut broker) = setup.start_traced(&inject) {
            broker.kill();
        }
        drain_twice(&setup, &load).await;
        load.judge(&format!("killed at {name} number {n}"));
        if !struck {
            eprintln!("{name}: the script makes no call number {n}");
            return n - 1;
        }
    }
    all
}

async fn live_until_struck(setup: &Setup, load: &Load, inject: &str) -> bool {
    let Ok(mut broker) = setup.start_traced(inject) else {
        return true;
    };
    load.history.add(Event::Started);
    let script = Script::new(load);
    within(PATIENCE, "the script", script.run(&broker.uri())).await;
    // The script ends when all of it is answered, or with the broker.
    let struck = broker.ends_within(Duration::from_millis(200));
    broker.kill();
    struck
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_confirmed_and_reading_goes_on() {
    if !is_allowed("a failed sync") {
        return;
    }
    for n in 1..=3 {
        let (setup, load) = (Setup::fresh("failed-sync"), Load::default());
        let mut broker = begin(&setup, &load);
        within(2 * PATIENCE, "the failed sync", fail(&load, &broker, n)).await;
        broker.kill();
        drain_twice(&setup, &load).await;
        load.judge(&format!("failed sync number {n}"));
    }
}

/// Only one sync fails and all later ones would succeed: a store that tried again would confirm what
/// the disk has lost.
async fn fail(load: &Load, broker: &BrokerProcess, n: usize) {
    let queue = QUEUES[0];
    let (_connection, channel) = open(&broker.uri()).await.unwrap();
    load.declare_what_stays(&channel).await.unwrap();
    confirm_select(&channel).await.unwrap();
    let before = load.publish_one_by_one(&channel, queue, 50).await;
    assert_eq!(before.unwrap(), 50);
    take(load, broker, queue, 5).await;

    let _fault = Attached::to(broker.id(), &format!("inject={COMMITS}:error=EIO:when={n}"));
    let confirmed = load.publish_one_by_one(&channel, queue, 500).await;
    assert!(confirmed.unwrap() < 500, "no publish was refused");
    for _ in 0..5 {
        let confirmed = load.publish_one_by_one(&channel, queue, 1).await;
        assert_eq!(confirmed.unwrap(), 0, "confirmed after a failed sync");
    }
    take(load, broker, queue, 10).await;
}

/// Gets and acks on a connection of its own.
async fn take(load: &Load, broker: &BrokerProcess, queue: &str, count: usize) {
    let (_connection, channel) = open(&broker.uri()).await.unwrap();
    let reader = load.number();
    for _ in 0..count {
        let got = channel.basic_get(queue.into(), BasicGetOptions::default());
        let delivery = got.await.unwrap().expect("a message is there").delivery;
        let message = load.delivered(queue, reader, &delivery).unwrap();
        let queue = queue.to_owned();
        load.history.add(Event::Acking { queue, message });
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    load.leave(&channel, reader).await.unwrap();
}

#[tokio::test]
async fn while_a_sync_takes_long_nothing_is_confirmed_and_all_else_goes_on() {
    if !is_allowed("a slow sync") {
        return;
    }
    let (setup, load) = (Setup::fresh("slow-sync"), Load::default());
    let mut broker = begin(&setup, &load);
    within(2 * PATIENCE, "the slow syncs", slow_down(&load, &broker)).await;
    broker.kill();
    drain_twice(&setup, &load).await;
    load.judge("slow syncs");
}

async fn slow_down(load: &Load, broker: &BrokerProcess) {
    let impatient = format!("{}?heartbeat=1", broker.uri());
    let (publishing, channel) = open(&impatient).await.unwrap();
    let (in_step, step_channel) = open(&broker.uri()).await.unwrap();
    let (other, other_channel) = open(&impatient).await.unwrap();
    load.declare_what_stays(&channel).await.unwrap();
    confirm_select(&channel).await.unwrap();
    confirm_select(&step_channel).await.unwrap();
    // The broker sees that these wait for each confirm.
    for _ in 0..4 * STEPS_MIN {
        publish_slowly(load, &channel).await;
        publish_slowly(load, &step_channel).await;
    }
    let delay_us = SLOW_SYNC.as_micros();
    let _fault = Attached::to(
        broker.id(),
        &format!("inject={COMMITS}:delay_enter={delay_us}"),
    );
    // Together they take several heartbeat intervals.
    for channel in [&channel, &step_channel, &channel, &step_channel] {
        let published = Instant::now();
        let waiting = publish_slowly(load, channel);
        tokio::join!(waiting, use_memory_alone(&other_channel, published));
        let waited = published.elapsed();
        assert!(waited >= SLOW_SYNC, "confirmed after {waited:?}");
    }
    let connections = [&publishing, &in_step, &other];
    assert!(connections.iter().all(|it| it.status().connected()));
}

/// Publishes one message and waits until it is confirmed.
async fn publish_slowly(load: &Load, channel: &Channel) {
    let (publisher, message) = (load.number(), load.persistent_message());
    let confirm = load
        .publish(channel, publisher, message, Way::Queue(QUEUES[1]))
        .await;
    let is_ack = load.await_confirm(message, confirm.unwrap()).await;
    assert!(is_ack.unwrap(), "refused");
}

/// What needs no disk does not wait for it.
async fn use_memory_alone(channel: &Channel, since: Instant) {
    let options = QueueDeclareOptions {
        exclusive: true,
        ..Default::default()
    };
    let declared = channel.queue_declare("".into(), options, FieldTable::default());
    let queue = declared.await.unwrap().name().clone();
    confirm_select(channel).await.unwrap();
    for _ in 0..20 {
        let options = BasicPublishOptions::default();
        let properties = Default::default();
        let sent = channel.basic_publish("".into(), queue.clone(), options, b"x", properties);
        let confirmed = sent.await.unwrap().await.unwrap();
        assert!(matches!(confirmed, Confirmation::Ack(None)));
        let options = BasicGetOptions { no_ack: true };
        let got = channel.basic_get(queue.clone(), options).await.unwrap();
        assert!(got.is_some());
    }
    let took = since.elapsed();
    assert!(took < SLOW_SYNC, "memory waited for the disk: {took:?}");
}

fn begin(setup: &Setup, load: &Load) -> BrokerProcess {
    let broker = setup.start();
    load.history.add(Event::Started);
    broker
}
