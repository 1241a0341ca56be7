//! [`Alarm`]: holds up publishers while memory or disk is short.
//!
//! What it is not: it measures nothing. [`crate::memory`] watches the queues, the store its disk, and an
//! operator may say so through [`crate::Broker::raise_alarm`].
//!
//! Invariant: an operator's alarm is a cause of its own. What is measured neither clears nor covers it.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::connections::Connections;

/// What an alarm says is short (FLOW-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmResource {
    /// Memory.
    Memory,
    /// Room on the disk.
    Disk,
}

/// Why something counts as short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cause {
    /// The queues hold more than they may.
    Memory = 1,
    /// The disk has too little left.
    Disk = 2,
    /// An operator says that memory is short.
    OperatorMemory = 4,
    /// An operator says that the disk is.
    OperatorDisk = 8,
}

impl From<AlarmResource> for Cause {
    /// The operator's cause.
    fn from(resource: AlarmResource) -> Self {
        match resource {
            AlarmResource::Memory => Self::OperatorMemory,
            AlarmResource::Disk => Self::OperatorDisk,
        }
    }
}

const MEMORY: u8 = Cause::Memory as u8 | Cause::OperatorMemory as u8;
const DISK: u8 = Cause::Disk as u8 | Cause::OperatorDisk as u8;

/// Whether anything is short.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    causes: AtomicU8,
}

impl Alarm {
    /// True while publishers are to be held up.
    pub(crate) fn is_raised(&self) -> bool {
        self.causes.load(Ordering::Relaxed) != 0
    }

    /// Why, in the reference's words (FLOW-02); empty while nothing is short.
    pub(crate) fn reason(&self) -> &'static str {
        let causes = self.causes.load(Ordering::Relaxed);
        match (causes & DISK != 0, causes & MEMORY != 0) {
            (true, true) => "low on disk & memory",
            (false, true) => "low on memory",
            (true, false) => "low on disk",
            (false, false) => "",
        }
    }

    /// Raises or clears one cause and has all connections look; false if it was so already.
    pub(crate) fn set_for(&self, connections: &Connections, cause: Cause, raised: bool) -> bool {
        let changed = self.set(cause, raised);
        if changed {
            let mailboxes = connections.mailboxes();
            mailboxes.iter().for_each(|mailbox| mailbox.alarm_changed());
        }
        changed
    }

    fn set(&self, cause: Cause, raised: bool) -> bool {
        let bit = cause as u8;
        let before = match raised {
            true => self.causes.fetch_or(bit, Ordering::Relaxed),
            false => self.causes.fetch_and(!bit, Ordering::Relaxed),
        };
        (before & bit != 0) != raised
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_02_and_03_the_alarm_lasts_until_all_causes_are_gone() {
        let alarm = Alarm::default();
        assert!(!alarm.is_raised());
        assert!(alarm.set(Cause::Disk, true) && !alarm.set(Cause::Disk, true));
        assert_eq!(alarm.reason(), "low on disk");
        assert!(alarm.set(Cause::Memory, true));
        assert_eq!(alarm.reason(), "low on disk & memory");
        assert!(alarm.set(Cause::Disk, false));
        assert_eq!((alarm.is_raised(), alarm.reason()), (true, "low on memory"));
        assert!(alarm.set(Cause::Memory, false) && !alarm.set(Cause::Memory, false));
        assert_eq!((alarm.is_raised(), alarm.reason()), (false, ""));
    }
    #[test]
    fn flow_03_what_is_measured_does_not_clear_an_operators_alarm() {
        let alarm = Alarm::default();
        assert!(alarm.set(AlarmResource::Memory.into(), true));
        assert!(alarm.set(Cause::Memory, true));
        assert_eq!(alarm.reason(), "low on memory");
        assert!(alarm.set(Cause::Memory, false));
        assert_eq!((alarm.is_raised(), alarm.reason()), (true, "low on memory"));
        assert!(alarm.set(AlarmResource::Disk.into(), true));
        assert_eq!(alarm.reason(), "low on disk & memory");
        assert!(alarm.set(AlarmResource::Memory.into(), false));
        assert_eq!(alarm.reason(), "low on disk");
    }
}
