//! [`Loads`]: what queues want back from the store, and the thread that brings it.
//!
//! ```text
//!   Queue ── Load ──▶ Loads ──▶ thread: store.read ──▶ Queue::loaded ── Effects ──▶ carry_out
//!                       ▲                                                  │ the next Load
//!                       └──────────────────────────────────────────────────┘
//! ```
//!
//! One thread reads for all queues, first come, first served: a disk that is slow for one is slow for
//! all, and no thread that serves clients ever waits for it.
//!
//! What it is not: it does not know what lies in the store; what it is given reads and decodes.
//!
//! Invariants: the list is twice as long as there are queues at most, for a queue asks for one part of
//! its ready messages and one of its dead letters at a time; once ended, nothing is read any more and the thread is gone.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::core::effects::carry_out;
use crate::core::queue::{Effects, Load, Loaded};
use crate::core::queue_handle::QueueHandle;
use crate::core::vhost::Vhost;
use crate::timers::Timers;

/// Reads and decodes what a queue asked for. Blocks on the disk. `None` when it has to be asked again a
/// moment later.
pub(crate) type ReadLoad = Box<dyn Fn(&QueueHandle, Load) -> Option<Loaded> + Send>;

/// How long a read that could not be begun is left alone. What keeps it is that too many files are
/// open, which takes a connection to end.
const AGAIN_DELAY: Duration = Duration::from_millis(50);

/// What queues want back, in the order in which they asked.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    wanted: Mutex<Wanted>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Wanted {
    jobs: VecDeque<Job>,
    ended: bool,
}

#[derive(Debug)]
struct Job {
    load: Load,
    /// Dead letters that are to be sent on, and not ready messages.
    is_of_letters: bool,
    queue: Weak<QueueHandle>,
    vhost: Weak<Vhost>,
}

impl Loads {
    /// Has this read and handed to the queue, unless the queue is gone by then.
    pub(crate) fn ask(&self, load: Load, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>) {
        self.push(load, false, queue, vhost);
    }

    /// The same for dead letters that are to be sent on.
    pub(crate) fn ask_letters(&self, load: Load, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>) {
        self.push(load, true, queue, vhost);
    }

    fn push(&self, load: Load, is_of_letters: bool, queue: &Arc<QueueHandle>, vhost: &Arc<Vhost>) {
        let mut wanted = self.lock();
        if wanted.ended {
            return;
        }
        wanted.jobs.push_back(Job {
            load,
            is_of_letters,
            queue: Arc::downgrade(queue),
            vhost: Arc::downgrade(vhost),
        });
        drop(wanted);
        self.came.notify_one();
    }

    /// Lets some time pass; false if it has ended by then.
    fn pause(&self) -> bool {
        let waited = self
            .came
            .wait_timeout_while(self.lock(), AGAIN_DELAY, |wanted| !wanted.ended);
        !waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    fn end(&self) {
        let mut wanted = self.lock();
        wanted.ended = true;
        wanted.jobs.clear();
        drop(wanted);
        self.came.notify_all();
    }

    /// Waits for the next one; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let wanted = self.lock();
        let nothing = |wanted: &mut Wanted| wanted.jobs.is_empty() && !wanted.ended;
        let waited = self.came.wait_while(wanted, nothing);
        waited
            .unwrap_or_else(PoisonError::into_inner)
            .jobs
            .pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        // Pushing and popping leave the list whole whatever happens.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that reads. Dropping it waits for the part that is being read.
#[derive(Debug)]
pub(crate) struct Loader {
    loads: Arc<Loads>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start(
        loads: Arc<Loads>,
        read: ReadLoad,
        timers: Timers,
        clock: Clock,
    ) -> io::Result<Self> {
        let of_thread = Arc::clone(&loads);
        let thread = thread::Builder::new().name("leveret-loader".to_owned());
        let thread = thread.spawn(move || {
            let mut effects = Effects::default();
            while let Some(job) = of_thread.next() {
                while !bring(&job, &read, &timers, clock, &mut effects) {
                    if !of_thread.pause() {
                        return;
                    }
                }
            }
        })?;
        Ok(Self {
            loads,
            thread: Some(thread),
        })
    }

    /// Ends the thread and waits for it.
    pub(crate) fn end(&mut self) {
        self.loads.end();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the loader's thread had panicked");
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.end();
    }
}

/// Says whether the job is done with.
fn bring(job: &Job, read: &ReadLoad, timers: &Timers, clock: Clock, effects: &mut Effects) -> bool {
    let (Some(queue), Some(vhost)) = (job.queue.upgrade(), job.vhost.upgrade()) else {
        return true;
    };
    if queue.is_gone() {
        return true;
    }
    let Some(loaded) = read(&queue, job.load) else {
        return false;
    };
    let now = clock.moment(Instant::now());
    match job.is_of_letters {
        true => queue.body().letters_loaded(loaded, now, effects),
        false => queue.body().loaded(loaded, now, effects),
    }
    carry_out(&vhost, &queue, effects, now, timers);
    true
}

#[cfg(test)]
mod tests;
