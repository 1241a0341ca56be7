//! [`WaitingLine`]: whose password is looked at next.
//!
//! ```text
//!   push ─▶ 192.0.2.1  ▒▒▒▒▒▒▒▒▒  ◀─┐
//!           192.0.2.7  ▒            ├─ one of each in turn ─▶ next
//!           10.0.0.0   ▒▒         ◀─┘   │
//!              ▲                        └ not yet, for who has failed too often
//!              └ failed
//! ```
//!
//! Whoever floods the broker with logins waits behind his own, and whoever guesses waits besides: after
//! [`FAILED_LOGINS_AT_ONCE`] failures within the time that a refused login takes, an address gets so many attempts
//! in each such time and no more. Attempts are put off and never refused, and no user is ever locked: nobody
//! else pays for a guesser but those behind the same address, whom the memory of good logins lets pass (see
//! [`super::verified`]).
//!
//! What it is not: a list of jobs' contents, a thread or a clock.
//!
//! Invariants: an address with somebody waiting has exactly one place in the turns. What is remembered of
//! failures is bounded, so that failing from everywhere does not fill the memory.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::limits::{FAILED_ADDRESSES_MAX, FAILED_LOGINS_AT_ONCE};

/// Where an attempt comes from, as far as its turn is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// This process.
    InProcess,
    /// An address of IPv4, also one inside an address of IPv6.
    V4(Ipv4Addr),
    /// The first 64 bits of an address of IPv6: who has one of these has all.
    V6(u128),
}

impl Origin {
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::InProcess,
            Some(IpAddr::V4(address)) => Self::V4(address),
            Some(IpAddr::V6(address)) => Self::V6(address.to_bits() & NETWORK),
        }
    }
}

/// The first 64 bits of an address of IPv6.
const NETWORK: u128 = !(u64::MAX as u128);

/// What [`WaitingLine::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<J> {
    /// This one.
    Job(J),
    /// None before this moment.
    NotBefore(Instant),
    /// Nobody waits.
    Nobody,
}

/// Attempts by where they come from.
#[derive(Debug)]
pub(crate) struct WaitingLine<J> {
    origins: HashMap<Origin, VecDeque<J>>,
    /// Those of whom somebody waits, each once, the next in front.
    turns: VecDeque<Origin>,
    /// When all is forgiven.
    guilty_until: HashMap<Origin, Instant>,
    /// How long failures count.
    failures_count_for: Duration,
}

impl<J> WaitingLine<J> {
    /// Nobody. Without a time for which failures count nobody is ever put off.
    pub(crate) fn new(failures_count_for: Duration) -> Self {
        Self {
            origins: HashMap::new(),
            turns: VecDeque::new(),
            guilty_until: HashMap::new(),
            failures_count_for,
        }
    }

    pub(crate) fn push(&mut self, origin: Origin, job: J) {
        let waiting = self.origins.entry(origin).or_default();
        if waiting.is_empty() {
            self.turns.push_back(origin);
        }
        waiting.push_back(job);
    }

    /// The next whose turn it is.
    pub(crate) fn next(&mut self, now: Instant) -> Next<J> {
        let mut earliest = None;
        for _ in 0..self.turns.len() {
            let Some(origin) = self.turns.pop_front() else {
                break;
            };
            match self.not_before(origin, now) {
                None => {
                    if let Some(job) = self.take(origin) {
                        return Next::Job(job);
                    }
                }
                Some(at) => {
                    self.turns.push_back(origin);
                    earliest = Some(earliest.map_or(at, |known: Instant| known.min(at)));
                }
            }
        }
        earliest.map_or(Next::Nobody, Next::NotBefore)
    }

    /// The first of an origin, whose next turn comes behind everybody else's.
    fn take(&mut self, origin: Origin) -> Option<J> {
        let waiting = self.origins.get_mut(&origin)?;
        let job = waiting.pop_front();
        match waiting.is_empty() {
            true => drop(self.origins.remove(&origin)),
            false => self.turns.push_back(origin),
        }
        job
    }

    /// Forgets those of whom this is not true.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&J) -> bool) {
        let origins = &mut self.origins;
        origins
            .values_mut()
            .for_each(|jobs| jobs.retain(&mut is_kept));
        origins.retain(|_, jobs| !jobs.is_empty());
        self.turns.retain(|origin| origins.contains_key(origin));
    }

    /// An attempt from there has failed.
    pub(crate) fn failed(&mut self, origin: Origin, now: Instant) {
        let one = self.failures_count_for / FAILED_LOGINS_AT_ONCE;
        let until = self.guilty_until.get(&origin).copied().unwrap_or(now);
        self.guilty_until.insert(origin, until.max(now) + one);
        if self.guilty_until.len() > FAILED_ADDRESSES_MAX {
            self.forgive(now);
        }
    }

    fn not_before(&self, origin: Origin, now: Instant) -> Option<Instant> {
        let guilty_until = self.guilty_until.get(&origin)?;
        let at = guilty_until.checked_sub(self.failures_count_for)?;
        (at > now).then_some(at)
    }

    /// Forgets whose time is over, and the one whose time is over next if it is nobody's.
    fn forgive(&mut self, now: Instant) {
        self.guilty_until.retain(|_, until| *until > now);
        if self.guilty_until.len() > FAILED_ADDRESSES_MAX {
            let next = self.guilty_until.iter().min_by_key(|(_, until)| **until);
            if let Some(next) = next.map(|(origin, _)| *origin) {
                self.guilty_until.remove(&next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const DELAY: Duration = Duration::from_secs(3);

    fn at(address: &str) -> Origin {
        Origin::of(Some(address.parse().unwrap()))
    }

    fn line() -> (WaitingLine<u32>, Instant) {
        (WaitingLine::new(DELAY), Instant::now())
    }

    #[test]
    fn an_address_is_one_however_it_is_written_and_a_network_of_ipv6_is_one() {
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("2001:db8:0:1::1"), at("2001:db8:0:1:ffff::"));
        assert_ne!(at("2001:db8:0:1::1"), at("2001:db8:0:2::1"));
        assert_eq!(Origin::of(None), Origin::InProcess);
    }

    #[test]
    fn whoever_brings_many_waits_behind_his_own() {
        let (mut line, now) = line();
        let (flood, other) = (at("192.0.2.1"), at("192.0.2.2"));
        (0..1000).for_each(|job| line.push(flood, job));
        assert_eq!(line.next(now), Next::Job(0));
        line.push(other, 7);
        line.push(other, 8);
        let next: Vec<_> = (0..5).map(|_| line.next(now)).collect();
        assert_eq!(next, [1, 7, 2, 8, 3].map(Next::Job));
    }

    #[test]
    fn everybody_who_has_come_gets_a_turn_and_nothing_stays_behind() {
        let (mut line, now) = line();
        for job in 0..100 {
            line.push(at(&format!("192.0.2.{}", job % 7)), job);
        }
        let mut seen = Vec::new();
        while let Next::Job(job) = line.next(now) {
            seen.push(job);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!(line.next(now), Next::Nobody);
        assert!(line.origins.is_empty() && line.turns.is_empty());
    }

    #[test]
    fn who_has_gone_leaves_nothing_behind() {
        let (mut line, now) = line();
        (0..10).for_each(|job| line.push(at("192.0.2.1"), job));
        line.push(at("192.0.2.2"), 11);
        line.retain(|job| *job == 7);
        assert_eq!(
            (line.next(now), line.next(now)),
            (Next::Job(7), Next::Nobody)
        );
        assert!(line.origins.is_empty() && line.turns.is_empty());
    }

    #[test]
    fn a_guesser_is_put_off_and_nobody_else() {
        let (mut line, now) = line();
        let (guesser, other) = (at("192.0.2.1"), at("192.0.2.2"));
        for _ in 0..FAILED_LOGINS_AT_ONCE {
            line.push(guesser, 1);
            assert_eq!(line.next(now), Next::Job(1));
            line.failed(guesser, now);
        }
        // One more may be on its way, with as many threads.
        line.push(guesser, 1);
        assert_eq!(line.next(now), Next::Job(1));
        line.failed(guesser, now);
        line.push(guesser, 2);
        let one = DELAY / FAILED_LOGINS_AT_ONCE;
        assert_eq!(line.next(now), Next::NotBefore(now + one));
        line.push(other, 3);
        assert_eq!(line.next(now), Next::Job(3));
        assert_eq!(line.next(now + one), Next::Job(2));
    }

    #[test]
    fn a_guesser_gets_no_more_than_so_many_attempts_in_the_time() {
        let (mut line, start) = line();
        let guesser = at("192.0.2.1");
        (0..10_000).for_each(|job| line.push(guesser, job));
        let (mut now, mut attempts) = (start, 0);
        while now <= start + 10 * DELAY {
            match line.next(now) {
                Next::Job(_) => {
                    attempts += 1;
                    line.failed(guesser, now);
                }
                Next::NotBefore(at) => now = at,
                Next::Nobody => break,
            }
        }
        // The first hundred at once, a hundred in each delay, and one on the way.
        assert_eq!(attempts, 11 * FAILED_LOGINS_AT_ONCE + 1);
    }

    #[test]
    fn all_is_forgiven_after_the_time() {
        let (mut line, now) = line();
        let guesser = at("192.0.2.1");
        (0..FAILED_LOGINS_AT_ONCE).for_each(|_| line.failed(guesser, now));
        line.failed(at("192.0.2.2"), now + DELAY);
        line.forgive(now + DELAY);
        assert_eq!(line.guilty_until.len(), 1);
    }

    #[test]
    fn failing_from_everywhere_does_not_fill_the_memory() {
        let (mut line, now) = line();
        for address in 0..FAILED_ADDRESSES_MAX as u32 + 100 {
            line.failed(Origin::V4(Ipv4Addr::from_bits(address)), now);
        }
        assert_eq!(line.guilty_until.len(), FAILED_ADDRESSES_MAX);
    }

    #[test]
    fn without_a_delay_nobody_is_put_off() {
        let (mut line, now) = (WaitingLine::new(Duration::ZERO), Instant::now());
        let guesser = at("192.0.2.1");
        (0..1000).for_each(|_| line.failed(guesser, now));
        line.push(guesser, 1);
        assert_eq!(line.next(now), Next::Job(1));
    }
}
