//! [`Entry`]: one message of one queue, with what the queue knows of it.
//!
//! What it is not: it decides nothing. It is small, because a long queue has many: see the test of
//! its size.

use super::LoadedMessage;
use super::held::HeadSize;
use crate::core::{Message, Moment};

/// The deadline of a message that does not expire.
pub(super) const NEVER: Moment = Moment::from_unix_ms(u64::MAX);

/// The bit of an entry's marks that is set once it came back.
const REDELIVERED: u8 = !HeadSize::BITS;

/// One message of one queue.
#[derive(Debug)]
pub(super) struct Entry {
    /// The message, shared with other queues.
    pub(super) message: Message,
    /// Its place in the queue; never given out twice.
    pub(super) position: u64,
    /// When it expires, if it is ready then; [`NEVER`] for most.
    pub(super) expires_at: Moment,
    body_len: u32,
    /// How often it came back; stays at the largest number.
    pub(super) return_count: u16,
    /// A bit for whether it came back, and the size of the message's head.
    marks: u8,
    /// True if it is in the store: a persistent message of a durable queue.
    pub(super) logged: bool,
}

impl Entry {
    /// A message that was just taken in, and is in no store.
    pub(super) fn new(message: Message, position: u64, expires_at: Moment) -> Self {
        let (body_len, head) = HeadSize::beside_body(&message);
        Self {
            // The lengths are kept here so that counting a taken message does not fetch it from memory.
            body_len,
            marks: head.to_bits(),
            message,
            position,
            expires_at,
            return_count: 0,
            logged: false,
        }
    }

    /// A message that came back from the store.
    pub(super) fn loaded(loaded: LoadedMessage) -> Self {
        let expires_at = loaded.expires_at.unwrap_or(NEVER);
        let mut entry = Self {
            return_count: u16::try_from(loaded.return_count).unwrap_or(u16::MAX),
            logged: true,
            ..Self::new(loaded.message, loaded.position, expires_at)
        };
        if loaded.redelivered {
            entry.marks |= REDELIVERED;
        }
        entry
    }

    /// The message's body length in bytes.
    pub(super) fn body_len(&self) -> usize {
        self.body_len as usize
    }

    /// The body length as it is stored.
    pub(super) fn body_bytes(&self) -> u32 {
        self.body_len
    }

    /// What the message's head counts for in memory.
    #[inline(always)]
    pub(super) fn head_bytes(&self) -> u64 {
        HeadSize::from_bits(self.marks).bytes()
    }

    /// What the message counts for in memory, beside what each message does.
    #[inline(always)]
    pub(super) fn memory_bytes(&self) -> u64 {
        u64::from(self.body_len) + self.head_bytes()
    }

    /// True once it came back (DELIV-05).
    pub(super) fn is_redelivered(&self) -> bool {
        self.marks & REDELIVERED != 0
    }

    /// When it expires, if it does.
    pub(super) fn deadline(&self) -> Option<Moment> {
        (self.expires_at != NEVER).then_some(self.expires_at)
    }

    /// Notes that the message was delivered and came back.
    pub(super) fn mark_returned(&mut self) {
        self.marks |= REDELIVERED;
        self.return_count = self.return_count.saturating_add(1);
    }
}

/// What a message's body counts for in its queue. A body that does not fit is counted as the largest
/// that does, going in and out alike.
pub(super) fn counted_len(message: &Message) -> u32 {
    u32::try_from(message.body_len()).unwrap_or(u32::MAX)
}

/// What a message counts for in memory, beside what each message does.
pub(super) fn memory_len(message: &Message) -> u64 {
    let (body_len, head) = HeadSize::beside_body(message);
    u64::from(body_len) + head.bytes()
}

/// Sorts by position; cheap for what is sorted already or made of sorted runs.
pub(super) fn sort_by_position(entries: &mut [Entry]) {
    entries.sort_by_key(|entry| entry.position);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 40);
        assert_eq!(size_of::<Option<Entry>>(), 40, "a hole costs no more");
    }
}
