//! When to send a heartbeat and when to give a silent client up, as pure deadlines.
//!
//! With an interval of N seconds a heartbeat is sent every N/2 when nothing else was written in that
//! time (HB-02). Every N seconds the bytes received are compared with the last count; the second
//! comparison in a row that finds no new byte gives up (HB-03, HB-04), so a silent client is dropped
//! after two to three intervals.

use std::time::{Duration, Instant};

use crate::framer::HEARTBEAT;

/// Bytes that have gone over the connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the client.
    pub received: u64,
    /// To the client.
    pub sent: u64,
}

/// What is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Send a heartbeat now.
    pub send: bool,
    /// The client is gone.
    pub give_up: bool,
}

/// The two clocks of one connection's heartbeats.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    interval: Duration,
    send_at: Instant,
    check_at: Instant,
    sent: u64,
    received: u64,
    silent_checks: u32,
}

/// How many comparisons in a row may find nothing new before the client is given up.
const SILENT_CHECKS_MAX: u32 = 1;

impl Heartbeat {
    /// Starts both clocks; an interval of zero means no heartbeats at all (HB-01).
    pub fn start(interval_s: u16, now: Instant, traffic: Traffic) -> Option<Self> {
        let interval = Duration::from_secs(u64::from(interval_s));
        (interval_s > 0).then(|| Self {
            interval,
            send_at: now + interval / 2,
            check_at: now + interval,
            sent: traffic.sent,
            // The first comparison always finds something new: what came before the start counts.
            received: u64::MAX,
            silent_checks: 0,
        })
    }

    /// The interval that was agreed.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// When [`Heartbeat::due`] has something to say next.
    pub fn deadline(&self) -> Instant {
        self.send_at.min(self.check_at)
    }

    /// What is due by now. With `watching` false the client's silence is not held against it
    /// (HB-08).
    pub fn due(&mut self, now: Instant, traffic: Traffic, watching: bool) -> Due {
        let mut due = Due::default();
        if now >= self.send_at {
            due.send = traffic.sent == self.sent;
            // Its own heartbeat is no traffic that makes the next one unnecessary.
            let own = if due.send { HEARTBEAT.len() as u64 } else { 0 };
            self.sent = traffic.sent + own;
            self.send_at = now + self.interval / 2;
        }
        if now >= self.check_at {
            self.check_at = now + self.interval;
            due.give_up = self.has_gone_silent(traffic.received, watching);
        }
        due
    }

    fn has_gone_silent(&mut self, received: u64, watching: bool) -> bool {
        if received != self.received || !watching {
            self.received = received;
            self.silent_checks = 0;
            return false;
        }
        self.silent_checks += 1;
        self.silent_checks > SILENT_CHECKS_MAX
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    #[test]
    fn hb_01_zero_means_none() {
        assert!(Heartbeat::start(0, Instant::now(), Traffic::default()).is_none());
    }

    #[test]
    fn hb_02_a_heartbeat_goes_out_when_half_an_interval_was_quiet() {
        let start = Instant::now();
        let mut traffic = Traffic::default();
        let mut heartbeat = Heartbeat::start(2, start, traffic).unwrap();
        assert_eq!(heartbeat.deadline(), start + seconds(1.0));
        assert!(heartbeat.due(start + seconds(1.0), traffic, true).send);
        traffic.sent += HEARTBEAT.len() as u64;
        assert!(heartbeat.due(start + seconds(2.0), traffic, true).send);
        traffic.sent += HEARTBEAT.len() as u64 + 1;
        assert!(!heartbeat.due(start + seconds(3.0), traffic, true).send);
        assert!(heartbeat.due(start + seconds(4.0), traffic, true).send);
    }

    #[test]
    fn hb_03_silence_is_given_up_after_the_third_interval() {
        let start = Instant::now();
        let traffic = Traffic {
            received: 100,
            sent: 0,
        };
        let mut heartbeat = Heartbeat::start(2, start, traffic).unwrap();
        let gone: Vec<bool> = (1..=6)
            .map(|s| {
                heartbeat
                    .due(start + seconds(f64::from(s)), traffic, true)
                    .give_up
            })
            .collect();
        assert_eq!(gone, [false, false, false, false, false, true]);
    }

    #[test]
    fn hb_04_any_byte_counts_as_life() {
        let start = Instant::now();
        let mut traffic = Traffic::default();
        let mut heartbeat = Heartbeat::start(2, start, traffic).unwrap();
        for n in 1..20 {
            traffic.received += u64::from(n % 2 == 0);
            assert!(
                !heartbeat
                    .due(start + seconds(2.0 * f64::from(n)), traffic, true)
                    .give_up
            );
        }
    }

    #[test]
    fn hb_08_a_blocked_client_is_not_watched() {
        let start = Instant::now();
        let traffic = Traffic::default();
        let mut heartbeat = Heartbeat::start(2, start, traffic).unwrap();
        for n in 1..20 {
            assert!(
                !heartbeat
                    .due(start + seconds(2.0 * f64::from(n)), traffic, false)
                    .give_up
            );
        }
    }
}
