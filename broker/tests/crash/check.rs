//! The judge of a [`crate::history::History`]: replays the events one by one and lists everything
//! that a durable broker must not have done.
//!
//! What it is not: it does no I/O and knows nothing of how a broker works; it knows the promises.
//!
//! Invariants: a history in which the broker kept its promises has no violation, whatever was lost
//! of acks, of unconfirmed publishes and of transient messages; clients that share a queue may write
//! their deliveries down in any order between them.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Event, MessageId};

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// A confirmed message is not there and nobody acked it.
    Lost,
    /// Something was delivered that nobody published to this queue.
    Invented,
    /// A message came with another body, other headers or other properties.
    Altered,
    /// A message came again without the redelivered flag.
    TwiceUnmarked,
    /// A message came again while a client still held it.
    TwiceAtOnce,
    /// A message came again after its ack was taken.
    BackAfterAck,
    /// A message came again after its queue was emptied or deleted.
    BackAfterEmptying,
    /// A transient message outlived a restart.
    TransientSurvived,
    /// Messages of one publisher changed their order.
    OutOfOrder,
    /// A durable object is not there although its declaration was answered.
    ObjectLost,
    /// An object is there although its deletion was answered, or nobody declared it.
    ObjectBack,
}

/// One broken promise, told for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) text: String,
}

/// Everything that is wrong with a history, in the order in which it showed.
pub(crate) fn check(events: &[Event]) -> Vec<Violation> {
    let mut judge = Judge::default();
    for event in events {
        judge.take(event);
    }
    judge.violations
}

#[derive(Default)]
struct Judge {
    life: u32,
    stopped_cleanly: bool,
    messages: BTreeMap<MessageId, Message>,
    queues: BTreeMap<String, Queue>,
    objects: BTreeMap<String, Object>,
    violations: Vec<Violation>,
}

struct Message {
    publisher: u32,
    queues: Vec<String>,
    persistent: bool,
    life: u32,
    confirmed: bool,
}

#[derive(Default)]
struct Queue {
    copies: BTreeMap<MessageId, Copy>,
    /// The last message of each publisher that a reader got for the first time in this life.
    last_seen: BTreeMap<(u32, u32), MessageId>,
    /// The highest message of each publisher that anybody got in an earlier life.
    seen_before: BTreeMap<u32, MessageId>,
    /// The same in this life.
    seen_now: BTreeMap<u32, MessageId>,
}

/// What is known of one message in one queue.
#[derive(Default)]
struct Copy {
    delivered_in: Option<u32>,
    held_by: Option<u32>,
    acked: Option<Acked>,
    emptying: bool,
    emptied: bool,
}

/// An ack that was sent.
struct Acked {
    reader: Option<u32>,
    /// True once it cannot be lost any more while this life lasts or ends well.
    is_taken: bool,
}

#[derive(Clone, Copy, Default)]
struct Object {
    may_be_there: bool,
    may_be_gone: bool,
}

impl Judge {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Started => self.start(),
            Event::StoppedCleanly => self.stopped_cleanly = true,
            Event::Publishing {
                message,
                publisher,
                queues,
                persistent,
            } => self.publishing(*message, *publisher, queues, *persistent),
            Event::Confirmed { message } => self.confirmed(*message),
            Event::Delivered { .. } => self.delivered(event),
            Event::Acking { queue, message } => self.acking(queue, *message),
            Event::Returning { queue, message } => self.copy(queue, *message).held_by = None,
            Event::Leaving { reader } => self.leaving(*reader),
            Event::Left { reader } => self.left(*reader),
            Event::Emptying { queue } => self.emptying(queue),
            Event::Emptied { queue } => self.emptied(queue),
            Event::Declaring { object } => self.object(object).may_be_there = true,
            Event::Declared { object } => self.object(object).may_be_gone = false,
            Event::Deleting { object } => self.object(object).may_be_gone = true,
            Event::Deleted { object } => self.object(object).may_be_there = false,
            Event::Looked { object, is_there } => self.looked(object, *is_there),
            Event::Drained { queue } => self.drained(queue),
        }
    }

    fn start(&mut self) {
        self.life += 1;
        let acks_last = std::mem::take(&mut self.stopped_cleanly);
        for queue in self.queues.values_mut() {
            queue.last_seen.clear();
            for (publisher, message) in std::mem::take(&mut queue.seen_now) {
                let highest = queue.seen_before.entry(publisher).or_default();
                *highest = message.max(*highest);
            }
            for copy in queue.copies.values_mut() {
                copy.held_by = None;
                if let Some(acked) = &mut copy.acked {
                    acked.is_taken &= acks_last;
                }
            }
        }
    }

    fn publishing(&mut self, id: MessageId, publisher: u32, queues: &[String], persistent: bool) {
        let message = Message {
            publisher,
            queues: queues.to_vec(),
            persistent,
            life: self.life,
            confirmed: false,
        };
        self.messages.insert(id, message);
        for queue in queues {
            self.copy(queue, id);
        }
    }

    fn confirmed(&mut self, id: MessageId) {
        match self.messages.get_mut(&id) {
            Some(message) => message.confirmed = true,
            None => self.complain(Rule::Invented, format!("a confirm of message {id}")),
        }
    }

    fn delivered(&mut self, event: &Event) {
        let Event::Delivered {
            queue,
            message,
            reader,
            redelivered,
            intact,
        } = event
        else {
            return;
        };
        let known = message.and_then(|id| Some((id, self.messages.get(&id)?)));
        let Some((id, known)) = known.filter(|(_, known)| known.queues.contains(queue)) else {
            return self.complain(Rule::Invented, format!("{message:?} in {queue}"));
        };
        let told = format!("message {id} in {queue}, life {}", self.life);
        if !intact {
            self.complain(Rule::Altered, told.clone());
            return;
        }
        let mut broken = Vec::new();
        if !known.persistent && known.life < self.life {
            broken.push(Rule::TransientSurvived);
        }
        let (life, publisher) = (self.life, known.publisher);
        let at = self.queues.entry(queue.clone()).or_default();
        broken.extend(at.copies.entry(id).or_default().problems(*redelivered));
        if at.is_out_of_order(id, publisher, *reader, *redelivered, life) {
            broken.push(Rule::OutOfOrder);
        }
        at.remember(id, publisher, *reader, life);
        for rule in broken {
            self.complain(rule, told.clone());
        }
    }

    fn acking(&mut self, queue: &str, id: MessageId) {
        let copy = self.copy(queue, id);
        copy.acked = Some(Acked {
            reader: copy.held_by.take(),
            is_taken: false,
        });
    }

    fn leaving(&mut self, reader: u32) {
        for copy in self.copies() {
            copy.held_by = copy.held_by.filter(|holder| *holder != reader);
        }
    }

    fn left(&mut self, reader: u32) {
        for copy in self.copies() {
            if let Some(acked) = &mut copy.acked {
                acked.is_taken |= acked.reader == Some(reader);
            }
        }
    }

    fn emptying(&mut self, queue: &str) {
        let queue = self.queues.entry(queue.to_owned()).or_default();
        let copies = queue.copies.values_mut();
        copies.for_each(|copy| copy.emptying = true);
    }

    fn emptied(&mut self, queue: &str) {
        let queue = self.queues.entry(queue.to_owned()).or_default();
        for copy in queue.copies.values_mut() {
            copy.emptied |= copy.emptying;
        }
    }

    fn looked(&mut self, name: &str, is_there: bool) {
        let life = self.life;
        let object = *self.object(name);
        if is_there && !object.may_be_there {
            self.complain(Rule::ObjectBack, format!("{name}, life {life}"));
        }
        if !is_there && !object.may_be_gone {
            self.complain(Rule::ObjectLost, format!("{name}, life {life}"));
        }
    }

    /// Every message that had to be in the queue must have come out of it in this life.
    fn drained(&mut self, name: &str) {
        let life = self.life;
        let queue = self.queues.entry(name.to_owned()).or_default();
        let messages = &self.messages;
        let is_lost = |id: &MessageId, copy: &Copy| {
            let must_be_there = messages.get(id).is_some_and(|message| {
                message.confirmed && (message.persistent || message.life == life)
            });
            must_be_there
                && copy.acked.is_none()
                && !copy.emptying
                && copy.delivered_in != Some(life)
        };
        let lost: Vec<_> = queue
            .copies
            .iter()
            .filter(|(id, copy)| is_lost(id, copy))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            let text = format!("message {id} in {name}, missing in life {life}");
            self.complain(Rule::Lost, text);
        }
    }

    fn copy(&mut self, queue: &str, id: MessageId) -> &mut Copy {
        let queue = self.queues.entry(queue.to_owned()).or_default();
        queue.copies.entry(id).or_default()
    }

    fn copies(&mut self) -> impl Iterator<Item = &mut Copy> {
        let queues = self.queues.values_mut();
        queues.flat_map(|queue| queue.copies.values_mut())
    }

    /// What was never declared need not be there.
    fn object(&mut self, name: &str) -> &mut Object {
        let unknown = Object {
            may_be_there: false,
            may_be_gone: true,
        };
        self.objects.entry(name.to_owned()).or_insert(unknown)
    }

    fn complain(&mut self, rule: Rule, text: String) {
        self.violations.push(Violation { rule, text });
    }
}

impl Queue {
    /// True if a publisher's earlier message comes after a later one. A reader gets the messages it
    /// sees for the first time in this life in their order; and what comes unmarked is later than
    /// all that was delivered in earlier lives.
    fn is_out_of_order(
        &self,
        id: MessageId,
        publisher: u32,
        reader: u32,
        redelivered: bool,
        life: u32,
    ) -> bool {
        let is_first = self
            .copies
            .get(&id)
            .is_none_or(|copy| copy.delivered_in != Some(life));
        let is_behind = |last: Option<&MessageId>| last.is_some_and(|last| *last > id);
        (is_first && is_behind(self.last_seen.get(&(reader, publisher))))
            || (!redelivered && is_behind(self.seen_before.get(&publisher)))
    }

    fn remember(&mut self, id: MessageId, publisher: u32, reader: u32, life: u32) {
        let copy = self.copies.entry(id).or_default();
        if copy.delivered_in != Some(life) {
            self.last_seen.insert((reader, publisher), id);
        }
        let highest = self.seen_now.entry(publisher).or_default();
        *highest = id.max(*highest);
        copy.delivered_in = Some(life);
        copy.held_by = Some(reader);
        copy.acked = None;
    }
}

impl Copy {
    /// What is wrong with one more delivery of it.
    fn problems(&self, redelivered: bool) -> BTreeSet<Rule> {
        let mut problems = BTreeSet::new();
        if self.delivered_in.is_some() && !redelivered {
            problems.insert(Rule::TwiceUnmarked);
        }
        if self.held_by.is_some() {
            problems.insert(Rule::TwiceAtOnce);
        }
        if self.acked.as_ref().is_some_and(|acked| acked.is_taken) {
            problems.insert(Rule::BackAfterAck);
        }
        if self.emptied {
            problems.insert(Rule::BackAfterEmptying);
        }
        problems
    }
}
