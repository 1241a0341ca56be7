//! Deliveries that are not settled in time (DELIV-13): how old they are, and which is overdue first.
//!
//! ```text
//!  tags      1 2 3 4   5 6 7     8 9 ...
//!  Ages     (1, 10:00)(5, 10:01)(8, 10:07)      one age for those of the same moments
//!  timeouts  of each delivery's queue, or the broker's
//!                └──▶ first_due ──▶ Due: overdue at this moment, unless it is settled before
//! ```
//!
//! A channel is looked at when the first of its deliveries would be overdue, and no later than the
//! shortest timeout, or a minute, from the last look; what is delivered after a look cannot be overdue before the next.
//! Nothing is read off a clock and nothing is noted for a single delivery.
//!
//! What it is not: it closes nothing; see `Session::look_at_deliveries`.
//!
//! Invariant: no delivery is taken to be older than it is, nor younger by more than [`AGE_STEP_MS`]; only
//! one that was settled in a transaction and given back is as old as the oldest of the others.

use std::collections::VecDeque;

use leveret_protocol::server::Failure;
use leveret_protocol::{Fault, ReplyCode};

use crate::amqp::channel::Channel;
use crate::amqp::session::Session;
use crate::core::Moment;
use crate::core::queue_handle::QueueHandle;
use crate::limits::CONSUMER_TIMEOUT_CHECK_MS;

/// Deliveries within this time share one age: few ages, however fast a consumer is, and more exact than
/// any timeout is meant.
const AGE_STEP_MS: u64 = 100;

/// The ages of a channel's unsettled deliveries.
#[derive(Debug, Default)]
pub(crate) struct Ages(VecDeque<Age>);

/// Deliveries from this tag on, up to those of the next age.
#[derive(Clone, Copy, Debug)]
struct Age {
    tag: u64,
    first: Moment,
    last: Moment,
}

impl Ages {
    /// Deliveries from this tag on are made now. `oldest` is the tag of the oldest unsettled one.
    pub(crate) fn note(&mut self, tag: u64, now: Moment, oldest: Option<u64>) {
        match self.0.back_mut() {
            Some(age) if now.ms_since(age.first) < AGE_STEP_MS => age.last = now,
            _ => {
                self.forget_before(oldest.unwrap_or(tag));
                self.0.push_back(Age {
                    tag,
                    first: now,
                    last: now,
                });
            }
        }
    }

    /// Drops the ages of settled deliveries.
    fn forget_before(&mut self, oldest: u64) {
        while self.0.get(1).is_some_and(|next| next.tag <= oldest) {
            self.0.pop_front();
        }
    }

    /// When each of these was delivered; they come in the order of their tags.
    fn of<T>(&self, tagged: impl Iterator<Item = (u64, T)>) -> impl Iterator<Item = (Moment, T)> {
        let mut ages = self.0.iter().peekable();
        // A rollback may give back deliveries whose age was forgotten (TX-10).
        let mut at = self.0.front().map_or_else(Moment::default, |age| age.last);
        tagged.map(move |(tag, of)| {
            while let Some(age) = ages.next_if(|age| age.tag <= tag) {
                at = age.last;
            }
            (at, of)
        })
    }
}

/// A delivery that is overdue at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) at: Moment,
    /// The timeout that is over then.
    pub(crate) timeout_ms: u64,
}

/// Which of these deliveries is overdue first. They come oldest first, each with the timeout of its
/// queue, if that has one, of which none is shorter than `shortest_ms`.
pub(crate) fn first_due(
    deliveries: impl Iterator<Item = (Moment, Option<u64>)>,
    shortest_ms: u64,
) -> Option<Due> {
    let mut first: Option<Due> = None;
    for (at, timeout_ms) in deliveries {
        if first.is_some_and(|first| first.at <= at.after_ms(shortest_ms)) {
            // Nor can a later one be overdue earlier.
            break;
        }
        let due = timeout_ms.map(|timeout_ms| Due {
            at: at.after_ms(timeout_ms),
            timeout_ms,
        });
        if let Some(due) = due
            && first.is_none_or(|first| due.at < first.at)
        {
            first = Some(due);
        }
    }
    first
}

/// How long a queue's deliveries may stay unsettled, in milliseconds: as its arguments and policies say, or
/// as the broker's configuration does. Nothing if that is for ever.
fn timeout_of(queue: &QueueHandle, default_ms: Option<u64>) -> Option<u64> {
    match queue.arguments().consumer_timeout_ms {
        Some(own_ms) => (own_ms > 0).then_some(own_ms),
        None => default_ms,
    }
}

impl Channel {
    /// The delivery of this channel that is overdue first, and the shortest timeout of its queues.
    fn first_due(&self, default_ms: Option<u64>) -> (Option<Due>, Option<u64>) {
        let mut timeouts = Vec::new();
        for (index, source) in self.sources() {
            timeouts.resize(index.0 as usize, None);
            timeouts.push(timeout_of(&source.queue, default_ms));
        }
        let shortest_ms = timeouts.iter().flatten().min().copied();
        let due = shortest_ms.and_then(|shortest_ms| {
            let waiting = self.unacked.iter();
            let of_queue = waiting.map(|(tag, waiting)| {
                let timeout_ms = timeouts.get(waiting.source.0 as usize);
                (tag, timeout_ms.copied().flatten())
            });
            first_due(self.ages.of(of_queue), shortest_ms)
        });
        (due, shortest_ms)
    }
}

impl Session {
    fn default_timeout_ms(&self) -> Option<u64> {
        let timeout = self.node.config.consumer_timeout();
        timeout.map(|timeout| timeout.as_millis() as u64)
    }

    /// The channel takes messages from this queue from now on.
    pub(super) fn note_timeout_of(&mut self, queue: &QueueHandle) {
        if let Some(timeout_ms) = timeout_of(queue, self.default_timeout_ms()) {
            let at = latest_look(self.moment, timeout_ms);
            let before = self.look_at_deliveries_at;
            self.look_at_deliveries_at = Some(before.map_or(at, |before| before.min(at)));
        }
    }

    /// Closes the channels with deliveries that are overdue, if it is time to look for them.
    pub(crate) fn look_at_deliveries(&mut self) {
        let now = self.moment;
        if self.look_at_deliveries_at.is_none_or(|at| now < at) {
            return;
        }
        let default_ms = self.default_timeout_ms();
        let mut overdue = Vec::new();
        let mut next: Option<Moment> = None;
        for (number, channel) in &self.channels {
            let (due, shortest_ms) = channel.first_due(default_ms);
            match due {
                Some(due) if due.at <= now => overdue.push((*number, due.timeout_ms)),
                due => {
                    let latest = shortest_ms.map(|ms| latest_look(now, ms));
                    let due = due.map(|due| due.at);
                    next = [next, latest, due].into_iter().flatten().min();
                }
            }
        }
        self.look_at_deliveries_at = next;
        overdue.sort_unstable();
        for (channel, timeout_ms) in overdue {
            self.fail(timed_out(channel, timeout_ms));
        }
    }
}

/// When to look again at deliveries of queues with this timeout.
fn latest_look(now: Moment, timeout_ms: u64) -> Moment {
    now.after_ms(timeout_ms.min(CONSUMER_TIMEOUT_CHECK_MS))
}

/// No method is to blame (ERR-04).
fn timed_out(channel: u16, timeout_ms: u64) -> Failure {
    let text = format!(
        "delivery acknowledgement on channel {channel} timed out. Timeout value used: \
         {timeout_ms} ms. This timeout value can be configured, see consumers doc guide to learn more"
    );
    Failure {
        channel,
        fault: Fault::new(ReplyCode::PreconditionFailed, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_unix_ms(ms)
    }

    fn due(ms: u64, timeout_ms: u64) -> Option<Due> {
        let at = at(ms);
        Some(Due { at, timeout_ms })
    }

    fn first(deliveries: &[(u64, Option<u64>)]) -> Option<Due> {
        let shortest_ms = deliveries.iter().filter_map(|(_, timeout)| *timeout).min();
        let deliveries = deliveries.iter().map(|(ms, timeout)| (at(*ms), *timeout));
        first_due(deliveries, shortest_ms.unwrap_or_default())
    }

    #[test]
    fn deliv_13_the_oldest_delivery_is_overdue_first_if_all_have_one_timeout() {
        let deliveries = [(100, Some(50)), (100, Some(50)), (120, Some(50))];
        assert_eq!(first(&deliveries), due(150, 50));
        assert_eq!(first(&deliveries[2..]), due(170, 50));
        assert_eq!(first(&[]), None);
    }

    #[test]
    fn deliv_13_each_delivery_has_the_timeout_of_its_queue() {
        assert_eq!(first(&[(0, Some(1000)), (900, Some(10))]), due(910, 10));
        assert_eq!(first(&[(0, Some(1000)), (995, Some(10))]), due(1000, 1000));
        assert_eq!(first(&[(0, None), (900, Some(10))]), due(910, 10));
        assert_eq!(first(&[(0, None)]), None);
    }

    #[test]
    fn what_cannot_be_overdue_earlier_is_not_looked_at() {
        let mut seen = 0;
        let many = (0..1000).map(|ms| {
            seen += 1;
            (at(ms), Some(5))
        });
        assert_eq!(first_due(many, 5), due(5, 5));
        assert_eq!(seen, 2);
    }

    fn ages_of(ages: &Ages, tags: &[u64]) -> Vec<u64> {
        let tagged = tags.iter().map(|tag| (*tag, ()));
        ages.of(tagged).map(|(at, ())| at.unix_ms()).collect()
    }

    #[test]
    fn deliveries_are_not_taken_for_older_than_they_are() {
        let mut ages = Ages::default();
        ages.note(1, at(1000), None);
        ages.note(5, at(1050), Some(1));
        ages.note(7, at(1099), Some(1));
        ages.note(9, at(1100), Some(1));
        ages.note(12, at(9000), Some(1));
        assert_eq!(
            ages_of(&ages, &[1, 6, 8, 9, 11, 12, 99]),
            [1099, 1099, 1099, 1100, 1100, 9000, 9000]
        );
    }

    #[test]
    fn ages_of_settled_deliveries_are_forgotten() {
        let mut ages = Ages::default();
        for turn in 0..1000 {
            // All but the last hundred deliveries are settled.
            let oldest = (turn * 10_u64).saturating_sub(100);
            ages.note(turn * 10, at(turn * 1000), Some(oldest));
        }
        assert!(ages.0.len() <= 12, "{}", ages.0.len());
        assert_eq!(ages_of(&ages, &[9_899]), [989_000]);
        assert_eq!(ages_of(&ages, &[1]), [989_000], "given back by a rollback");
        // Nothing waits any more.
        ages.note(10_000, at(2_000_000), None);
        assert_eq!(ages_of(&ages, &[10_000]), [2_000_000]);
    }
}
