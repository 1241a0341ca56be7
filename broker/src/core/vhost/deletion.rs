//! How a vhost is deleted, and what whoever is still in it is told.
//!
//! ```text
//!   seal ───▶ nothing changes any more, and whoever asks is told that the vhost is deleted
//!   retire ─▶ every queue refuses offers and consumers, and drops its messages
//!   empty ──▶ nothing is left; what has gone is for the caller to take down, as one record
//! ```
//!
//! What it is not: it closes no connection and takes nothing down.
//!
//! Invariant: a crash before the record finds the vhost as it was: retiring writes nothing.

use std::sync::atomic::Ordering;

use crossbeam_utils::sync::ShardedLockWriteGuard;
use leveret_protocol::{Fault, ReplyCode};

use super::{Vhost, retire_own_queues};
use crate::core::queue::DeleteConditions;
use crate::core::topology::{Applied, Topology};

impl Vhost {
    /// True once the vhost is being deleted.
    pub fn is_sealed(&self) -> bool {
        self.is_sealed.load(Ordering::Acquire)
    }

    /// Begins to delete the vhost: from now on nothing in it changes but by [`Vhost::empty`].
    pub fn seal(&self) {
        // Under the lock, so that a change that is being made is seen, and recorded, before.
        let _topology = self.topology_mut();
        self.is_sealed.store(true, Ordering::Release);
    }

    /// Retires every queue, one after the other under no lock of the vhost's. For a vhost that is sealed:
    /// none is added meanwhile.
    pub fn retire_queues(&self) {
        let queues = self.topology().queues();
        for queue in queues {
            // Gone is as good.
            let _ = queue.body().retire(DeleteConditions::default());
        }
    }

    /// Takes everything out of a vhost that is sealed, its predeclared exchanges included, and says what that
    /// was; it is for the caller to take down.
    pub fn empty(&self) -> Applied {
        let applied = self.topology_mut().empty();
        retire_own_queues(&applied);
        applied
    }

    /// What whoever is still in a sealed vhost is told, whatever is asked for. Its connections are being
    /// closed with the same words.
    pub fn deleted_fault(name: &str) -> Fault {
        Fault::new(
            ReplyCode::ConnectionForced,
            format!("vhost '{name}' is deleted"),
        )
    }

    /// What is answered, but that a sealed vhost is deleted whatever else is wrong.
    pub(super) fn or_deleted<T>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        match answer {
            Err(_) if self.is_sealed() => Err(Self::deleted_fault(&self.name)),
            answer => answer,
        }
    }

    /// The topology, to be changed for a client.
    pub(super) fn unsealed_mut(&self) -> Result<ShardedLockWriteGuard<'_, Topology>, Fault> {
        let topology = self.topology_mut();
        match self.is_sealed() {
            true => Err(Self::deleted_fault(&self.name)),
            false => Ok(topology),
        }
    }
}
