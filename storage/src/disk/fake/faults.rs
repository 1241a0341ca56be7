//! Faults that strike a fake disk by plan.

use super::history::{OperationKind, Trouble};

/// One planned fault. It counts the calls it fits, from when it is planned.
#[derive(Clone, Debug)]
pub struct Fault {
    /// None fits every kind.
    kind: Option<OperationKind>,
    /// None fits every file and the directory.
    name_prefix: Option<String>,
    nth: u64,
    lasting: bool,
    trouble: Trouble,
    landing_bytes: usize,
}

impl Fault {
    /// Fails the `nth` call of a kind, counted from 1, and no other.
    #[must_use]
    pub fn once(kind: OperationKind, nth: u64, trouble: Trouble) -> Self {
        Self {
            kind: Some(kind),
            name_prefix: None,
            nth,
            lasting: false,
            trouble,
            landing_bytes: 0,
        }
    }

    /// Fails the `nth` call of a kind, counted from 1, and every one after it.
    #[must_use]
    pub fn lasting(kind: OperationKind, nth: u64, trouble: Trouble) -> Self {
        Self {
            lasting: true,
            ..Self::once(kind, nth, trouble)
        }
    }

    /// Fails the `nth` call of whatever kind, and every one after it: a disk that is gone.
    #[must_use]
    pub fn everything(nth: u64, trouble: Trouble) -> Self {
        Self {
            kind: None,
            ..Self::lasting(OperationKind::Write, nth, trouble)
        }
    }

    /// Only for files whose name begins so.
    #[must_use]
    pub fn of_files(self, name_prefix: &str) -> Self {
        Self {
            name_prefix: Some(name_prefix.into()),
            ..self
        }
    }

    /// A failing write leaves this many of its first bytes, or all it has.
    #[must_use]
    pub fn landing(self, bytes: usize) -> Self {
        Self {
            landing_bytes: bytes,
            ..self
        }
    }

    fn fits(&self, kind: OperationKind, name: Option<&str>) -> bool {
        let named = self.name_prefix.as_deref();
        self.kind.is_none_or(|own| own == kind)
            && named.is_none_or(|prefix| name.is_some_and(|name| name.starts_with(prefix)))
    }
}

/// A fault that struck.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strike {
    pub(super) trouble: Trouble,
    pub(super) landing_bytes: usize,
}

/// All planned faults, with how often each was passed.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(Fault, u64)>);

impl Faults {
    pub(super) fn plan(&mut self, fault: Fault) {
        self.0.push((fault, 0));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a call, and says whether it fails.
    pub(super) fn strike(&mut self, kind: OperationKind, name: Option<&str>) -> Option<Strike> {
        let mut strike = None;
        for (fault, seen) in &mut self.0 {
            if !fault.fits(kind, name) {
                continue;
            }
            *seen += 1;
            if *seen == fault.nth || fault.lasting && *seen > fault.nth {
                strike.get_or_insert(Strike {
                    trouble: fault.trouble,
                    landing_bytes: fault.landing_bytes,
                });
            }
        }
        strike
    }
}
