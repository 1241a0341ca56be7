//! [`Delay`]: the rules of a delay queue, without lock, clock or store.
//!
//! ```text
//!   Reading ──log read through──▶ Waiting ──due, in memory──▶ Out ──forget──▶ Waiting
//!                                    │                         ▲
//!                                 due, in the log           no more is due, or room for it
//!                                    ▼                         │
//!                                 Loading ──loaded─────────────┤
//!                                    ▲                         │ the next is in the log
//!                                    └─────────────────────────┘
//! ```
//!
//! While it waits, it waits for the earliest deadline; or, if that has passed, for the commit of the
//! message itself, or of enough of what was released before.

use leveret_storage::{Epoch, LogId, NewMessage, Records, RecoveredLog};

use super::held::{Due, First, Held};
use crate::core::queue::durable::{recovered_run, write_settled};
use crate::core::queue::entry::{NEVER, counted_len, memory_len};
use crate::core::queue::written::Written;
use crate::core::queue::{Buried, Effects, Journal, Load, Loaded, Offered, QueueStatus};
use crate::core::{Message, Moment, stored_message};

/// The most of a released part: some milliseconds of routing, and of memory for the time of it.
pub(super) const PART_MESSAGES_MAX: usize = 1024;
const PART_BYTES_MAX: usize = 1 << 20;
/// The first of a part does not wait for more loads than this to bring others that are due as well.
const PART_LOADS_MAX: usize = 64;
/// The most of a part of the log that is read through when the queue starts: bodies are dropped again.
pub(super) const READ_MESSAGES_MAX: usize = 4096;
const READ_BYTES_MAX: usize = 4 << 20;
/// This much may be released and not yet settled on disk: what the store has then to write for the next
/// queues is bounded, and so is what a crash doubles.
pub(super) const UNCOMMITTED_MESSAGES_MAX: usize = 8192;
const UNCOMMITTED_BYTES_MAX: usize = 8 << 20;
/// After a part of what is in memory others have their turns for so long.
const PAUSE_MS: u64 = 1;
/// A buffer that grew beyond this is given back.
const RECORDS_BYTES_KEPT: usize = 64 << 10;

/// What one call works with.
pub(super) struct Call<'a> {
    pub(super) now: Moment,
    pub(super) effects: &'a mut Effects,
}

/// What a call may end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Released messages: the caller routes them.
    Release,
    /// Only with asking for what is to come.
    Ask,
}

/// The messages of one delay queue, and what becomes of them next.
#[derive(Debug)]
pub(super) struct Delay {
    held: Held,
    next_position: u64,
    /// Body bytes of all that is held.
    bytes: u64,
    /// Body bytes of what is in memory.
    resident_bytes: u64,
    /// The log, if there is one.
    stored: Option<Box<Stored>>,
    /// The load that is under way.
    load: Option<Load>,
    /// What it is to bring; nothing while the log is read through.
    loading: Vec<Due>,
    /// What is to be released next.
    part: Part,
    /// A part was released and is being routed.
    is_out: bool,
    /// The tick that was asked for.
    tick_at: Moment,
    is_gone: bool,
}

/// Messages that are released together, in their order.
#[derive(Debug, Default)]
struct Part {
    messages: Vec<Message>,
    /// Those that are in the log.
    buried: Vec<Buried>,
    bytes: u64,
    /// How many loads have brought it together.
    loads: usize,
}

impl Part {
    fn has_room(&self) -> bool {
        self.messages.len() < PART_MESSAGES_MAX
            && self.bytes < PART_BYTES_MAX as u64
            && self.loads < PART_LOADS_MAX
    }

    fn add(&mut self, message: Message) {
        self.bytes += u64::from(counted_len(&message));
        self.messages.push(message);
    }

    fn add_stored(&mut self, position: u64, message: Message) {
        let body_bytes = counted_len(&message);
        self.buried.push(Buried {
            position,
            body_bytes,
        });
        self.add(message);
    }
}

/// What comes before more can be released.
#[derive(Clone, Copy, Debug)]
enum Awaited {
    Nothing,
    Moment(Moment),
    Commit(Epoch),
    Load,
}

/// The log of a durable exchange's delay queue.
#[derive(Debug)]
struct Stored {
    log: LogId,
    written: Written,
    records: Records,
    /// Messages are among the records.
    is_awaited: bool,
    has_failed: bool,
    committed: Epoch,
    /// The part of the recovered log that has not been read yet.
    unread: Option<(u64, u64)>,
    /// What was released since the last commit that settled some of it.
    uncommitted: Uncommitted,
    /// The tick that is on its way.
    tick_at: Option<Epoch>,
}

#[derive(Debug, Default)]
struct Uncommitted {
    messages: usize,
    bytes: usize,
    /// Some of it is settled by records that are not submitted yet.
    is_settling: bool,
    /// All of it is settled on disk then.
    epoch: Option<Epoch>,
}

impl Uncommitted {
    fn is_full(&self) -> bool {
        self.messages >= UNCOMMITTED_MESSAGES_MAX || self.bytes >= UNCOMMITTED_BYTES_MAX
    }
}

impl Delay {
    pub(super) fn new() -> Self {
        Self {
            held: Held::default(),
            next_position: 0,
            bytes: 0,
            resident_bytes: 0,
            stored: None,
            load: None,
            loading: Vec::new(),
            part: Part::default(),
            is_out: false,
            tick_at: NEVER,
            is_gone: false,
        }
    }

    pub(super) fn durable(log: LogId, recovered: Option<&RecoveredLog>) -> Self {
        let next_position = recovered.map_or(0, |recovered| recovered.next_index);
        let unread = recovered.and_then(recovered_run);
        let stored = Stored {
            log,
            written: Written::up_to(next_position),
            records: Records::default(),
            is_awaited: false,
            has_failed: false,
            committed: Epoch(0),
            unread: unread.map(|run| (run.first, run.last)),
            uncommitted: Uncommitted::default(),
            tick_at: None,
        };
        Self {
            next_position,
            stored: Some(Box::new(stored)),
            ..Self::new()
        }
    }

    /// A call begins, and the store has got this far.
    pub(super) fn begin(&mut self, committed: Epoch, has_failed: bool) {
        let Some(stored) = &mut self.stored else {
            return;
        };
        stored.has_failed = has_failed;
        stored.committed = committed;
        stored.written.committed(committed);
        let is_over = |epoch: Epoch| epoch <= committed || has_failed;
        if stored.uncommitted.epoch.is_some_and(is_over) {
            stored.uncommitted = Uncommitted::default();
        }
        stored.tick_at.take_if(|asked| is_over(*asked));
    }

    /// Submits what the call has written.
    pub(super) fn submit(&mut self, journal: &dyn Journal, call: &mut Call<'_>) {
        let Some(stored) = &mut self.stored else {
            return;
        };
        if stored.records.is_empty() {
            return;
        }
        let epoch = journal.submit(&mut stored.records);
        stored.records.clear(RECORDS_BYTES_KEPT);
        stored.written.submitted(self.next_position, epoch);
        if std::mem::take(&mut stored.is_awaited) {
            call.effects.durable_at = call.effects.durable_at.max(Some(epoch));
        }
        if std::mem::take(&mut stored.uncommitted.is_settling) {
            stored.uncommitted.epoch = Some(epoch);
        }
    }

    pub(super) fn offer(
        &mut self,
        messages: impl Iterator<Item = (Message, Moment)>,
        call: &mut Call<'_>,
    ) -> Offered {
        if self.is_gone {
            return Offered::Gone;
        }
        for (message, at) in messages {
            self.take_in(message, at, call.now);
        }
        Offered::Taken
    }

    fn take_in(&mut self, message: Message, at: Moment, now: Moment) {
        let position = self.next_position;
        self.next_position += 1;
        self.bytes += u64::from(counted_len(&message));
        let due = Due { at, position };
        match &mut self.stored {
            Some(stored) if message.is_persistent() => {
                stored.write(&message, due, now);
                self.held.push_stored(due);
            }
            _ => {
                self.resident_bytes += memory_len(&message);
                self.held.push_resident(due, message);
            }
        }
    }

    pub(super) fn tick(&mut self) {
        self.tick_at = NEVER;
    }

    /// Takes what was read: messages to be released, or a part of the log after a start.
    pub(super) fn loaded(&mut self, loaded: Loaded) {
        let Some(load) = self.load.take() else {
            return;
        };
        let due = std::mem::take(&mut self.loading);
        match due.is_empty() {
            true => self.index(load, loaded),
            false => self.collect_loaded(due, loaded),
        }
    }

    fn index(&mut self, load: Load, loaded: Loaded) {
        for message in &loaded.messages {
            self.bytes += u64::from(counted_len(&message.message));
            self.held.push_stored(Due {
                at: message.expires_at.unwrap_or_default(),
                position: message.position,
            });
        }
        if let Some(stored) = &mut self.stored {
            let next = loaded.through.max(load.first).saturating_add(1);
            stored.unread = (next <= load.last).then_some((next, load.last));
        }
    }

    /// What could not be read is passed over: it stays in the log, and whoever loaded has reported it.
    fn collect_loaded(&mut self, due: Vec<Due>, loaded: Loaded) {
        let mut messages = loaded.messages.into_iter().peekable();
        for due in due {
            if due.position > loaded.through {
                self.held.push_stored(due);
                continue;
            }
            // Between two that are due may lie some that are not.
            while messages.next_if(|m| m.position < due.position).is_some() {}
            if let Some(found) = messages.next_if(|m| m.position == due.position) {
                self.part.add_stored(found.position, found.message);
            }
        }
        self.part.loads += usize::from(!self.part.messages.is_empty());
    }

    /// Adds to the part what is due next and in memory.
    fn collect_resident(&mut self, now: Moment) {
        while self.part.has_room()
            && let Some(message) = self.held.take_resident(now)
        {
            self.resident_bytes -= memory_len(&message);
            self.part.add(message);
        }
    }

    fn release(&mut self, call: &mut Call<'_>) {
        let part = std::mem::take(&mut self.part);
        self.bytes -= part.bytes;
        call.effects.released = part.messages;
        call.effects.buried = part.buried;
        self.is_out = true;
    }

    /// The part that was out has been routed.
    pub(super) fn forget(&mut self, buried: &[Buried]) {
        self.is_out = false;
        let Some(stored) = &mut self.stored else {
            return;
        };
        for message in buried {
            let (position, bytes) = (message.position, message.body_bytes);
            write_settled(stored.log, position, bytes, &mut stored.records);
            stored.uncommitted.is_settling = true;
            stored.uncommitted.messages += 1;
            stored.uncommitted.bytes += bytes as usize;
        }
        if stored.uncommitted.is_full() {
            // The next part waits for it.
            stored.records.require_sync();
        }
    }

    /// Asks for what comes next, or releases it.
    pub(super) fn go_on(&mut self, next: Next, call: &mut Call<'_>) {
        if self.is_gone || self.is_out || self.load.is_some() {
            return;
        }
        if let Some((first, last)) = self.stored.as_ref().and_then(|stored| stored.unread) {
            return self.ask_load(first, last, READ_MESSAGES_MAX, READ_BYTES_MAX, call);
        }
        self.pass_over_lost();
        if next == Next::Release {
            self.collect_resident(call.now);
        }
        match self.awaited(call.now) {
            Awaited::Load => self.ask_due(call),
            // Whatever it is that the next one waits for, these do not.
            _ if !self.part.messages.is_empty() => self.release(call),
            Awaited::Nothing => {}
            Awaited::Moment(at) => self.ask_tick(at, call),
            Awaited::Commit(epoch) => self.ask_tick_at_epoch(epoch, call),
        }
    }

    /// What has to come before the first of those that are held can be added to the part.
    fn awaited(&self, now: Moment) -> Awaited {
        let Some(first) = self.held.first() else {
            return Awaited::Nothing;
        };
        if first.at() > now {
            return Awaited::Moment(first.at());
        }
        let stored = self.stored.as_ref();
        match (
            stored.and_then(|stored| stored.awaited_before(first)),
            first,
        ) {
            (Some(epoch), _) => Awaited::Commit(epoch),
            (None, First::Stored(_)) if self.part.has_room() => Awaited::Load,
            (None, _) => Awaited::Moment(now.after_ms(PAUSE_MS)),
        }
    }

    /// A store that has failed will never have what it had not written by then, and nobody was told that
    /// it was safe.
    fn pass_over_lost(&mut self) {
        while let (Some(First::Stored(due)), Some(stored)) = (self.held.first(), &self.stored) {
            if !stored.has_failed || due.position < stored.written.below() {
                return;
            }
            self.held
                .take_run(Moment::from_unix_ms(u64::MAX), u64::MAX, 1);
        }
    }

    fn ask_due(&mut self, call: &mut Call<'_>) {
        let written_below = self
            .stored
            .as_ref()
            .map_or(0, |stored| stored.written.below());
        let room = PART_MESSAGES_MAX.saturating_sub(self.part.messages.len());
        self.loading = self.held.take_run(call.now, written_below, room);
        if let (Some(first), Some(last)) = (self.loading.first(), self.loading.last()) {
            let (first, last) = (first.position, last.position);
            // No more than there can be: the store looks up as many places as it is asked for.
            let messages_max = usize::try_from(last - first + 1).unwrap_or(PART_MESSAGES_MAX);
            let messages_max = messages_max.min(PART_MESSAGES_MAX);
            self.ask_load(first, last, messages_max, PART_BYTES_MAX, call);
        }
    }

    fn ask_load(
        &mut self,
        first: u64,
        last: u64,
        messages_max: usize,
        bytes_max: usize,
        call: &mut Call<'_>,
    ) {
        self.load = Some(Load {
            first,
            last,
            messages_max,
            bytes_max,
        });
        call.effects.load = self.load;
    }

    fn ask_tick_at_epoch(&mut self, epoch: Epoch, call: &mut Call<'_>) {
        if let Some(stored) = &mut self.stored
            && stored.tick_at.is_none_or(|asked| epoch < asked)
        {
            stored.tick_at = Some(epoch);
            call.effects.tick_at_epoch = Some(epoch);
        }
    }

    fn ask_tick(&mut self, at: Moment, call: &mut Call<'_>) {
        if at < self.tick_at {
            self.tick_at = at;
            call.effects.tick_at = Some(at);
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Ends the queue, whatever state it is in, and hands out what it held. Its log goes as a whole.
    pub(super) fn end(&mut self) -> Held {
        let held = std::mem::take(&mut self.held);
        *self = Self {
            next_position: self.next_position,
            is_gone: true,
            ..Self::new()
        };
        held
    }

    pub(super) fn status(&self) -> QueueStatus {
        QueueStatus {
            ready: self.held.len() + self.part.messages.len() as u64,
            unsettled: 0,
            consumers: 0,
            ready_bytes: self.bytes,
            held_bytes: self.bytes,
            resident_bytes: self.resident_bytes + self.part.bytes + self.held.index_bytes(),
            resident_messages: self.held.resident_len() + self.part.messages.len() as u64,
            dead_letters: 0,
        }
    }
}

impl Stored {
    fn write(&mut self, message: &Message, due: Due, now: Moment) {
        self.is_awaited = true;
        stored_message::pieces(message, Some(due.at), |pieces| {
            let message = NewMessage {
                index: due.position,
                time_ms: now.unix_ms(),
                body_bytes: counted_len(message),
                pieces,
            };
            self.records.message(self.log, message);
        });
    }

    /// The commit that has to come before the first message can go, if it has not come yet.
    fn awaited_before(&self, first: First) -> Option<Epoch> {
        if self.uncommitted.is_full() {
            return self.uncommitted.epoch;
        }
        match first {
            First::Stored(due) if due.position >= self.written.below() => self.written.awaited(),
            First::Stored(_) | First::Resident(_) => None,
        }
    }
}
