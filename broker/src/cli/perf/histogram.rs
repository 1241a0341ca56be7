//! A histogram of latencies.
//!
//! Values are nanoseconds. Below 256 ns every value has a bucket of its own; above, each power of two
//! is divided into 128 buckets, so that a bucket is at most 1/128 of its values wide. A percentile is
//! reported as its bucket's upper end, never above the greatest value seen.
//!
//! Invariant: a reported percentile is never below the true one and at most 0.79 % above it; the
//! maximum is exact. Memory is the same for any number of values.

use std::time::Duration;

/// Buckets per power of two, as a power of two.
const SUB_BITS: u32 = 7;
const SUB_BUCKETS: usize = 1 << SUB_BITS;
/// The values of `u64` have at most this many buckets.
const BUCKETS: usize = SUB_BUCKETS * (u64::BITS - SUB_BITS + 1) as usize;

/// How often each latency was seen.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    min_ns: u64,
    max_ns: u64,
}

/// How many latencies lie in a part of the whole range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Band {
    /// Above this, or zero.
    pub(super) from: Duration,
    /// Up to this, give or take the width of a bucket.
    pub(super) to: Duration,
    pub(super) count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            count: 0,
            min_ns: u64::MAX,
            max_ns: 0,
        }
    }
}

impl Histogram {
    /// Takes in one latency.
    pub(super) fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
        }
        self.count += 1;
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Takes in all that another one holds.
    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// Forgets all latencies and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.counts.fill(0);
        (self.count, self.min_ns, self.max_ns) = (0, u64::MAX, 0);
    }

    /// How many latencies it holds.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The latency that `share` (0 to 1) of all do not exceed; zero if there are none.
    pub(super) fn percentile(&self, share: f64) -> Duration {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let reached = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        let ns = reached.map_or(self.max_ns, upper_end);
        Duration::from_nanos(ns.min(self.max_ns))
    }

    /// The smallest latency; zero if there are none.
    pub(super) fn min(&self) -> Duration {
        match self.count {
            0 => Duration::ZERO,
            _ => Duration::from_nanos(self.min_ns),
        }
    }

    /// The latencies in bands that end at 1, 2, 5, 10, 20, 50 ... µs: from the first band that holds
    /// any to the last.
    pub(super) fn bands(&self) -> Vec<Band> {
        let mut bands = Vec::new();
        let mut rest = self.counts.iter().enumerate().peekable();
        let mut from_ns = 0;
        for to_ns in band_ends() {
            let mut count = 0;
            while let Some((_, more)) = rest.next_if(|(index, _)| upper_end(*index) <= to_ns) {
                count += more;
            }
            bands.push(Band {
                from: Duration::from_nanos(from_ns),
                to: Duration::from_nanos(to_ns),
                count,
            });
            from_ns = to_ns;
        }
        let last = bands.iter().rposition(|band| band.count > 0);
        bands.truncate(last.map_or(0, |last| last + 1));
        let empty = bands.iter().take_while(|band| band.count == 0).count();
        bands.split_off(empty)
    }

    /// The greatest latency; zero if there are none.
    pub(super) fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }
}

/// The ends of bands in nanoseconds; the last one is that of all values.
fn band_ends() -> impl Iterator<Item = u64> {
    let decades = (3..19).map(|exponent| 10_u64.pow(exponent));
    let ends = decades.flat_map(|decade| [decade, 2 * decade, 5 * decade]);
    // The last of them is 158 years; whatever is longer shares one band.
    ends.chain([u64::MAX])
}

/// The bucket of a value: the leading bits below the highest one, counted per power of two.
fn bucket(ns: u64) -> usize {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(SUB_BITS + 1);
    SUB_BUCKETS * shift as usize + (ns >> shift) as usize
}

/// The greatest value of a bucket.
fn upper_end(bucket: usize) -> u64 {
    let shift = (bucket / SUB_BUCKETS).saturating_sub(1);
    let lead = (bucket - SUB_BUCKETS * shift) as u64;
    (lead << shift) | ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        let latencies = values.into_iter().map(Duration::from_nanos);
        latencies.for_each(|latency| histogram.record(latency));
        histogram
    }

    #[test]
    fn every_value_lies_in_a_bucket_that_ends_at_most_one_128th_above_it() {
        let around = |power: u32| {
            let base = 1u64 << power;
            [base - 1, base, base + base / 3, base + base / 2 + 1]
        };
        for value in (0..64).flat_map(around).chain([u64::MAX]) {
            assert!(bucket(value) < BUCKETS, "{value}");
            let end = upper_end(bucket(value));
            assert!(end >= value && end - value <= value / 128, "{value}: {end}");
        }
    }

    #[test]
    fn buckets_follow_each_other_without_gap_or_overlap() {
        for index in 0..BUCKETS - 1 {
            let next = upper_end(index) + 1;
            assert_eq!(bucket(upper_end(index)), index);
            assert_eq!(bucket(next), index + 1, "{next}");
        }
        assert_eq!(upper_end(BUCKETS - 1), u64::MAX);
    }

    #[test]
    fn percentiles_count_from_the_smallest_value() {
        let histogram = of(1..=100);
        for (share, ns) in [(0.0, 1), (0.01, 1), (0.5, 50), (0.99, 99), (1.0, 100)] {
            assert_eq!(histogram.percentile(share).as_nanos(), ns, "{share}");
        }
    }

    #[test]
    fn large_percentiles_are_within_the_bound_and_the_maximum_is_exact() {
        let histogram = of((1..=1000).map(|step| step * 1_000_003));
        let (exact, reported) = (
            990 * 1_000_003,
            histogram.percentile(0.99).as_nanos() as u64,
        );
        assert!(
            (exact..=exact + exact / 128).contains(&reported),
            "{reported}"
        );
        assert_eq!(histogram.percentile(1.0).as_nanos(), 1_000_003_000);
        assert_eq!(histogram.max().as_nanos(), 1_000_003_000);
    }

    #[test]
    fn merging_is_recording_both() {
        let mut merged = of([5, 7]);
        merged.merge(&of([1, 900]));
        assert_eq!(merged.count(), 4);
        assert_eq!(merged.percentile(0.5).as_nanos(), 5);
        assert_eq!(merged.max().as_nanos(), 900);
    }

    #[test]
    fn an_empty_histogram_says_zero() {
        assert_eq!(of([]).percentile(0.5), Duration::ZERO);
        assert_eq!(of([]).max(), Duration::ZERO);
    }

    #[test]
    fn bands_hold_every_latency_once_and_leave_out_empty_ends() {
        let histogram = of([300, 999, 1_000, 7_000, 7_000, 40_000]);
        let bands = histogram.bands();
        let short = |band: &Band| (band.from.as_micros(), band.to.as_micros(), band.count);
        let bands: Vec<_> = bands.iter().map(short).collect();
        let expected = [
            (0, 1, 2),
            (1, 2, 1),
            (2, 5, 0),
            (5, 10, 2),
            (10, 20, 0),
            (20, 50, 1),
        ];
        assert_eq!(bands, expected);
        assert_eq!(of([]).bands(), []);
        let all = of([1, 1_000_000, u64::MAX]).bands();
        assert_eq!(all.iter().map(|band| band.count).sum::<u64>(), 3);
    }

    #[test]
    fn clearing_forgets_everything() {
        let mut histogram = of([5, 7_000]);
        assert_eq!(histogram.min().as_nanos(), 5);
        histogram.clear();
        let ends = (histogram.count(), histogram.min(), histogram.max());
        assert_eq!(ends, (0, Duration::ZERO, Duration::ZERO));
        histogram.record(Duration::from_nanos(9));
        assert_eq!(histogram.percentile(0.5).as_nanos(), 9);
        assert_eq!(histogram.min().as_nanos(), 9);
    }
}
