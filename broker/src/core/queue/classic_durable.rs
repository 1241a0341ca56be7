//! What a durable [`Classic`] does beyond a transient one: it writes records, waits for marks, and
//! pages its messages out and in.
//!
//! ```text
//!   head logged, at or above the mark ──▶ write a mark, tick once it is committed ──▶ deal
//!   ready messages above their share  ──▶ blocks that are on disk leave memory, a few a call
//!   little left before a stored run   ──▶ Effects::load ──▶ loaded() ──▶ deal, trim, the next load
//! ```
//!
//! While the head waits for its mark or its load everything behind it waits too, so that no message
//! passes another. A getter that met such a head is rung once the head can be got, or is gone.
//!
//! What it is not: no rule of queueing lives here. Deadlines and limits are `classic.rs`'s; they too
//! look at a head that is in memory only, so an expired message that is in the store is found, and
//! one above a length limit dropped, when it has been loaded, which does not wait for a consumer. Nor does
//! a queue with priorities wait to have looked through what a restart has found, before which it has no head.
//!
//! Invariant: a call does the work of a few blocks at most, or places one load.

use leveret_storage::{Epoch, LogId, RecoveredLog};

use super::aftermath::{Aftermath, Call};
use super::classic::Classic;
use super::durable::{self, Durable};
use super::entry::Entry;
use super::ready::{Block, Head, LoadedPart, Paged, Part};
use super::{Buried, ClassicOptions, Effects, Got, Load, Loaded, LoadedMessage, SlotId};

/// How many blocks of 256 messages one call looks at to page them out: more than one call can add,
/// few enough to hold the lock for some microseconds.
const PAGE_BLOCKS_MAX: usize = 4;

impl Classic {
    /// A queue that logs its persistent messages, with what was found in its log.
    pub(super) fn durable(
        options: ClassicOptions,
        log: LogId,
        recovered: Option<&RecoveredLog>,
    ) -> Self {
        let mut queue = Self::new(options);
        if let Some(recovered) = recovered {
            queue.next_position = recovered.next_index;
            if let Some(run) = durable::recovered_run(recovered) {
                queue.ready.recover(run);
                queue.held.bodies = run.bytes;
            }
            queue.recover_letters(recovered);
        }
        let has_priorities = options.max_priority > 0;
        let durable = Durable::new(log, queue.next_position, has_priorities);
        queue.durable = Some(Box::new(durable));
        queue
    }

    /// Changes how much memory the ready messages may need.
    pub(super) fn set_resident_bytes_max(&mut self, bytes_max: u64, call: &mut Call<'_>) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        let is_less = bytes_max < durable.resident_bytes_max;
        durable.resident_bytes_max = bytes_max;
        if is_less {
            self.page_anew();
        }
        self.finish(call);
    }

    /// The share has become less: what was spared before is looked at again.
    fn page_anew(&mut self) {
        if let Some(durable) = &self.durable
            && durable.is_over_share(&self.ready)
        {
            self.ready.page_anew(durable.front_bytes());
        }
    }

    fn note_readers(&mut self) {
        let consumers = self.consumers.count();
        if let Some(durable) = &mut self.durable {
            let is_read = consumers > 0 || !durable.getters.is_empty();
            if durable.set_read(is_read) {
                self.page_anew();
            }
        }
    }

    /// A call begins, and the store has got this far.
    pub(super) fn begin(&mut self, committed: Epoch, has_failed: bool) {
        if let Some(durable) = &mut self.durable {
            durable.begin(committed, has_failed);
        }
    }

    /// The call's records were submitted under this epoch.
    pub(super) fn submitted(&mut self, epoch: Epoch) {
        if let Some(durable) = &mut self.durable {
            durable.submitted(epoch, self.next_position);
        }
    }

    /// The call ends; its records have been submitted.
    pub(super) fn end_call(&mut self, effects: &mut Effects) {
        if let Some(durable) = &mut self.durable {
            durable.end(effects);
        }
    }

    /// Logged messages below this position may be handed out.
    pub(super) fn open_below(&self) -> u64 {
        let durable = self.durable.as_ref();
        durable.map_or(u64::MAX, |durable| durable.marks.open_below())
    }

    /// While there are consumers, the mark runs ahead so that they need not wait for it.
    fn renew_mark(&mut self, aftermath: &mut Aftermath) {
        let next = self.next_to_hand_out();
        if let Some(durable) = &mut self.durable
            && self.consumers.count() > 0
        {
            durable.renew_mark(next, &mut aftermath.records);
        }
    }

    /// The position from which a mark is counted: of the message that is handed out next, so that
    /// what waits far behind it does not count as delivered after a crash.
    fn next_to_hand_out(&self) -> u64 {
        self.ready.first_position().unwrap_or(self.next_position)
    }

    /// A getter found a head that cannot be got yet.
    pub(super) fn wait_for_head(&mut self, slot: SlotId) -> Got {
        if let Some(durable) = &mut self.durable
            && !durable.getters.contains(&slot)
        {
            durable.getters.push(slot);
        }
        Got::Loading
    }

    /// A slot ends and is not to be rung any more.
    pub(super) fn forget_getter(&mut self, slot: SlotId) {
        if let Some(durable) = &mut self.durable {
            durable.getters.retain(|getter| *getter != slot);
        }
    }

    /// Rings the getters that wait for the head.
    pub(super) fn ring_getters(&mut self, aftermath: &mut Aftermath) {
        if let Some(durable) = &mut self.durable {
            let slots = durable.getters.drain(..);
            let ports = slots.filter_map(|slot| self.consumers.port(slot));
            aftermath.rings.extend(ports);
        }
    }

    /// Writes that messages came back.
    pub(super) fn write_returned(&self, returned: &[Entry], aftermath: &mut Aftermath) {
        let Some(durable) = &self.durable else {
            return;
        };
        for entry in returned.iter().filter(|entry| entry.logged) {
            let count = u32::from(entry.return_count);
            let records = &mut aftermath.records;
            records.returned(durable.log, entry.position, count);
            // Whoever returns messages again and again is held up while the store is behind.
            aftermath.is_awaited = true;
        }
    }

    /// Dead letters have been sent on.
    pub(super) fn forget(&mut self, buried: &[Buried], call: &mut Call<'_>) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        for letter in buried {
            durable.forget_buried(letter.position);
            let records = &mut call.aftermath.records;
            durable::write_settled(durable.log, letter.position, letter.body_bytes, records);
        }
    }

    /// Writes that all ready messages are done with.
    pub(super) fn write_purge(&self, aftermath: &mut Aftermath) {
        let Some(durable) = &self.durable else {
            return;
        };
        let records = &mut aftermath.records;
        let away = || self.consumers.logged_positions().chain(durable.buried());
        let settle = |range| durable::write_settled_run(durable.log, range, records);
        self.ready.logged_ranges(|| away().collect(), settle);
        let records = &mut aftermath.records;
        if !records.is_empty() {
            // Purge-ok says that the messages are gone, which has to outlast a crash.
            records.require_sync();
            aftermath.is_awaited = true;
        }
    }

    /// Takes messages from the store. What nobody waits for any more is dropped: the queue was purged
    /// or deleted meanwhile.
    pub(super) fn loaded(&mut self, mut loaded: Loaded, call: &mut Call<'_>) {
        if let Some((load, part)) = self.awaited_load(&loaded) {
            let letters = self.discover_letters(&mut loaded.messages, call);
            self.place(load, part, loaded, letters, call.aftermath);
            self.trim(call);
            self.deal(call);
            self.trim(call);
            self.finish(call);
        }
    }

    /// The load under way, if this is it. Positions are never used again, so one that was asked for
    /// before a purge ends before the first message that is wanted now.
    fn awaited_load(&mut self, loaded: &Loaded) -> Option<(Load, Part)> {
        let load = &mut self.durable.as_mut()?.load;
        load.take_if(|(load, _)| loaded.through >= load.first)
    }

    /// `letters` more messages of the part were no ready ones.
    fn place(
        &mut self,
        load: Load,
        part: Part,
        loaded: Loaded,
        letters: u64,
        aftermath: &mut Aftermath,
    ) {
        let through = loaded.through.min(load.last);
        let is_wanted = |position: u64| (load.first..=through).contains(&position);
        let messages = loaded.messages.into_iter();
        let wanted = |message: &LoadedMessage| is_wanted(message.position);
        let entries: Vec<Entry> = messages.filter(wanted).map(Entry::loaded).collect();
        let unreadable = loaded.unreadable.into_iter().filter(|at| is_wanted(*at));
        let loaded = LoadedPart {
            part,
            first: load.first,
            through,
            entries,
            unreadable: unreadable.count() as u64 + letters,
        };
        let (bodies, heads) = (self.ready.bytes(), self.ready.head_bytes());
        self.ready.place_loaded(loaded, &mut aftermath.dropped);
        // What could not be read is not held any more: nobody will ever be handed it.
        self.held.bodies = self.held.bodies - bodies + self.ready.bytes();
        self.held.heads = self.held.heads - heads + self.ready.head_bytes();
    }

    /// Ends a call to a durable queue: asks for what its head waits for.
    pub(super) fn finish_durable(&mut self, call: &mut Call<'_>) {
        self.note_readers();
        self.open_head(call);
        self.renew_mark(call.aftermath);
        self.fill_front(call);
        self.page_out(call);
    }

    /// If somebody waits for the head: asks for the mark that it waits for, or tells the getters that
    /// it waits for none.
    fn open_head(&mut self, call: &mut Call<'_>) {
        let next = self.next_to_hand_out();
        let Some(durable) = &mut self.durable else {
            return;
        };
        let is_closed = match self.ready.head() {
            Head::Stored => {
                if !durable.getters.is_empty() {
                    durable.renew_mark(next, &mut call.aftermath.records);
                }
                return;
            }
            Head::None => false,
            Head::Resident(head) => head.logged && head.position >= durable.marks.open_below(),
        };
        if !is_closed {
            return self.ring_getters(call.aftermath);
        }
        if self.consumers.next().is_some() || !durable.getters.is_empty() {
            durable.ask_mark(next, &mut call.aftermath.records);
            durable.waits_for_mark = true;
        }
    }

    /// Asks for the next load when little is left in memory before a stored run. While nobody reads
    /// and the limits are kept, only the head is wanted: its deadline counts.
    fn fill_front(&mut self, call: &mut Call<'_>) {
        let Some(durable) = &mut self.durable else {
            return;
        };
        if durable.load.is_some() || self.ready.stored_len() == 0 {
            return;
        }
        let (len, bytes) = (self.ready.len(), self.ready.bytes());
        let is_read = self.consumers.count() > 0
            || !durable.getters.is_empty()
            || self.options.exceeded_by(len, bytes)
            || self.letters.as_ref().is_some_and(|l| l.undiscovered() > 0);
        if !is_read && matches!(self.ready.head(), Head::Resident(_)) {
            return;
        }
        if let Some(wanted) = self.ready.wanted() {
            durable.ask_load(wanted, is_read, call.effects);
        }
    }

    /// Drops a few blocks from memory if the ready messages are above their share.
    fn page_out(&mut self, call: &mut Call<'_>) {
        for _ in 0..PAGE_BLOCKS_MAX {
            match self.page_block() {
                Paged::Out { entries, .. } => {
                    call.aftermath.purged.push_back(Block::Resident(entries));
                }
                Paged::Passed { .. } => {}
                Paged::NotWritten => break,
                Paged::Nothing => return,
            }
        }
        if let Some(durable) = &mut self.durable {
            durable.waits_to_page = durable.is_over_share(&self.ready);
        }
    }

    fn page_block(&mut self) -> Paged {
        match &self.durable {
            Some(durable) if durable.is_over_share(&self.ready) => {
                let heads = self.ready.head_bytes();
                let paged = self.ready.page_out(&durable.page_limits());
                self.held.heads -= heads - self.ready.head_bytes();
                paged
            }
            _ => Paged::Nothing,
        }
    }
}
