//! [`Outbox`]: what one connection has yet to send.
//!
//! Small things (methods, headers, small bodies) are written one behind another into one buffer.
//! Large bodies are queued as the reference-counted slices in which they arrived, so that they go
//! from the publisher's socket to the consumer's without being copied.
//!
//! ```text
//!   sealed: [bytes][large body][bytes][large body] ... | tail: methods | batch: deliveries
//!   ▲ sent from here                                       small deliveries written here ▲
//! ```
//!
//! Deliveries of small messages, which are most of what is ever sent, are put together in a plain
//! vector, the batch, and sent from where they lie. They move to the tail only when something else is
//! written behind them.
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
    /// Small deliveries, behind everything else. Plain vectors take many small pieces at half the
    /// cost.
    batch: Vec<u8>,
    /// How much of the batch has been sent.
    batch_sent: usize,
}

/// What was sent of a batch that keeps growing is cut off at this length, which costs moving the rest.
const BATCH_SENT_BYTES_MAX: usize = 65_536;

impl Outbox {
    /// Where to write what goes out next.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        self.end_batch();
        &mut self.tail
    }

    /// Where to write a small delivery.
    #[inline]
    pub(crate) fn batch(&mut self) -> &mut Vec<u8> {
        &mut self.batch
    }

    /// Puts the batch behind what was written before it, so that something else can follow.
    fn end_batch(&mut self) {
        if !self.batch.is_empty() {
            let unsent = self.batch.get(self.batch_sent..).unwrap_or_default();
            self.tail.extend_from_slice(unsent);
            self.clear_batch();
        }
    }

    fn unsent_batch(&self) -> &[u8] {
        self.batch.get(self.batch_sent..).unwrap_or_default()
    }

    fn clear_batch(&mut self) {
        self.batch.clear();
        self.batch_sent = 0;
    }

    fn advance_batch(&mut self, sent: usize) {
        self.batch_sent += sent;
        if self.batch_sent == self.batch.len() {
            self.clear_batch();
        } else if self.batch_sent > BATCH_SENT_BYTES_MAX {
            self.batch.drain(..self.batch_sent);
            self.batch_sent = 0;
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
        self.sealed_len + self.tail.len() + self.unsent_batch().len()
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
        if self.batch.is_empty() && self.batch.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.batch = Vec::new();
        }
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        match self.sealed.front() {
            Some(bytes) => bytes,
            None if self.tail.is_empty() => self.unsent_batch(),
            None => &self.tail,
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.sealed.iter().map(|bytes| &bytes[..]);
        let pieces = pieces
            .chain([&self.tail[..], self.unsent_batch()])
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
        let step = sent.min(self.tail.len());
        self.tail.advance(step);
        if self.tail.is_empty() {
            // Clearing moves the write position back to the start, so the buffer is reused whole.
            self.tail.clear();
        }
        self.advance_batch(sent - step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        while outbox.has_remaining() {
            let first = outbox.chunk().to_vec();
            let mut slices = [IoSlice::new(&[]); 2];
            let count = outbox.chunks_vectored(&mut slices);
            let bytes: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
            assert!(!first.is_empty() && bytes.starts_with(&first));
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
            outbox.batch().extend_from_slice(b"5");
            outbox.buffer().extend_from_slice(b"six");
            outbox.batch().extend_from_slice(b"seven");
            assert_eq!(outbox.len(), 24);
            assert_eq!(drain(&mut outbox, step), b"oneTWOTHREEfour5sixseven");
            assert!(outbox.is_empty());
        }
    }

    #[test]
    fn a_batch_that_is_never_sent_whole_does_not_grow_without_end() {
        let mut outbox = Outbox::default();
        let mut written = 0_usize;
        for _ in 0..1000 {
            for _ in 0..1000 {
                outbox.batch().push(written as u8);
                written += 1;
            }
            while outbox.len() > 100 {
                let at = written - outbox.len();
                assert_eq!(outbox.chunk()[0], at as u8);
                outbox.advance(outbox.len().min(700) - 1);
            }
        }
        assert!(outbox.batch.capacity() < 4 * BATCH_SENT_BYTES_MAX);
    }
}
