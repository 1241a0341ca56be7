//! [`Mailbox`]: how the rest of the broker reaches a connection.
//!
//! Queues ring it when a consumer has something to pull, the store when it has committed what was
//! asked for; the broker leaves notices in it. Whoever
//! writes into it holds its small lock for one push and wakes the connection after letting go.
//!
//! Bounded: a consumer's slot is rung at most once until it pulls, and there are only a handful of
//! kinds of notices, of which each is kept once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use leveret_protocol::Fault;
use leveret_storage::CommitBell;

use crate::core::queue::Bell;

/// What the broker tells a connection.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// Close the connection with this fault, at once.
    pub(crate) close: Option<Fault>,
    /// An alarm was raised or cleared: look again.
    pub(crate) alarm_changed: bool,
    /// The epoch that was asked for is committed, or never will be: look again.
    pub(crate) committed: bool,
}

#[derive(Debug, Default)]
struct Inside {
    rung: Vec<u64>,
    notices: Notices,
    waker: Option<Waker>,
}

/// One connection's mailbox.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<Inside>);

impl Mailbox {
    /// Takes what has arrived: rung tokens go to the end of `rung`. The waker is woken by the next
    /// arrival.
    pub(crate) fn take(&self, rung: &mut Vec<u64>, waker: &Waker) -> Notices {
        let mut inside = self.lock();
        rung.append(&mut inside.rung);
        if !inside
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            inside.waker = Some(waker.clone());
        }
        std::mem::take(&mut inside.notices)
    }

    /// Asks the connection to close with this fault.
    pub(crate) fn close(&self, fault: Fault) {
        self.leave(|inside| inside.notices.close = Some(fault));
    }

    /// Tells the connection that an alarm was raised or cleared.
    pub(crate) fn alarm_changed(&self) {
        self.leave(|inside| inside.notices.alarm_changed = true);
    }

    fn leave(&self, put: impl FnOnce(&mut Inside)) {
        let waker = {
            let mut inside = self.lock();
            put(&mut inside);
            inside.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Nothing that can panic runs under this lock, and a half-done push leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bell for Mailbox {
    fn ring(&self, token: u64) {
        self.leave(|inside| inside.rung.push(token));
    }
}

impl CommitBell for Mailbox {
    fn on_commit(&self) {
        self.leave(|inside| inside.notices.committed = true);
    }
}
