//! [`Outbox`]: what one connection has yet to send.
//!
//! Small things (methods, headers, small bodies) are written one behind another into one buffer.
//! Large bodies are queued as the reference-counted slices in which they arrived, so that they go
//! from the publisher's socket to the consumer's without being copied.
//!
//! ```text
//!   sealed: [bytes][large body][bytes][large body] ... | tail: bytes being written
//!   ▲ sent from here                                                    written here ▲
//! ```
//!
//! What it is not: a limit. Whoever fills it asks [`Outbox::len`] first and stops at the water
//! marks of [`crate::limits`].

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::IDLE_BUFFER_BYTES_MAX;

/// Bytes waiting for the socket, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    sealed: VecDeque<Bytes>,
    sealed_len: usize,
    tail: BytesMut,
    /// Deliveries of the batch under way; behind everything else until [`Outbox::buffer`] is asked
    /// for. Plain vectors take many small pieces at half the cost.
    batch: Vec<u8>,
}

impl Outbox {
    /// Where to write what goes out next.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        self.end_batch();
        &mut self.tail
    }

    /// Where to write a small delivery; [`Outbox::end_batch`] must follow before anything is sent.
    pub(crate) fn batch(&mut self) -> &mut Vec<u8> {
        &mut self.batch
    }

    /// Puts a batch of deliveries behind what was written before it.
    pub(crate) fn end_batch(&mut self) {
        if !self.batch.is_empty() {
            self.tail.extend_from_slice(&self.batch);
            self.batch.clear();
        }
    }

    /// Queues a large body without copying it.
    pub(crate) fn push_shared(&mut self, bytes: Bytes) {
        self.end_batch();
        if !self.tail.is_empty() {
            let head = self.tail.split().freeze();
            self.sealed_len += head.len();
            self.sealed.push_back(head);
        }
        self.sealed_len += bytes.len();
        self.sealed.push_back(bytes);
    }

    /// How many bytes wait to be sent.
    pub(crate) fn len(&self) -> usize {
        self.sealed_len + self.tail.len() + self.batch.len()
    }

    /// True when everything has been sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives back the memory of a burst; called when the connection falls idle.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && self.tail.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.tail = BytesMut::new();
        }
        if self.batch.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.batch = Vec::new();
        }
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        debug_assert!(self.batch.is_empty(), "a batch was not ended");
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.sealed
            .front()
            .map_or(&self.tail[..], |bytes| &bytes[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.sealed.iter().map(|bytes| &bytes[..]);
        let pieces = pieces
            .chain(std::iter::once(&self.tail[..]))
            .filter(|piece| !piece.is_empty());
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut sent: usize) {
        while let Some(front) = self.sealed.front_mut() {
            let step = sent.min(front.len());
            front.advance(step);
            self.sealed_len -= step;
            sent -= step;
            if !front.is_empty() {
                return;
            }
            self.sealed.pop_front();
        }
        self.tail.advance(sent);
        if self.tail.is_empty() {
            // Clearing moves the write position back to the start, so the buffer is reused whole.
            self.tail.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        while outbox.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 2];
            let count = outbox.chunks_vectored(&mut slices);
            let bytes: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
            let taken = step.min(bytes.len());
            sent.extend_from_slice(&bytes[..taken]);
            outbox.advance(taken);
        }
        sent
    }

    #[test]
    fn bytes_leave_in_the_order_they_were_written_whatever_the_socket_takes() {
        for step in 1..12 {
            let mut outbox = Outbox::default();
            outbox.buffer().extend_from_slice(b"one");
            outbox.push_shared(Bytes::from_static(b"TWO"));
            outbox.push_shared(Bytes::from_static(b"THREE"));
            outbox.buffer().extend_from_slice(b"four");
            assert_eq!(outbox.len(), 15);
            assert_eq!(drain(&mut outbox, step), b"oneTWOTHREEfour");
            assert!(outbox.is_empty());
        }
    }
}
