//! What a thread has spent at the locks of queues: how often it found one taken, how long it waited, and
//! how long it held them.
//!
//! Each thread counts for itself, so that counting adds no contention to what is measured. Holding is
//! timed by two looks at the clock a call, some 50 ns, which is little beside a batch.
//!
//! What it is not: compiled without the feature `bench-parts`.

use std::cell::Cell;
use std::sync::{LockResult, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

thread_local! {
    static COUNTS: Cell<Counts> = const { Cell::new(Counts::ZERO) };
}

/// What one thread has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// How often a lock was taken.
    pub taken: u64,
    /// How often it was not free.
    pub contended: u64,
    /// How long it was waited for.
    pub waited: Duration,
    /// How long it was held.
    pub held: Duration,
}

impl Counts {
    const ZERO: Self = Self {
        taken: 0,
        contended: 0,
        waited: Duration::ZERO,
        held: Duration::ZERO,
    };

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            taken: self.taken + other.taken,
            contended: self.contended + other.contended,
            waited: self.waited + other.waited,
            held: self.held + other.held,
        }
    }
}

/// What this thread has counted since it was asked last.
#[must_use]
pub fn take() -> Counts {
    COUNTS.take()
}

/// Locks as usual, and counts.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> LockResult<MutexGuard<'_, T>> {
    note(|counts| counts.taken += 1);
    match mutex.try_lock() {
        Ok(guard) => Ok(guard),
        Err(TryLockError::Poisoned(poisoned)) => Err(poisoned),
        Err(TryLockError::WouldBlock) => {
            let start = Instant::now();
            let locked = mutex.lock();
            note(|counts| {
                counts.contended += 1;
                counts.waited += start.elapsed();
            });
            locked
        }
    }
}

/// Counts the time until it is dropped as held. Bind it after the guard.
pub(crate) struct Hold(Instant);

impl Hold {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        note(|counts| counts.held += self.0.elapsed());
    }
}

fn note(change: impl FnOnce(&mut Counts)) {
    // A thread that is ending counts no more.
    let _ = COUNTS.try_with(|kept| {
        let mut counts = kept.get();
        change(&mut counts);
        kept.set(counts);
    });
}
