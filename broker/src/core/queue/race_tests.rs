//! Many threads at one classic queue: nothing is lost or doubled, and no bell is forgotten.
//!
//! Each round publishes a few messages from two threads and is over when all were settled. A ring
//! that got lost leaves a consumer asleep over its messages, and the round never ends: then the test
//! gives up after [`PATIENCE`] and fails.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::testing::{body, changed, consumer, message};
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const ROUNDS: u32 = 300;
const ROUND_MESSAGES: u32 = 64;
const NOW: Moment = Moment::from_unix_ms(0);

/// Wakes one sleeping thread.
#[derive(Default)]
struct Alarm {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Alarm {
    fn wait(&self) {
        let rung = self.rung.lock().unwrap();
        let mut rung = self.changed.wait_while(rung, |rung| !*rung).unwrap();
        *rung = false;
    }
}

impl Bell for Alarm {
    fn ring(&self, _token: u64) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// One consumer's thread: sleeps until rung, pulls until drained, settles what it got.
struct Puller {
    queue: Arc<ClassicQueue>,
    alarm: Arc<Alarm>,
    slot: SlotId,
    no_ack: bool,
    room: Room,
    settled: Sender<String>,
    stop: Arc<AtomicBool>,
}

impl Puller {
    fn run(self) {
        let mut out = Vec::new();
        let mut effects = Effects::default();
        loop {
            self.alarm.wait();
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            loop {
                let pulled = self
                    .queue
                    .pull(self.slot, self.room, NOW, &mut out, &mut effects);
                out.drain(..).for_each(|delivery| self.settle(&delivery));
                if pulled != Pulled::More {
                    break;
                }
            }
        }
    }

    /// Gives a fresh message back now and then; anything else is done with.
    fn settle(&self, delivery: &Delivery) {
        let text = body(&delivery.message);
        let give_back = !self.no_ack && !delivery.redelivered && text.ends_with('7');
        let verdict = match give_back {
            true => Verdict::Requeue,
            false => Verdict::Ack,
        };
        if !self.no_ack {
            let mut effects = Effects::default();
            self.queue
                .settle(self.slot, verdict, &[delivery.id], NOW, &mut effects);
        }
        if !give_back {
            self.settled.send(text).unwrap();
        }
    }
}

fn publish(queue: &ClassicQueue, next: &AtomicU32, until: u32) {
    let mut batch = Vec::new();
    let mut effects = Effects::default();
    loop {
        let first = next.fetch_add(3, Ordering::Relaxed);
        if first >= until {
            return;
        }
        batch.extend((first..until.min(first + 3)).map(|n| message(&n.to_string())));
        queue.offer(&mut batch, NOW, &mut effects);
    }
}

#[test]
fn every_message_is_settled_once_and_no_ring_is_lost() {
    let queue = Arc::new(ClassicQueue::new(ClassicOptions::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let (settled, rounds) = channel();
    let mut pullers = Vec::new();
    let mut alarms = Vec::new();
    for (prefetch, no_ack, pull_only, messages) in [
        (0, true, false, 256),
        (2, false, false, 5),
        (0, false, true, 2),
    ] {
        let alarm = Arc::new(Alarm::default());
        let mut spec = changed(consumer(prefetch), |_, wanted, _| *wanted = pull_only);
        spec.no_ack = no_ack;
        let port = Port {
            bell: alarm.clone(),
            token: 0,
        };
        let slot = queue
            .attach(spec, port, NOW, &mut Effects::default())
            .unwrap();
        let puller = Puller {
            queue: queue.clone(),
            alarm: alarm.clone(),
            slot,
            no_ack,
            room: Room {
                messages,
                bytes: usize::MAX,
            },
            settled: settled.clone(),
            stop: stop.clone(),
        };
        pullers.push(thread::spawn(|| puller.run()));
        alarms.push(alarm);
    }
    for round in 0..ROUNDS {
        let next = AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(|| publish(&queue, &next, ROUND_MESSAGES));
            publish(&queue, &next, ROUND_MESSAGES);
        });
        let take = |_| {
            rounds
                .recv_timeout(PATIENCE)
                .expect("a consumer sleeps over its messages")
        };
        let mut numbers: Vec<u32> = (0..ROUND_MESSAGES)
            .map(take)
            .map(|n| n.parse().unwrap())
            .collect();
        numbers.sort_unstable();
        let all: Vec<u32> = (0..ROUND_MESSAGES).collect();
        assert_eq!(numbers, all, "round {round}");
    }
    assert_eq!(queue.status().ready + queue.status().unsettled, 0);
    stop.store(true, Ordering::Release);
    alarms.iter().for_each(|alarm| alarm.ring(0));
    pullers
        .into_iter()
        .for_each(|puller| puller.join().unwrap());
}
