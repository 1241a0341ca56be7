//! [`Threads`]: the threads of `worker_scheduling = "pinned"`, each with a runtime of its own.
//!
//! ```text
//!   start ──▶ thread: bind to a CPU, if asked ──▶ run what it is given ──▶ told to end ──▶ its tasks go
//! ```
//!
//! What it is not: a dealer of connections; that is [`leveret::Workers`]. The main thread keeps the
//! listeners, timers and signals, so that a busy worker holds up none of them.

use std::io;
use std::thread::{self, JoinHandle};

use leveret::Workers;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot::{Receiver, Sender, channel};
use tracing::{info, warn};

/// How many turns of connections a thread gives before it asks the system which sockets have something.
/// With the runtime's own 61, a message that a quiet client sent to itself took 227 ms (the median) beside four
/// that publish without pause, and 1 ms with four turns; what is carried did not change by more than the noise.
pub(super) const TURNS_BETWEEN_EVENTS: u32 = 4;

/// Running threads. They end when this is dropped; [`Threads::end`] also waits for them.
pub(super) struct Threads(Vec<Worker>);

struct Worker {
    runtime: Handle,
    /// Dropped to end the thread.
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Threads {
    /// None at all: connections are served where they are accepted.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Starts `count` threads, or one for each CPU if it is 0; with `affinity` each is bound to one.
    ///
    /// # Errors
    /// The system has no more threads or file descriptors.
    pub(super) fn start(count: usize, affinity: bool) -> io::Result<Self> {
        let count = match count {
            0 => thread::available_parallelism()?.get(),
            count => count,
        };
        let cpus = if affinity { allowed_cpus() } else { Vec::new() };
        let started = (0..count).map(|number| {
            let cpu = cpus.get(number % cpus.len().max(1)).copied();
            Worker::start(number, cpu)
        });
        let threads = Self(started.collect::<io::Result<_>>()?);
        info!(threads = count, bound_to_cpus = ?cpus, "connections are pinned to threads");
        Ok(threads)
    }

    /// The threads as workers of a broker.
    pub(super) fn workers(&self) -> Workers {
        let runtimes = self.0.iter().map(|worker| worker.runtime.clone());
        Workers::of(runtimes.collect())
    }

    /// Ends the threads and whatever they still run, and waits for them.
    pub(super) fn end(self) {
        let (ends, threads): (Vec<_>, Vec<_>) = self
            .0
            .into_iter()
            .map(|worker| (worker.end, worker.thread))
            .unzip();
        drop(ends);
        for thread in threads {
            if thread.join().is_err() {
                warn!("a worker thread has ended by a panic");
            }
        }
    }
}

impl Worker {
    fn start(number: usize, cpu: Option<usize>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .event_interval(TURNS_BETWEEN_EVENTS)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = channel();
        let thread = thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || run(runtime, ended, cpu))?;
        Ok(Self {
            runtime: handle,
            end,
            thread,
        })
    }
}

fn run(runtime: Runtime, ended: Receiver<()>, cpu: Option<usize>) {
    if let Some(cpu) = cpu
        && let Err(error) = bind_to(cpu)
    {
        warn!(cpu, %error, "a worker thread is not bound to its CPU");
    }
    // An error says that the sender was dropped, which is how the end is told.
    let _ = runtime.block_on(ended);
}

/// The CPUs that this process may use, in the order of their numbers.
#[cfg(target_os = "linux")]
fn allowed_cpus() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU)
            .filter(|cpu| set.is_set(*cpu))
            .collect(),
        Err(error) => {
            warn!(%error, "cannot tell which CPUs may be used: worker threads are not bound");
            Vec::new()
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn allowed_cpus() -> Vec<usize> {
    warn!("worker threads can be bound to CPUs on Linux only");
    Vec::new()
}

#[cfg(target_os = "linux")]
fn bind_to(cpu: usize) -> io::Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(not(target_os = "linux"))]
fn bind_to(_cpu: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
