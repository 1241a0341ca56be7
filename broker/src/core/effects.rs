//! Carries out what a queue asked of its caller: dead letters and what an exchange has held are routed
//! on, an auto-delete queue is removed, a deadline is noted.
//!
//! ```text
//!   queue call ──▶ Effects ──▶ carry_out ─┬─ dead letter ─▶ route ─▶ offer to the next queue ─┐
//!                                         ├─ released ────▶ route ─▶ offer to the next queues ┤
//!                                         ├─ auto_delete ─▶ the vhost                         │
//!                                         └─ tick_at ─────▶ the timers            its Effects ┘
//! ```
//!
//! A dead letter or released message stays in the store of the queue it comes from until its next queues have written it
//! down, for the order of records is the order of recovery: a crash in between may double it, and does
//! not lose it.
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
use super::direct_reply::may_be_reply;
use super::exchange::Routing;
use super::publishing::distinct_routing_keys;
use super::queue::{Buried, DeadLetter, Effects, LetterSent, Load};
use super::queue_handle::QueueHandle;
use super::released;
use super::tally::Tally;
use super::vhost::Vhost;
use super::{Message, Moment};

/// How many dead letters one dead message may turn into within one call. A chain or a fan-out of
/// queues that keep what they get needs one each; ten queues that keep nothing and feed each other
/// would need millions.
const DESCENDANTS_MAX: usize = 1024;

/// What queues need of the world outside of the core.
pub trait Alarms {
    /// Calls the queue's tick at this moment or soon after.
    fn tick_at(&self, at: Moment, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>);

    /// Calls the queue's tick once the store has committed this epoch, or has failed.
    fn tick_at_epoch(&self, epoch: Epoch, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>);

    /// Reads messages from the store and hands them to the queue.
    fn load(&self, load: Load, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>);

    /// Gives a dead letter to who waits for a direct reply under this routing key, if anybody does
    /// (RPC-19). Without connections nobody does.
    fn reply(&self, _routing_key: &[u8], _letter: &Message) {}

    /// Reads dead letters from the store and hands them to the queue. Without a store there is none.
    fn load_letters(&self, _load: Load, _queue: &Arc<QueueHandle>, _vhost: &Arc<Vhost>) {}
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
        && effects.released.is_empty()
        && !effects.auto_delete
        && effects.tick_at.is_none()
        && effects.tick_at_epoch.is_none()
        && effects.load.is_none()
        && effects.letters_load.is_none();
    if !nothing {
        Work {
            vhost,
            now,
            alarms,
            letters: VecDeque::new(),
            released: Vec::new(),
            buried: Vec::new(),
            sent: Vec::new(),
        }
        .run(queue, effects);
    }
}

struct Work<'w> {
    vhost: &'w Arc<Vhost>,
    now: Moment,
    alarms: &'w dyn Alarms,
    letters: VecDeque<(Arc<QueueHandle>, DeadLetter)>,
    /// What exchanges have held until now, by their own queues.
    released: Vec<(Arc<QueueHandle>, Vec<Message>)>,
    /// Messages that are in the store of the queue they come from until all of them are sent on.
    buried: Vec<(Arc<QueueHandle>, Vec<Buried>)>,
    /// What became of letters that their queues hold until they have arrived.
    sent: Vec<(Arc<QueueHandle>, LetterSent)>,
}

impl Work<'_> {
    fn run(mut self, queue: &Arc<QueueHandle>, effects: &mut Effects) {
        self.note(queue, effects);
        for (from, messages) in std::mem::take(&mut self.released) {
            self.route_released(&from, &messages);
        }
        for (from, letter) in std::mem::take(&mut self.letters) {
            self.letters.push_back((from, letter));
            self.send_on_with_descendants();
        }
        for (from, letters) in std::mem::take(&mut self.buried) {
            let mut nothing_more = Effects::default();
            from.body().forget(&letters, self.now, &mut nothing_more);
            self.note(&from, &mut nothing_more);
        }
        self.tell_senders();
    }

    /// Tells each queue what became of the letters it holds, all of one queue with one call.
    fn tell_senders(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        for letters in sent.chunk_by(|(a, _), (b, _)| Arc::ptr_eq(a, b)) {
            let [(from, _), ..] = letters else { continue };
            let outcomes: Vec<LetterSent> = letters.iter().map(|(_, sent)| sent.clone()).collect();
            let mut nothing_more = Effects::default();
            from.body()
                .letters_sent(&outcomes, self.now, &mut nothing_more);
            self.note(from, &mut nothing_more);
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
                self.note_unsent(from, letter);
                return;
            }
            left -= 1;
            let mut tally = Tally::of(&letter);
            self.send_on(&from, &letter, &mut tally);
            self.sent.extend(tally.outcome().map(|sent| (from, sent)));
        }
    }

    /// What is dropped here its queue may still hold; it will try again.
    fn note_unsent(&mut self, from: Arc<QueueHandle>, letter: DeadLetter) {
        let dropped = std::mem::take(&mut self.letters);
        for (from, letter) in std::iter::once((from, letter)).chain(dropped) {
            self.sent
                .extend(Tally::of(&letter).outcome().map(|sent| (from, sent)));
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
        if let Some(load) = effects.letters_load.take() {
            self.alarms.load_letters(load, queue, self.vhost);
        }
        if !effects.buried.is_empty() || !effects.released.is_empty() {
            let buried = std::mem::take(&mut effects.buried);
            self.buried.push((Arc::clone(queue), buried));
        }
        if !effects.released.is_empty() {
            let released = std::mem::take(&mut effects.released);
            self.released.push((Arc::clone(queue), released));
        }
        let letters = effects.dead_letters.drain(..);
        self.letters
            .extend(letters.map(|letter| (Arc::clone(queue), letter)));
        if std::mem::take(&mut effects.auto_delete) {
            self.vhost.auto_delete_queue(queue);
        }
    }

    /// Routes what an exchange has held, and hands each queue its part at once.
    fn route_released(&mut self, from: &QueueHandle, messages: &[Message]) {
        for (queue, mut batch) in released::by_queue(self.vhost, from, messages, self.now) {
            let mut effects = Effects::default();
            queue.body().offer(&mut batch, self.now, &mut effects);
            self.note(&queue, &mut effects);
        }
    }

    /// Routes a dead letter; without an exchange or a queue to go to it is dropped (DLX-16).
    fn send_on(&mut self, from: &Arc<QueueHandle>, letter: &DeadLetter, tally: &mut Tally) {
        let arguments = from.arguments();
        let Some(exchange) = &arguments.dead_letter_exchange else {
            return;
        };
        let address = DeadLetterAddress {
            exchange,
            routing_key: arguments.dead_letter_routing_key.as_deref(),
        };
        let death = Death {
            queue: from.name().as_bytes(),
            reason: letter.reason,
            at: self.now,
        };
        if let Ok(message) = next_life(&letter.message, death, address, &mut Vec::new()) {
            self.route(exchange, message, tally);
        }
    }

    fn route(&mut self, exchange: &[u8], message: Message, tally: &mut Tally) {
        let Ok(properties) = Properties::parse(message.properties()) else {
            return;
        };
        let headers = properties.headers;
        let keys = distinct_routing_keys(&message, headers);
        if exchange.is_empty() {
            let replies = keys.iter().filter(|key| may_be_reply(key));
            replies.for_each(|key| self.alarms.reply(key, &message));
        }
        let routing = Routing {
            routing_keys: &keys,
            headers,
            message: Some(&message),
            now: self.now,
        };
        let Ok(targets) = self.vhost.route(exchange, &routing) else {
            return;
        };
        let targets = targets.into_queues().into_iter();
        let is_cycle = |queue: &QueueHandle| {
            queue.spec().of_exchange.is_none() && is_cycle(headers, queue.name().as_bytes())
        };
        let targets = targets.filter(|queue| !is_cycle(queue));
        for queue in targets.collect::<Vec<_>>() {
            if tally.has(queue.id()) {
                continue;
            }
            let mut effects = Effects::default();
            let mut batch = vec![message.clone()];
            let offered = queue.body().offer(&mut batch, self.now, &mut effects);
            tally.note(queue.id(), offered, !effects.rejected.is_empty());
            self.note(&queue, &mut effects);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod at_least_once_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod bench;
#[cfg(test)]
mod graph_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod refusal_graph_tests;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;

    use leveret_protocol::{TableBuf, Value};
    use leveret_storage::{LogId, Records};

    use super::*;
    use crate::core::queue::arguments::QueueArguments;
    use crate::core::queue::testing::{NotedBell, getter, message_of, port};
    use crate::core::queue::{ClassicOptions, ClassicQueue, Got, Journal, Queue, Verdict};
    use crate::core::queue_handle::QueueSpec;
    use crate::core::topology::tests::{allow, queue};

    /// Notes whose records come.
    struct Noted {
        queue: Arc<str>,
        order: Arc<Mutex<Vec<Arc<str>>>>,
    }

    impl Journal for Noted {
        fn submit(&self, records: &mut Records) -> Epoch {
            records.clear(0);
            self.order.lock().unwrap().push(Arc::clone(&self.queue));
            Epoch(1)
        }

        fn committed(&self) -> Epoch {
            Epoch(1)
        }

        fn has_failed(&self) -> bool {
            false
        }
    }

    struct NoAlarms;

    impl Alarms for NoAlarms {
        fn tick_at(&self, _: Moment, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {}
        fn tick_at_epoch(&self, _: Epoch, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {}
        fn load(&self, _: Load, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {}
        fn load_letters(&self, _: Load, _: &Arc<QueueHandle>, _: &Arc<Vhost>) {}
    }

    #[test]
    fn a_dead_letter_is_written_down_by_its_next_queue_before_it_is_settled_in_its_own() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let of_queues = Arc::clone(&order);
        let make_queue = Arc::new(
            move |spec: &QueueSpec, _: &QueueArguments| -> Box<dyn Queue> {
                let options = ClassicOptions {
                    dead_letters: &*spec.name == "from",
                    ..ClassicOptions::default()
                };
                let journal = Arc::new(Noted {
                    queue: Arc::clone(&spec.name),
                    order: Arc::clone(&of_queues),
                });
                Box::new(ClassicQueue::durable(
                    options,
                    journal,
                    LogId(spec.id.0),
                    None,
                ))
            },
        );
        let vhost = Arc::new(Vhost::new("/", make_queue));
        let arguments = TableBuf::from_entries([
            ("x-dead-letter-exchange", Value::LongStr(b"")),
            ("x-dead-letter-routing-key", Value::LongStr(b"to")),
        ]);
        let mut request = queue("from");
        request.arguments = arguments.view();
        let (from, _) = vhost.declare_queue(&request, &mut allow).unwrap();
        let (to, _) = vhost.declare_queue(&queue("to"), &mut allow).unwrap();

        let (now, mut effects) = (Moment::from_unix_ms(0), Effects::default());
        let port = port(&Arc::<NotedBell>::default(), 0);
        let slot = from
            .body()
            .attach(getter(false), port, now, &mut effects)
            .unwrap();
        let mut batch = vec![message_of("a", None, true)];
        from.body().offer(&mut batch, now, &mut effects);
        // The first asks for the mark.
        let got = [(); 2].map(|()| from.body().get(slot, now, &mut effects));
        let [_, Got::Message(delivery, 0)] = got else {
            panic!("{got:?}");
        };
        order.lock().unwrap().clear();
        let ids = [delivery.id];
        from.body()
            .settle(slot, Verdict::Discard, &ids, now, &mut effects);
        carry_out(&vhost, &from, &mut effects, now, &NoAlarms);
        assert_eq!(to.body().status().ready, 1);
        let names = order.lock().unwrap().clone();
        assert_eq!(names, [Arc::<str>::from("to"), Arc::from("from")]);
    }
}
