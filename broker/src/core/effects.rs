//! Carries out what a queue asked of its caller: dead letters are routed on, an auto-delete queue is
//! removed, a deadline is noted.
//!
//! ```text
//!   queue call ──▶ Effects ──▶ carry_out ─┬─ dead letter ─▶ route ─▶ offer to the next queue ─┐
//!                                         ├─ auto_delete ─▶ the vhost                         │
//!                                         └─ tick_at ─────▶ the timers            its Effects ┘
//! ```
//!
//! It runs with no lock held. A dead letter may fill the next queue, which may dead-letter in turn,
//! so the work is a list and not a recursion. A message that has died the same way in the same queue
//! is dropped there (DLX-17), which ends circles; but queues that let nothing rest can still pass one
//! message on along every path between them, so what one death may lead to has a limit.

use std::collections::VecDeque;
use std::sync::Arc;

use leveret_protocol::Properties;
use leveret_storage::Epoch;

use super::dead_letter::{DeadLetterAddress, Death, is_cycle, next_life};
use super::exchange::Routing;
use super::publishing::distinct_routing_keys;
use super::queue::arguments::QueueArguments;
use super::queue::{DeadLetter, Effects, Load};
use super::queue_handle::QueueHandle;
use super::vhost::Vhost;
use super::{Message, Moment};

/// How many dead letters one dead message may turn into within one call. A chain or a fan-out of
/// queues that keep what they get needs one each; ten queues that keep nothing and feed each other
/// would need millions.
const DESCENDANTS_MAX: usize = 1024;

/// What a queue waits for.
pub trait Alarms {
    /// Calls the queue's tick at this moment or soon after.
    fn tick_at(&self, at: Moment, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>);

    /// Calls the queue's tick once the store has committed this epoch, or has failed.
    fn tick_at_epoch(&self, epoch: Epoch, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>);

    /// Reads messages from the store and hands them to the queue.
    fn load(&self, load: Load, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>);
}

/// Does everything that `effects` asks for and leaves it empty; refusals are the caller's to read
/// before.
#[inline]
pub fn carry_out(
    vhost: &Arc<Vhost>,
    queue: &Arc<QueueHandle>,
    effects: &mut Effects,
    now: Moment,
    alarms: &dyn Alarms,
) {
    let nothing = effects.dead_letters.is_empty()
        && !effects.auto_delete
        && effects.tick_at.is_none()
        && effects.tick_at_epoch.is_none()
        && effects.load.is_none();
    if !nothing {
        Work {
            vhost,
            now,
            alarms,
            letters: VecDeque::new(),
        }
        .run(queue, effects);
    }
}

struct Work<'w> {
    vhost: &'w Arc<Vhost>,
    now: Moment,
    alarms: &'w dyn Alarms,
    letters: VecDeque<(Arc<QueueHandle>, DeadLetter)>,
}

impl Work<'_> {
    fn run(mut self, queue: &Arc<QueueHandle>, effects: &mut Effects) {
        self.note(queue, effects);
        for (from, letter) in std::mem::take(&mut self.letters) {
            self.letters.push_back((from, letter));
            self.send_on_with_descendants();
        }
    }

    /// One dead message, and all that die in turn because of it.
    fn send_on_with_descendants(&mut self) {
        let mut left = DESCENDANTS_MAX;
        while let Some((from, letter)) = self.letters.pop_front() {
            if left == 0 {
                let dropped = self.letters.len() + 1;
                let queue = &*from.spec().name;
                tracing::warn!(
                    queue,
                    dropped,
                    "dead letters that only breed dead letters dropped"
                );
                self.letters.clear();
                return;
            }
            left -= 1;
            self.send_on(&from, &letter);
        }
    }

    fn note(&mut self, queue: &Arc<QueueHandle>, effects: &mut Effects) {
        if let Some(at) = effects.tick_at.take() {
            self.alarms.tick_at(at, queue, self.vhost);
        }
        if let Some(epoch) = effects.tick_at_epoch.take() {
            self.alarms.tick_at_epoch(epoch, queue, self.vhost);
        }
        if let Some(load) = effects.load.take() {
            self.alarms.load(load, queue, self.vhost);
        }
        let letters = effects.dead_letters.drain(..);
        self.letters
            .extend(letters.map(|letter| (Arc::clone(queue), letter)));
        if std::mem::take(&mut effects.auto_delete) {
            self.vhost.auto_delete_queue(queue);
        }
    }

    /// Routes a dead letter; without an exchange or a queue to go to it is dropped (DLX-16).
    fn send_on(&mut self, from: &Arc<QueueHandle>, letter: &DeadLetter) {
        let spec = from.spec();
        let arguments = spec.arguments.view();
        let Ok(arguments) = QueueArguments::check(arguments, &spec.name, self.vhost.name()) else {
            return;
        };
        let Some(exchange) = arguments.dead_letter_exchange else {
            return;
        };
        let address = DeadLetterAddress {
            exchange: &exchange,
            routing_key: arguments.dead_letter_routing_key.as_deref(),
        };
        let death = Death {
            queue: spec.name.as_bytes(),
            reason: letter.reason,
            at: self.now,
        };
        if let Ok(message) = next_life(&letter.message, death, address, &mut Vec::new()) {
            self.route(&exchange, message);
        }
    }

    fn route(&mut self, exchange: &[u8], message: Message) {
        let Ok(properties) = Properties::parse(message.properties()) else {
            return;
        };
        let headers = properties.headers;
        let keys = distinct_routing_keys(&message, headers);
        let routing = Routing {
            routing_keys: &keys,
            headers,
        };
        let Ok(targets) = self.vhost.route(exchange, &routing) else {
            return;
        };
        let targets = targets.into_queues().into_iter();
        let targets = targets.filter(|queue| !is_cycle(headers, queue.name().as_bytes()));
        for queue in targets.collect::<Vec<_>>() {
            let mut effects = Effects::default();
            let mut batch = vec![message.clone()];
            queue.body().offer(&mut batch, self.now, &mut effects);
            self.note(&queue, &mut effects);
        }
    }
}
