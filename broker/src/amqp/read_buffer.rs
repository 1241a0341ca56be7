//! [`ReadBuffer`]: what a connection has received and not handled yet.
//!
//! ```text
//!   make_room ─▶ a read ─▶ note_read ─▶ is_worth_handling? ─▶ lend ─▶ handled, slices of it may be kept
//!       ▲                                    │ no                        │
//!       └────────────────────────────────────┴───────── take_back ◀──────┘
//! ```
//!
//! A large frame is read into memory of its own length, so that its body can be kept as it lies there. Anything
//! else is read into memory that is used again and again, and copied out of it.
//!
//! What it is not: it reads no socket and knows no frame.
//!
//! Invariants: memory is taken for twice the bytes that have come, or for one read, and not for what a frame
//! announces. What is lent is told with at least as much memory as it takes.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::limits::{IDLE_BUFFER_BYTES_MAX, READ_BUFFER_BYTES_MIN, READ_TURN_BYTES_MAX};

#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: BytesMut,
    /// So many bytes of the same memory are in front of them, used up.
    used: usize,
    /// How many bytes there must be before they are worth looking at.
    wanted: usize,
    /// How much room the next read gets; grows while reads fill it.
    read_size: usize,
}

impl ReadBuffer {
    pub(crate) fn new() -> Self {
        Self {
            bytes: BytesMut::new(),
            used: 0,
            wanted: 0,
            read_size: READ_BUFFER_BYTES_MIN,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Where the next bytes go.
    pub(crate) fn make_room(&mut self) -> &mut BytesMut {
        if !self.is_in_a_large_frame() {
            self.reserve(self.read_size.max(self.wanted.min(READ_TURN_BYTES_MAX)));
        } else if self.bytes.capacity() < self.wanted {
            self.move_into(self.wanted);
        }
        &mut self.bytes
    }

    fn reserve(&mut self, room: usize) {
        let (here, behind) = (self.bytes.len(), self.bytes.capacity() - self.bytes.len());
        if behind >= room {
            return;
        }
        // Then `BytesMut::reserve` moves them to the front of their memory. Otherwise it would keep what is used up.
        let has_room_in_front = self.used >= here && self.used + behind >= room;
        if self.used == 0 || has_room_in_front {
            self.bytes.reserve(room);
            self.used = 0;
        } else {
            self.move_into(here + room);
        }
    }

    fn move_into(&mut self, capacity: usize) {
        let mut bytes = BytesMut::with_capacity(capacity);
        bytes.extend_from_slice(&self.bytes);
        self.bytes = bytes;
        self.used = 0;
    }

    /// True if at least half of a large frame is here, and not all of it.
    fn is_in_a_large_frame(&self) -> bool {
        let (here, wanted) = (self.bytes.len(), self.wanted);
        wanted > READ_TURN_BYTES_MAX && here < wanted && here >= wanted / 2
    }

    /// So many bytes have come.
    pub(crate) fn note_read(&mut self, bytes: usize) {
        if bytes >= self.read_size && self.read_size < READ_TURN_BYTES_MAX {
            self.read_size *= 2;
        }
    }

    pub(crate) fn is_worth_handling(&self) -> bool {
        self.bytes.len() >= self.wanted
    }

    /// Everything there is, and how many bytes of memory it takes.
    pub(crate) fn lend(&mut self) -> (Bytes, usize) {
        let allocated = self.used + self.bytes.capacity();
        (std::mem::take(&mut self.bytes).freeze(), allocated)
    }

    /// What was lent, of which so many bytes are used up; the rest is worth looking at when so many are there. If
    /// a part of it is kept, the rest moves.
    pub(crate) fn take_back(&mut self, lent: Bytes, consumed: usize, wanted: usize) {
        self.wanted = wanted;
        match lent.try_into_mut() {
            Ok(bytes) => self.use_again(bytes, consumed),
            Err(kept) => {
                self.bytes = BytesMut::from(kept.get(consumed..).unwrap_or_default());
                self.used = 0;
            }
        }
    }

    fn use_again(&mut self, mut bytes: BytesMut, consumed: usize) {
        if consumed < bytes.len() {
            bytes.advance(consumed);
            self.used += consumed;
        } else {
            bytes.clear();
        }
        self.bytes = bytes;
    }

    /// Gives back what a burst has taken.
    pub(crate) fn shrink(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > IDLE_BUFFER_BYTES_MAX {
            *self = Self {
                wanted: self.wanted,
                ..Self::new()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;

    /// As a read does that brings so many bytes, if there is room for them.
    fn read(buffer: &mut ReadBuffer, bytes: usize) -> usize {
        let room = buffer.make_room();
        let read = bytes.min(room.capacity() - room.len());
        room.put_bytes(7, read);
        buffer.note_read(read);
        read
    }

    fn handle(buffer: &mut ReadBuffer, consumed: usize, wanted: usize) -> usize {
        let (lent, allocated) = buffer.lend();
        buffer.take_back(lent, consumed, wanted);
        allocated
    }

    #[test]
    fn a_large_frame_ends_in_memory_of_its_own_length() {
        let (mut buffer, frame) = (ReadBuffer::new(), 131_072);
        let mut left = frame + 1_000;
        while buffer.len() < frame {
            left -= read(&mut buffer, left);
            if buffer.is_worth_handling() && buffer.len() < frame {
                handle(&mut buffer, 0, frame);
            }
        }
        let (lent, allocated) = buffer.lend();
        assert_eq!((lent.len(), allocated, left), (frame, frame, 1_000));
    }

    #[test]
    fn announcing_a_frame_takes_no_memory() {
        let mut buffer = ReadBuffer::new();
        read(&mut buffer, 7);
        handle(&mut buffer, 0, 1 << 30);
        for _ in 0..100 {
            read(&mut buffer, 7);
        }
        let allocated = handle(&mut buffer, 0, 1 << 30);
        assert!(allocated <= 4 * READ_TURN_BYTES_MAX, "{allocated}");
    }

    #[test]
    fn what_is_used_up_still_takes_its_memory() {
        let mut buffer = ReadBuffer::new();
        read(&mut buffer, 1_000);
        let first = handle(&mut buffer, 900, 150);
        let (lent, allocated) = buffer.lend();
        assert_eq!(lent.len(), 100);
        assert!(allocated >= first, "{allocated} < {first}");
    }

    #[test]
    fn memory_is_used_again_unless_somebody_keeps_a_part_of_it() {
        let mut buffer = ReadBuffer::new();
        read(&mut buffer, 1_000);
        let (lent, _) = buffer.lend();
        let memory = lent.as_ptr();
        buffer.take_back(lent, 1_000, 0);
        assert_eq!(buffer.make_room().as_ptr(), memory);
        read(&mut buffer, 1_000);
        let (lent, _) = buffer.lend();
        let kept = lent.slice(0..10);
        buffer.take_back(lent, 999, 0);
        assert_eq!(buffer.len(), 1);
        assert_ne!(buffer.make_room().as_ptr(), memory);
        assert_eq!(kept.as_ptr(), memory);
    }

    /// A stream of small frames, of which each read cuts one in two.
    #[test]
    fn a_rest_moves_to_the_front_of_the_same_memory() {
        let mut buffer = ReadBuffer::new();
        for _ in 0..10 {
            read(&mut buffer, usize::MAX);
            let here = buffer.len();
            handle(&mut buffer, here - 50, 100);
        }
        let capacity = handle(&mut buffer, 0, 100);
        let memory = buffer.make_room().as_ptr();
        for _ in 0..10 {
            read(&mut buffer, usize::MAX);
            let here = buffer.len();
            assert_eq!(handle(&mut buffer, here - 50, 100), capacity);
            assert_eq!(buffer.make_room().as_ptr(), memory);
        }
    }

    #[test]
    fn a_burst_is_given_back() {
        let mut buffer = ReadBuffer::new();
        for _ in 0..20 {
            read(&mut buffer, usize::MAX);
            let all = buffer.len();
            handle(&mut buffer, all, 0);
        }
        assert!(buffer.bytes.capacity() >= READ_TURN_BYTES_MAX);
        buffer.shrink();
        assert_eq!(buffer.bytes.capacity(), 0);
    }
}
