//! [`Verifier`]: presented passwords are held against known ones, by threads that may block.
//!
//! ```text
//!   connection ─ Attempt ─▶ arrived ─▶ right a moment ago? ─ yes ───────────────────▶ Asker::on_verdict
//!                                           │ no                                          ▲
//!                                           ▼                                             │
//!                                      WaitingLine ─ whose turn it is ─▶ hash, compare ───┘
//! ```
//!
//! The connection goes on with other connections' work meanwhile and reads nothing of its own. An attempt waits
//! as long as its connection does, which is until the handshake times out; nobody is refused because many come.
//! The line is as long as there are connections in their handshake: each has one attempt in it, of no more
//! bytes than a first frame.
//!
//! What it is not: a decision about a login. It says whether a password is right, and knows no other reason. Nor
//! does it start threads: it says when one is wanted, and there are no more of them than allowed.
//!
//! Invariants: how long a verdict takes tells nothing but that it was "right" (see
//! [`Password::verify`](crate::config::Password)): unknown users are hashed for and put off like known ones,
//! and what is refused though its password is right is remembered like a wrong one. No lock is held while
//! hashing. An attempt whose asker has gone costs nothing. A thread that panics takes one attempt with it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use super::User;
use super::verified::{Fingerprint, Verified};
use super::waiting_line::{Next, Origin, WaitingLine};
use crate::config::{Config, HashingMemory, Password, PasswordHashing};
use crate::limits::PUT_OFF_LOGINS_CHECK_MS;

const PUT_OFF_CHECK: Duration = Duration::from_millis(PUT_OFF_LOGINS_CHECK_MS);

/// Who is told whether a password is right.
pub(crate) trait Asker: Send + Sync {
    /// Called once, by a thread that must not be held up.
    fn on_verdict(&self, is_right: bool);
}

/// A password to be looked at.
pub(crate) struct Attempt {
    /// Whose it is to be; for nobody's it takes as long.
    pub(crate) user: Option<Arc<User>>,
    pub(crate) password: Box<[u8]>,
    /// The login is refused though the password may be right.
    pub(crate) is_vain: bool,
    pub(crate) origin: Origin,
    pub(crate) asker: Weak<dyn Asker>,
}

/// What waits to be looked at.
pub(crate) struct Verifier(Arc<Shared>);

/// Something to do for a thread that may block. It ends when nothing waits any more.
#[must_use]
pub(crate) struct Work {
    shared: Arc<Shared>,
    is_done: bool,
}

struct Shared {
    hashing: PasswordHashing,
    threads_max: usize,
    /// Under which logins are remembered; without one, none is.
    key: Option<[u8; 32]>,
    state: Mutex<State>,
    bell: Condvar,
}

struct State {
    arrived: VecDeque<Attempt>,
    line: WaitingLine<Looked>,
    verified: Option<Verified>,
    threads: usize,
    /// Those of them that wait until somebody is put off no longer.
    put_off: usize,
    is_closed: bool,
}

/// An attempt that is not one of those that were right a moment ago.
struct Looked {
    attempt: Attempt,
    /// What is to be remembered if it is right.
    fingerprint: Option<Fingerprint>,
}

impl Verifier {
    pub(crate) fn new(config: &Config) -> Self {
        let verified = Verified::new();
        Self(Arc::new(Shared {
            hashing: config.password_hashing,
            threads_max: threads_max(config.login_threads),
            key: verified.as_ref().map(Verified::key),
            state: Mutex::new(State {
                arrived: VecDeque::new(),
                line: WaitingLine::new(config.failed_login_delay()),
                verified,
                threads: 0,
                put_off: 0,
                is_closed: false,
            }),
            bell: Condvar::new(),
        }))
    }

    /// Has an attempt looked at; its asker hears of it, on another thread. What is returned is to be run by one
    /// that may block; without anything, there are enough.
    pub(crate) fn submit(&self, attempt: Attempt) -> Option<Work> {
        let mut state = self.0.lock();
        state.arrived.push_back(attempt);
        let is_short = state.arrived.len() > state.put_off;
        let starts = is_short && state.threads < self.0.threads_max;
        state.threads += usize::from(starts);
        drop(state);
        self.0.bell.notify_one();
        starts.then(|| Work {
            shared: Arc::clone(&self.0),
            is_done: false,
        })
    }
}

impl Work {
    /// Looks at whatever waits, until nothing does.
    pub(crate) fn run(mut self) {
        self.shared.work();
        self.is_done = true;
    }
}

impl Drop for Work {
    /// A thread that panics, or was never there, leaves its place to another.
    fn drop(&mut self) {
        if !self.is_done {
            self.shared.lock().threads -= 1;
        }
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.bell.notify_all();
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        write!(
            out,
            "Verifier({} threads, {:?})",
            state.threads, state.verified
        )
    }
}

/// What a thread has to do next.
enum Task {
    /// It has just come.
    Look(Attempt),
    /// It is its turn.
    Hash(Looked),
    /// It is its turn, and it was right a moment ago.
    Pass(Looked),
    Wait(Duration),
    Rest,
}

impl State {
    fn next(&mut self, now: Instant) -> Task {
        if let Some(attempt) = self.arrived.pop_front() {
            return Task::Look(attempt);
        }
        match self.line.next(now) {
            Next::Job(looked) if self.is_verified(&looked, now) => Task::Pass(looked),
            Next::Job(looked) => Task::Hash(looked),
            Next::NotBefore(at) => Task::Wait(at.saturating_duration_since(now)),
            Next::Nobody => Task::Rest,
        }
    }

    fn is_verified(&self, looked: &Looked, now: Instant) -> bool {
        let verified = self.verified.as_ref().zip(looked.fingerprint.as_ref());
        verified.is_some_and(|(verified, fingerprint)| verified.has(fingerprint, now))
    }

    fn note(&mut self, looked: &Looked, is_right: bool, now: Instant) {
        if !is_right || looked.attempt.is_vain {
            self.line.failed(looked.attempt.origin, now);
        } else if let (Some(verified), Some(fingerprint)) = (&mut self.verified, looked.fingerprint)
        {
            verified.remember(fingerprint, now);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic half-way runs under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut memory = HashingMemory::default();
        while let Some(task) = self.next_task() {
            match task {
                Task::Look(attempt) => self.look(attempt),
                Task::Hash(looked) => self.hash(looked, &mut memory),
                Task::Pass(looked) => looked.attempt.tell(true),
                Task::Wait(_) | Task::Rest => {}
            }
        }
    }

    /// Something to do, when there is; nothing when the thread is to end, whose place is free then.
    fn next_task(&self) -> Option<Task> {
        let mut state = self.lock();
        while !state.is_closed {
            match state.next(Instant::now()) {
                Task::Rest => break,
                Task::Wait(time) => {
                    state = self.wait(state, time.min(PUT_OFF_CHECK));
                    // Whoever has gone meanwhile is not waited for.
                    state.line.retain(|looked| looked.attempt.is_awaited());
                }
                task => return Some(task),
            }
        }
        state.threads -= 1;
        None
    }

    fn wait<'s>(&self, mut state: MutexGuard<'s, State>, time: Duration) -> MutexGuard<'s, State> {
        state.put_off += 1;
        let waited = self.bell.wait_timeout(state, time);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.put_off -= 1;
        state
    }

    /// Whoever was right a moment ago does not wait in line.
    fn look(&self, attempt: Attempt) {
        let looked = Looked {
            fingerprint: self.fingerprint(&attempt),
            attempt,
        };
        let mut state = self.lock();
        if state.is_verified(&looked, Instant::now()) {
            drop(state);
            looked.attempt.tell(true);
        } else {
            state.line.push(looked.attempt.origin, looked);
        }
    }

    fn fingerprint(&self, attempt: &Attempt) -> Option<Fingerprint> {
        let key = self.key.as_ref().filter(|_| !attempt.is_vain)?;
        let user = attempt.user.as_ref()?;
        Verified::fingerprint(key, user.name(), user.password(), &attempt.password)
    }

    fn hash(&self, looked: Looked, memory: &mut HashingMemory) {
        let attempt = &looked.attempt;
        if !attempt.is_awaited() {
            return;
        }
        let known = attempt.user.as_ref().map(|user| user.password());
        let is_right = Password::verify(known, &attempt.password, self.hashing, memory);
        self.lock().note(&looked, is_right, Instant::now());
        looked.attempt.tell(is_right);
    }
}

impl Attempt {
    fn is_awaited(&self) -> bool {
        self.asker.strong_count() > 0
    }

    fn tell(self, is_right: bool) {
        if let Some(asker) = self.asker.upgrade() {
            asker.on_verdict(is_right);
        }
    }
}

/// Half of the cores are left to those who are logged in.
fn threads_max(configured: u32) -> usize {
    let cores = || available_parallelism().map_or(1, usize::from);
    match configured {
        0 => cores().div_ceil(2),
        threads => threads as usize,
    }
}

#[cfg(test)]
mod tests;
