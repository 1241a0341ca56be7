//! Watches a run: tells its progress, ends it, and keeps its figures.
//!
//! ```text
//!   (warm-up) ──▶ measuring ──▶ time is up · all came · signal ──▶ Figures
//!                     │
//!                     └─ a thread's error · nothing moved for the patience ──▶ PerfError
//! ```
//!
//! Invariant: figures cover exactly the time from the end of the warm-up to the end of the run; what
//! threads count after that is in none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep_until};

use super::super::uri::Uri;
use super::super::{PerfError, Signals};
use super::arguments::{Load, Ping};
use super::meter::{Counts, Latencies};
use super::progress::{self, Progress};
use super::workers::Workers;

/// How long threads may take to close their connections.
const STOP_MAX: Duration = Duration::from_secs(8);

/// When a run ends, and what is told meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    address: String,
    warmup: Duration,
    duration: Duration,
    patience: Duration,
    /// Whether a broker that does nothing is silent, or has nothing to do.
    is_to_move: bool,
    /// Whether the run ends when all is published and has come.
    counts: bool,
    confirms: bool,
    interval: Duration,
    quiet: bool,
}

impl Limits {
    /// The limits of a load.
    pub(super) fn of_load(load: &Load, uri: &Uri) -> Self {
        Self {
            address: uri.address.clone(),
            warmup: load.warmup(),
            duration: load.duration(),
            patience: load.broker.patience(),
            is_to_move: load.publishers > 0 || load.messages.is_some(),
            counts: load.messages.is_some(),
            confirms: load.confirm > 0,
            interval: load.progress.interval(),
            quiet: load.progress.quiet,
        }
    }

    /// The limits of pinging.
    pub(super) fn of_ping(ping: &Ping, uri: &Uri) -> Self {
        Self {
            address: uri.address.clone(),
            warmup: Duration::ZERO,
            duration: ping.duration(),
            patience: ping.broker.patience(),
            is_to_move: true,
            counts: false,
            confirms: false,
            interval: ping.progress.interval(),
            quiet: ping.progress.quiet,
        }
    }
}

/// What came out of a run.
#[derive(Debug)]
pub(super) struct Figures {
    /// Why it ended: `duration`, `messages`, or the name of a signal.
    pub(super) ended: &'static str,
    pub(super) elapsed: Duration,
    pub(super) counts: Counts,
    pub(super) latencies: Latencies,
    /// What this process itself took of the processors meanwhile.
    pub(super) cpu: Duration,
}

/// Watches a run.
#[derive(Debug)]
pub(super) struct Monitor {
    workers: Workers,
    limits: Limits,
    start: Instant,
    /// Where measuring begins.
    since: Instant,
    base: Counts,
    base_cpu: Duration,
    latencies: Latencies,
    /// The last progress line.
    told: Counts,
    told_at: Instant,
    /// When a counter last moved.
    moved: Counts,
    moved_at: Instant,
}

impl Monitor {
    /// Watches threads that started at that time.
    pub(super) fn new(workers: Workers, limits: Limits, start: Instant) -> Self {
        Self {
            workers,
            limits,
            start,
            since: start,
            base: Counts::default(),
            base_cpu: cpu(),
            latencies: Latencies::default(),
            told: Counts::default(),
            told_at: start,
            moved: Counts::default(),
            moved_at: start,
        }
    }

    /// Lets the run go on to its end.
    ///
    /// # Errors
    /// A connection failed, or nothing moved for as long as the patience lasts.
    pub(super) async fn run(mut self, signals: &mut Signals) -> Result<Figures, PerfError> {
        let ended = self.watch(signals).await;
        let figures = ended.map(|ended| self.figures(ended));
        tokio::select! {
            () = self.workers.stop(STOP_MAX) => figures,
            signal = signals.next() => Err(PerfError::Interrupted(signal)),
        }
    }

    /// Why the run ended.
    async fn watch(&mut self, signals: &mut Signals) -> Result<&'static str, PerfError> {
        let shared = Arc::clone(self.workers.shared());
        let mut ticks = self.ticks();
        let warm = self.start + self.limits.warmup;
        let end = warm + self.limits.duration;
        let mut is_warm = self.limits.warmup.is_zero();
        let mut came = false;
        loop {
            tokio::select! {
                said = self.workers.next() => said?,
                () = shared.completed(), if self.limits.counts && !came => came = true,
                _ = ticks.tick() => self.tick()?,
                () = sleep_until(warm.into()), if !is_warm => {
                    is_warm = true;
                    self.begin();
                }
                () = sleep_until(end.into()), if is_warm => return Ok("duration"),
                signal = signals.next() => return Ok(signal),
            }
            if came && !self.workers.is_publishing() {
                return Ok("messages");
            }
        }
    }

    fn ticks(&self) -> Interval {
        let interval = self.limits.interval;
        let mut ticks = interval_at((self.start + interval).into(), interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    /// Measuring begins: what was before does not count.
    fn begin(&mut self) {
        Latencies::collect(self.workers.meters());
        self.latencies = Latencies::default();
        self.since = Instant::now();
        self.base = Counts::of(self.workers.meters());
        self.base_cpu = cpu();
    }

    fn tick(&mut self) -> Result<(), PerfError> {
        let now = Instant::now();
        let counts = Counts::of(self.workers.meters());
        let latencies = Latencies::collect(self.workers.meters());
        if !self.limits.quiet {
            let blocked = self.workers.shared().blocked();
            let progress = Progress {
                at: now.saturating_duration_since(self.start),
                over: now.saturating_duration_since(self.told_at),
                counts: counts - self.told,
                confirms: self.limits.confirms,
                latencies: &latencies,
                blocked: blocked.as_deref(),
            };
            progress::tell(&progress);
        }
        (self.told, self.told_at) = (counts, now);
        self.latencies.merge(&latencies);
        self.check_moving(counts, now)
    }

    fn check_moving(&mut self, counts: Counts, now: Instant) -> Result<(), PerfError> {
        if counts != self.moved || !self.limits.is_to_move {
            (self.moved, self.moved_at) = (counts, now);
        }
        match now.saturating_duration_since(self.moved_at) > self.limits.patience {
            true => Err(self.silent(counts)),
            false => Ok(()),
        }
    }

    fn silent(&self, counts: Counts) -> PerfError {
        let shared = self.workers.shared();
        let expected = shared.expected().filter(|expected| *expected > 0);
        let of = expected.map_or_else(String::new, |expected| format!(" of {expected}"));
        let awaited = format!(
            "more ({} published, {}{of} received)",
            counts.published, counts.received
        );
        let blocked = shared.blocked();
        PerfError::Silent {
            address: self.limits.address.clone(),
            seconds: self.limits.patience.as_secs(),
            awaited,
            blocked: blocked.map_or_else(String::new, |reason| {
                format!("; it blocks publishers: {reason}")
            }),
        }
    }

    fn figures(&mut self, ended: &'static str) -> Figures {
        let elapsed = self.since.elapsed();
        let counts = Counts::of(self.workers.meters()) - self.base;
        let rest = Latencies::collect(self.workers.meters());
        self.latencies.merge(&rest);
        Figures {
            ended,
            elapsed,
            counts,
            latencies: std::mem::take(&mut self.latencies),
            cpu: cpu().saturating_sub(self.base_cpu),
        }
    }
}

/// What this process has taken of the processors.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
