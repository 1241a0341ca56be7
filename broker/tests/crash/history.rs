//! [`History`]: what clients attempted, what they were told and what they were given, in the order
//! in which they saw it.
//!
//! Whatever is attempted is written down before it is sent, and whatever is answered after the
//! answer came; so a crash at any moment leaves a history that claims nothing too much.
//!
//! What it is not: it judges nothing ([`crate::check`] does) and knows no broker.

use std::sync::{Arc, Mutex};

/// The number of a message, unique in a history; its content follows from it.
pub(crate) type MessageId = u64;

/// One thing that happened at a client or to the broker as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A broker began to serve: a new *life*. All clients of the life before are gone.
    Started,
    /// The broker of this life was told to stop and did.
    StoppedCleanly,
    /// A message is about to be published.
    Publishing {
        message: MessageId,
        /// The channel it goes over. The messages of one publisher have growing numbers.
        publisher: u32,
        /// Every queue it must reach.
        queues: Vec<String>,
        persistent: bool,
    },
    /// Its confirm came.
    Confirmed { message: MessageId },
    /// A consumer or a get brought something.
    Delivered {
        queue: String,
        /// `None` for a message that carries no number of ours.
        message: Option<MessageId>,
        /// The channel it came over.
        reader: u32,
        redelivered: bool,
        /// True if body, headers and properties are bit by bit those that were published.
        intact: bool,
    },
    /// An ack (or a reject that drops) is about to be sent.
    Acking { queue: String, message: MessageId },
    /// A message is about to be sent back to its queue.
    Returning { queue: String, message: MessageId },
    /// A reader is about to close its channel, which sends back all that it holds.
    Leaving { reader: u32 },
    /// Its close-ok came, so all its acks were taken.
    Left { reader: u32 },
    /// A queue is about to be purged or deleted.
    Emptying { queue: String },
    /// It was.
    Emptied { queue: String },
    /// A durable object is about to be declared (or bound).
    Declaring { object: String },
    /// The answer came.
    Declared { object: String },
    /// An object is about to be deleted (or unbound).
    Deleting { object: String },
    /// The answer came.
    Deleted { object: String },
    /// Somebody looked for an object.
    Looked { object: String, is_there: bool },
    /// A reader took all there was, until the queue was empty.
    Drained { queue: String },
}

/// A history that several clients write.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    events: Arc<Mutex<Vec<Event>>>,
}

impl History {
    pub(crate) fn add(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, is_counted: impl Fn(&Event) -> bool) -> usize {
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| is_counted(event)).count()
    }

    pub(crate) fn confirmed(&self) -> usize {
        self.count(|event| matches!(event, Event::Confirmed { .. }))
    }

    pub(crate) fn delivered(&self) -> usize {
        self.count(|event| matches!(event, Event::Delivered { .. }))
    }
}
