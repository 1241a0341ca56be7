//! A disk that fills up: publishers are held up or refused, consumers go on, and when there is space
//! again everything goes on by itself.

use std::path::Path;
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicGetOptions};

use crate::clients::publish_in_a_window;
use crate::history::Event;
use crate::kills::drain_twice;
use crate::load::{Load, PATIENCE, QUEUES, confirm_select, open, within};
use crate::process::{BrokerProcess, Setup, scratch};
use crate::runs::Mounted;

/// The size of the disk.
const DISK_BYTES: u64 = 32 << 20;

/// Below this much free space the disk counts as full.
const FREE_BYTES_MIN: u64 = 4 << 20;

/// Bodies are some 5 KiB on average, so this is several times what the disk holds.
const MESSAGES: usize = 20_000;

/// When no confirm came for this long, the publisher is held up.
const HELD_UP: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_holds_publishers_up_until_consumers_have_made_room() {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash-full");
    Mounted::clear(&place);
    scratch("full");
    let options = format!("size={DISK_BYTES}");
    let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs"];
    let Some(_disk) = Mounted::new("a full disk", &arguments, &place) else {
        return;
    };
    let mut setup = Setup::at(place.join("data"));
    let free = format!("storage.disk_free_min_bytes={FREE_BYTES_MIN}");
    setup.settings.push(free);
    let load = Load::default();
    let mut broker = setup.start();
    load.history.add(Event::Started);
    let filled = fill_and_empty(&load, &broker);
    within(4 * PATIENCE, "filling and emptying the disk", filled).await;
    broker.kill();
    drain_twice(&setup, &load).await;
    load.judge("a full disk");
}

async fn fill_and_empty(load: &Load, broker: &BrokerProcess) {
    let queue = QUEUES[3];
    let (_connection, channel) = open(&broker.uri()).await.unwrap();
    load.declare_what_stays(&channel).await.unwrap();
    let filling = tokio::spawn({
        let (load, uri) = (load.clone(), broker.uri());
        async move {
            let (_connection, channel) = open(&uri).await?;
            confirm_select(&channel).await?;
            publish_in_a_window(&load, &channel, queue, MESSAGES).await
        }
    });
    await_hold_up(load).await;
    assert!(!filling.is_finished(), "all of it fits on the disk");

    // From here on nothing but acks makes room, and nothing tells the broker or the publisher.
    let reader = load.number();
    let get = || channel.basic_get(queue.into(), BasicGetOptions::default());
    while !filling.is_finished() {
        let Some(got) = get().await.unwrap() else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let message = load.delivered(queue, reader, &got.delivery).unwrap();
        let queue = queue.to_owned();
        load.history.add(Event::Acking { queue, message });
        got.delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    filling.await.unwrap().unwrap();
    load.leave(&channel, reader).await.unwrap();
}

/// There is no event for what does not happen, so this looks for confirms over a while.
async fn await_hold_up(load: &Load) {
    let mut confirmed = 0;
    loop {
        tokio::time::sleep(HELD_UP).await;
        let now = load.history.confirmed();
        if now == confirmed {
            assert!(now > 0, "nothing was ever confirmed");
            return;
        }
        confirmed = now;
    }
}
