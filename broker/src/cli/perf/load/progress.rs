//! The line that tells how a run is going.
//!
//! ```text
//!   time 3.0 s  published 1250000/s  received 1249870/s  latency min/median/p99 38/112/840 µs
//! ```
//!
//! Invariant: what is not measured is not in the line.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use super::super::histogram::Histogram;
use super::meter::{Counts, Latencies};

/// What happened since the last line.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    /// Since the start.
    pub(super) at: Duration,
    /// Since the last line.
    pub(super) over: Duration,
    pub(super) counts: Counts,
    /// Whether messages are published with confirms.
    pub(super) confirms: bool,
    pub(super) latencies: &'a Latencies,
    /// Why the broker holds publishers up.
    pub(super) blocked: Option<&'a str>,
}

/// Writes the line to standard error. Nobody has to read it.
pub(super) fn tell(progress: &Progress<'_>) {
    let _ = std::io::stderr()
        .lock()
        .write_all(line(progress).as_bytes());
}

/// The line with its line break.
fn line(progress: &Progress<'_>) -> String {
    let counts = progress.counts;
    let mut line = format!("time {:.1} s", progress.at.as_secs_f64());
    let mut rate = |name: &str, count: u64| {
        let per_second = count as f64 / progress.over.as_secs_f64().max(f64::MIN_POSITIVE);
        let _ = write!(line, "  {name} {per_second:.0}/s");
    };
    rate("published", counts.published);
    if progress.confirms {
        rate("confirmed", counts.confirmed);
    }
    if counts.nacked > 0 {
        rate("nacked", counts.nacked);
    }
    rate("received", counts.received);
    line.push_str(&latency("latency", &progress.latencies.end_to_end));
    line.push_str(&latency("confirm latency", &progress.latencies.confirm));
    if let Some(reason) = progress.blocked {
        let _ = write!(line, "  blocked: {reason}");
    }
    line.push('\n');
    line
}

fn latency(name: &str, histogram: &Histogram) -> String {
    if histogram.count() == 0 {
        return String::new();
    }
    let micros = |duration: Duration| (duration.as_secs_f64() * 1e6).round();
    format!(
        "  {name} min/median/p99 {}/{}/{} µs",
        micros(histogram.min()),
        micros(histogram.percentile(0.5)),
        micros(histogram.percentile(0.99)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(latencies: &Latencies) -> Progress<'_> {
        Progress {
            at: Duration::from_millis(3_010),
            over: Duration::from_millis(500),
            counts: Counts {
                published: 600,
                confirmed: 500,
                received: 400,
                ..Default::default()
            },
            confirms: false,
            latencies,
            blocked: None,
        }
    }

    #[test]
    fn a_line_tells_rates_and_leaves_out_what_is_not_measured() {
        let latencies = Latencies::default();
        let plain = line(&progress(&latencies));
        assert_eq!(plain, "time 3.0 s  published 1200/s  received 800/s\n");
    }

    #[test]
    fn confirms_latencies_and_blocking_are_told_when_there_are_any() {
        let mut latencies = Latencies::default();
        for micros in [10, 20, 30] {
            latencies.end_to_end.record(Duration::from_micros(micros));
        }
        latencies.confirm.record(Duration::from_micros(5));
        let mut progress = progress(&latencies);
        progress.confirms = true;
        progress.counts.nacked = 1;
        progress.blocked = Some("low on disk");
        let expected = "time 3.0 s  published 1200/s  confirmed 1000/s  nacked 2/s  received 800/s  \
                        latency min/median/p99 10/20/30 µs  confirm latency min/median/p99 5/5/5 µs  \
                        blocked: low on disk\n";
        assert_eq!(line(&progress), expected);
    }
}
