//! Queues: the trait that every kind of queue implements, and the words it is spoken in.
//!
//! A queue is called once per *batch*. It locks inside, never blocks on I/O, and never calls out
//! while locked: bells are rung and dead letters handed over after the lock is gone.
//!
//! How a queue and a consumer meet (three states per consumer slot):
//!
//! ```text
//!            offer() finds work, this slot is next
//! Interested ────────────────────────────────────▶ Rung ──pull() took messages, room left──┐
//!     ▲  ▲                                          │ ▲                                     │ stays Rung:
//!     │  └── pull() found nothing more ─────────────┘ └─────────────────────────────────────┘ pulled again
//!     │                                             │ prefetch reached, or pulled without room
//!     └──── an ack freed prefetch / room again ── Stalled ◀┘
//! ```
//!
//! Round robin is decided when messages are offered (each message is *assigned* to the next slot
//! that can take it) and carried out when the slot's connection pulls.

mod aftermath;
pub mod arguments;
mod classic;
mod classic_durable;
mod classic_intake;
mod classic_letters;
#[cfg(test)]
mod classic_letters_tests;
#[cfg(test)]
mod classic_tests;
mod consumers;
mod deduplication;
#[cfg(test)]
mod deduplication_tests;
mod delay;
mod durable;
#[cfg(test)]
mod durable_tests;
mod entry;
#[cfg(test)]
mod fake_journal;
mod held;
pub mod journal;
mod letters;
mod marks;
#[cfg(test)]
mod model_tests;
mod options;
#[cfg(test)]
mod race_tests;
mod ready;
mod rotation;
pub mod shared;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
pub(crate) mod testing;
mod unsettled;
mod written;

use std::sync::Arc;

use leveret_storage::Epoch;

pub use delay::DelayQueue;
pub use durable::RESIDENT_BYTES_MAX;
pub use journal::Journal;
pub use letters::RETRY_INTERVAL_MS;
pub use options::{ClassicOptions, Overflow};
pub use shared::ClassicQueue;

use self::arguments::QueueArguments;
use crate::core::{Message, Moment};

/// A queue's identity: never reused, not even by a queue of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u64);

/// A consumer's (or getter's) place in one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId {
    /// Where the slot lies.
    pub index: u32,
    /// How often the place was given out before; a stale id never hits a newer slot.
    pub generation: u32,
}

/// One delivery of one slot; counts up from zero within the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub u64);

/// Wakes whoever serves a consumer. Rung after the queue's lock is released, never under it.
pub trait Bell: Send + Sync {
    /// There is something for the consumer known as `token`: pull, or learn that the queue is gone.
    fn ring(&self, token: u64);
}

/// The way from a slot to its consumer.
#[derive(Clone)]
pub struct Port {
    /// The connection's bell.
    pub bell: Arc<dyn Bell>,
    /// Which of the connection's consumers is meant.
    pub token: u64,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// What kind of slot to attach.
#[derive(Clone, Debug)]
pub struct SlotSpec {
    /// The kind.
    pub kind: SlotKind,
    /// True when deliveries are settled by being sent.
    pub no_ack: bool,
}

/// A consumer, or the place from which one channel gets.
#[derive(Clone, Debug)]
pub enum SlotKind {
    /// `basic.consume`
    Consumer {
        /// No other consumer may share the queue (CONS-05).
        exclusive: bool,
        /// The most unsettled deliveries (assigned ones included); 0 = no limit (QOS-02, QOS-04).
        prefetch: u16,
        /// The channel has a limit over all its consumers (QOS-03). Its credit spans queues and can
        /// not be judged here, so what is assigned is only on offer: the slot takes what it has room
        /// for by pulling, and the rest goes back to the others at the end of that pull. A pull that
        /// uses up its room leaves the slot stalled until the next one.
        pull_only: bool,
        /// `x-priority` (CPRIO).
        priority: i64,
    },
    /// `basic.get`: not counted as a consumer, ignores prefetch (GET-05), and rung only after it was
    /// told [`Got::Loading`].
    Getter,
}

/// Why a slot was not attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachRefused {
    /// An exclusive consumer exists, or exclusivity was asked for and others exist (CONS-05, CONS-06).
    InExclusiveUse,
    /// The queue has been deleted.
    Gone,
}

/// One message handed out.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Names the delivery when it is settled. Meaningless for a `no_ack` slot.
    pub id: DeliveryId,
    /// True after any requeue (DELIV-05).
    pub redelivered: bool,
    /// How often the message was returned to the queue.
    pub return_count: u32,
    /// The message's place in the queue: larger than that of any message before it.
    pub position: u64,
    /// The message.
    pub message: Message,
}

/// How much a puller can take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The most messages; 0 marks the slot as stalled: nothing is assigned to it until it pulls with
    /// room again.
    pub messages: u32,
    /// Stop once this many body bytes were taken; a first message is handed out whatever its size.
    pub bytes: usize,
}

/// What a pull left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// There may be more for this slot: pull again when there is room.
    More,
    /// Nothing more; the bell rings when that changes.
    Drained,
    /// The queue has been deleted, and the slot with it.
    Gone,
}

/// What a getter got.
#[derive(Clone, Debug)]
pub enum Got {
    /// The message at the head, and how many ready messages are left.
    Message(Delivery, u64),
    /// There is a head, but it is on its way from the store, or a commit has to come first: get again
    /// when the slot's bell rings. Others may have taken it by then.
    Loading,
    /// No message is ready, or the queue is gone.
    Empty,
}

/// How deliveries are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done with (ACK-01).
    Ack,
    /// Back to the original position, marked redelivered (ACK-09, DELIV-06).
    Requeue,
    /// Dropped, or dead-lettered with reason `rejected` (ACK-10).
    Discard,
}

/// What becomes of a slot's unsettled deliveries when it is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// They stay with the channel and can still be settled (CANCEL-04).
    Keep,
    /// They go back to the queue, marked redelivered (CHAN-16, CONN-43).
    Requeue,
}

/// What became of an offered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// The queue has every message that it did not reject.
    Taken,
    /// The queue has been deleted; the batch is dropped (ROUTE-04).
    Gone,
}

/// Why a message left its queue for the dead-letter exchange; the words of `x-death` (DLX-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeathReason {
    /// `rejected`
    Rejected,
    /// `expired`
    Expired,
    /// `maxlen`
    MaxLength,
    /// `delivery_limit`
    DeliveryLimit,
}

impl DeathReason {
    /// The word in `x-death`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

/// A message to be routed on by whoever called the queue, after the queue's lock is gone.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The message as it was queued.
    pub message: Message,
    /// Why it died.
    pub reason: DeathReason,
    /// For a letter that its queue holds until every queue has it that it is for: tell
    /// [`Queue::letters_sent`] what became of it.
    pub held: Option<HeldLetter>,
}

/// A dead letter that is to be sent on at least once, as its queue knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldLetter {
    /// Its position in the queue that it died in.
    pub position: u64,
    /// The queues that have it already, from an earlier attempt of this run of the broker.
    pub sent_to: Box<[QueueId]>,
}

/// What became of an attempt to send a [`HeldLetter`] on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterSent {
    /// The letter's position.
    pub position: u64,
    /// Every queue that it is for has it, and there is one at least.
    pub is_done: bool,
    /// The queues that have it by now.
    pub sent_to: Vec<QueueId>,
}

/// What a call to a queue asks of its caller. Reused between calls; the caller drains it.
#[derive(Debug, Default)]
pub struct Effects {
    /// Messages for the queue's dead-letter exchange, in queue order (DLX-20). Stays empty for a
    /// queue without one.
    pub dead_letters: Vec<DeadLetter>,
    /// Messages that the exchange whose own queue this is has held back, in the order in which they are
    /// to be routed now. Call [`Queue::forget`] once they are, also if none of them is in the store: the
    /// next ones are released then.
    pub released: Vec<Message>,
    /// Which dead letters and released messages are still in the store. Hand this to [`Queue::forget`]
    /// once they are with their next queues, so that a crash in between loses none: one that was sent on
    /// twice is the lesser evil.
    pub buried: Vec<Buried>,
    /// Indexes into the offered batch of messages that the queue refused (LEN-04).
    pub rejected: Vec<u32>,
    /// The queue is to be deleted unless it has a consumer: it has lost its last one (AUTODEL-01), or
    /// nobody has used it for too long (EXP-01).
    pub auto_delete: bool,
    /// Call [`Queue::tick`] at this moment. Told only when it is earlier than what was asked for
    /// before; the tick itself asks for the next one.
    pub tick_at: Option<Moment>,
    /// The call wrote records: what it did is safe once the store has committed this epoch. Whoever
    /// has nothing to promise takes no notice.
    pub durable_at: Option<Epoch>,
    /// Call [`Queue::tick`] once the store has committed this epoch: deliveries wait for it.
    pub tick_at_epoch: Option<Epoch>,
    /// Read these messages from the store and hand them to [`Queue::loaded`].
    pub load: Option<Load>,
    /// Read these as well, and hand them to [`Queue::letters_loaded`].
    pub letters_load: Option<Load>,
}

/// A stored message that its queue has given away, as a dead letter or to be routed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buried {
    /// Its position in the queue.
    pub position: u64,
    /// Its body bytes, as they are stored.
    pub body_bytes: u32,
}

/// Stored messages that a queue wants back in memory. It asks for one such part at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The position of the first message.
    pub first: u64,
    /// The position of the last message that may be read.
    pub last: u64,
    /// The most messages.
    pub messages_max: usize,
    /// Stop once this many bytes were read; at least one message is.
    pub bytes_max: usize,
}

/// What a [`Load`] has brought.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The messages, in order of their positions.
    pub messages: Vec<LoadedMessage>,
    /// Everything wanted up to this position has been looked at.
    pub through: u64,
    /// Positions of messages that are in the store and cannot be read. The queue passes over them;
    /// they stay in the store, and whoever loaded has reported them.
    pub unreadable: Vec<u64>,
}

/// One message as it lay in the store.
#[derive(Clone, Debug)]
pub struct LoadedMessage {
    /// Its position in the queue.
    pub position: u64,
    /// How often it came back to the queue.
    pub return_count: u32,
    /// True if it may have been delivered before.
    pub redelivered: bool,
    /// When it expires, if it does.
    pub expires_at: Option<Moment>,
    /// The message.
    pub message: Message,
}

/// When `queue.delete` may go ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteConditions {
    /// Only without consumers (QUEUE-21).
    pub if_unused: bool,
    /// Only without ready messages (QUEUE-22).
    pub if_empty: bool,
}

/// Why a queue was not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteRefused {
    /// It has consumers.
    InUse,
    /// It has ready messages; reported first when both fail (QUEUE-23).
    NotEmpty,
    /// It was deleted before.
    Gone,
}

/// A queue's counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStatus {
    /// Messages waiting to be delivered (QUEUE-03).
    pub ready: u64,
    /// Messages delivered or assigned and not settled.
    pub unsettled: u64,
    /// Consumers, blocked ones included (QUEUE-02).
    pub consumers: u32,
    /// Body bytes of the ready messages (LEN-01).
    pub ready_bytes: u64,
    /// Body bytes of all messages the queue holds, unsettled ones included.
    pub held_bytes: u64,
    /// Body bytes of those of them that are in memory.
    pub resident_bytes: u64,
    /// How many of the queue's messages are in memory: all but ready ones that are only in the store.
    pub resident_messages: u64,
    /// Dead letters that could not be sent on yet. They are neither ready nor unsettled.
    pub dead_letters: u64,
}

/// One queue, of any kind. Called once per batch; locks inside; never blocks on I/O.
pub trait Queue: Send + Sync + std::fmt::Debug {
    /// Takes a batch in order and empties it. Rejected messages and dead letters go to `effects`.
    fn offer(&self, batch: &mut Vec<Message>, now: Moment, effects: &mut Effects) -> Offered;

    /// Adds a consumer or getter. A consumer is assigned ready messages at once; their next head may
    /// have expired or have a deadline, hence the effects.
    ///
    /// # Errors
    /// When the queue is gone or in exclusive use.
    fn attach(
        &self,
        spec: SlotSpec,
        port: Port,
        now: Moment,
        effects: &mut Effects,
    ) -> Result<SlotId, AttachRefused>;

    /// Ends a slot. Assigned messages that were never sent go back to the front unmarked.
    fn detach(&self, slot: SlotId, unsettled: Unsettled, now: Moment, effects: &mut Effects);

    /// Says whether a slot's channel has a limit of its own (QOS-03, QOS-05); rings the slot, which
    /// learns at its next pull what that means for it.
    fn set_pull_only(&self, slot: SlotId, pull_only: bool);

    /// Moves messages assigned to a slot into `out`, and then ready ones if it is the slot's turn.
    fn pull(
        &self,
        slot: SlotId,
        room: Room,
        now: Moment,
        out: &mut Vec<Delivery>,
        effects: &mut Effects,
    ) -> Pulled;

    /// `basic.get`: the message at the head and how many are left.
    fn get(&self, slot: SlotId, now: Moment, effects: &mut Effects) -> Got;

    /// Settles deliveries of one slot; ids that are no longer unsettled are passed over (ACK-13).
    fn settle(
        &self,
        slot: SlotId,
        verdict: Verdict,
        ids: &[DeliveryId],
        now: Moment,
        effects: &mut Effects,
    );

    /// Notes that the queue is used in a way that no other call shows: it was declared, actively or
    /// passively (EXP-02).
    fn renew_lease(&self, now: Moment, effects: &mut Effects);

    /// Takes what its arguments and the policies come to now (POL-04). Limits hold at once and the lease
    /// begins anew; a time to live is for messages that arrive from now on.
    fn set_arguments(&self, arguments: &QueueArguments, now: Moment, effects: &mut Effects);

    /// Does what is due by now: expires messages, and the queue itself.
    fn tick(&self, now: Moment, effects: &mut Effects);

    /// The messages of [`Effects::buried`] are with their next queues, or lead nowhere: they can go from
    /// the store. A queue that stores nothing takes no notice, unless it has released messages.
    fn forget(&self, buried: &[Buried], now: Moment, effects: &mut Effects) {
        let _ = (buried, now, effects);
    }

    /// Says what became of letters that came with [`DeadLetter::held`]. A queue that holds none takes no
    /// notice.
    fn letters_sent(&self, sent: &[LetterSent], now: Moment, effects: &mut Effects) {
        let _ = (sent, now, effects);
    }

    /// Takes what was asked for in [`Effects::letters_load`].
    fn letters_loaded(&self, loaded: Loaded, now: Moment, effects: &mut Effects) {
        let _ = (loaded, now, effects);
    }

    /// True when deliveries are to tell how often the message came back (QQ-03). Asked once per batch.
    fn counts_deliveries(&self) -> bool {
        false
    }

    /// Takes what was asked for in [`Effects::load`].
    fn loaded(&self, loaded: Loaded, now: Moment, effects: &mut Effects);

    /// Ready messages that need more memory than this many bytes are to leave it, as far as they are in
    /// the store. A queue that cannot do so takes no notice.
    fn set_resident_bytes_max(&self, bytes_max: u64, now: Moment, effects: &mut Effects) {
        let _ = (bytes_max, now, effects);
    }

    /// Drops the ready messages and says how many they were (QUEUE-27).
    fn purge(&self, effects: &mut Effects) -> u64;

    /// Marks the queue as gone, drops its messages and rings every consumer; returns how many
    /// messages were ready (QUEUE-19, QUEUE-25).
    ///
    /// # Errors
    /// When a condition does not hold; then nothing has changed.
    fn retire(&self, conditions: DeleteConditions) -> Result<u64, DeleteRefused>;

    /// Its counts now.
    fn status(&self) -> QueueStatus;
}
