//! [`StoredRun`]: where messages lie that are only in the store.
//!
//! What it is not: it does not say which of the positions it covers have a message.

use super::{Counts, Entry};

/// Messages that are only in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::core::queue) struct StoredRun {
    /// The position of the first message, or one before it.
    pub(in crate::core::queue) first: u64,
    /// The position of the last message.
    pub(in crate::core::queue) last: u64,
    /// How many there are. Other positions between them are of messages that are gone, or of other
    /// levels.
    pub(in crate::core::queue) count: u64,
    /// Their body bytes.
    pub(in crate::core::queue) bytes: u64,
}

impl StoredRun {
    /// One message.
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            first: entry.position,
            last: entry.position,
            count: 1,
            bytes: u64::from(entry.body_bytes()),
        }
    }

    /// Makes a run cover another one too.
    pub(super) fn extend(span: &mut Option<Self>, more: Self) {
        let Some(run) = span else {
            *span = Some(more);
            return;
        };
        run.first = run.first.min(more.first);
        run.last = run.last.max(more.last);
        run.count += more.count;
        run.bytes += more.bytes;
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            len: self.count,
            bytes: self.bytes,
            stored_len: self.count,
            stored_bytes: self.bytes,
            head_bytes: 0,
        }
    }

    /// Passes the run to `take` in pieces that leave these positions out. If there is more than one
    /// piece nobody knows how many messages each has: its count is 0, and the first has all the bytes.
    pub(super) fn without(self, mut away: Vec<u64>, mut take: impl FnMut(Self)) {
        away.retain(|position| (self.first..=self.last).contains(position));
        if away.is_empty() {
            return take(self);
        }
        away.sort_unstable();
        let (mut first, mut bytes) = (self.first, self.bytes);
        for end in away.into_iter().chain([self.last.saturating_add(1)]) {
            if first < end {
                take(Self {
                    first,
                    last: end - 1,
                    count: 0,
                    bytes: std::mem::take(&mut bytes),
                });
            }
            first = end.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_away_is_left_out_and_no_piece_claims_to_be_whole() {
        let run = StoredRun {
            first: 10,
            last: 19,
            count: 6,
            bytes: 60,
        };
        let pieces = |away: &[u64]| {
            let mut pieces = Vec::new();
            run.without(away.to_vec(), |piece| {
                pieces.push((piece.first, piece.last, piece.count, piece.bytes));
            });
            pieces
        };
        assert_eq!(pieces(&[9, 20]), [(10, 19, 6, 60)]);
        let expected = [(11, 12, 0, 60), (14, 14, 0, 0), (17, 18, 0, 0)];
        assert_eq!(pieces(&[16, 10, 13, 15, 19]), expected);
    }
}
