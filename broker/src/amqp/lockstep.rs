//! [`Lockstep`]: whether a client sends nothing more before its last request is committed.
//!
//! ```text
//!   bytes ──▶ what they asked for waits for a commit ──▶ answered ──▶ nothing to read ──▶ bytes …
//!     └── come while it waits, or right behind the answer: not in step, counted anew
//! ```
//!
//! For such a client a commit may be made on the thread that serves it: until it is on disk there is
//! nothing else to do for it. One that goes on sending is better served by reading what comes meanwhile.
//!
//! What it is not: it commits nothing.

/// How many commits in a row a client must have waited for. One that sends in groups is taken for one that
/// waits once in so many groups at most.
const STEPS_MIN: u8 = 8;

/// What is known of one client's pace.
#[derive(Debug, Default)]
pub(super) struct Lockstep {
    /// Commits in a row that it waited for.
    steps: u8,
    /// It has been answered, and has not been found silent since.
    answered: bool,
}

impl Lockstep {
    /// Bytes have come; `awaits` if something asked for before is still not committed.
    pub(super) fn on_bytes(&mut self, awaits: bool) {
        if awaits || self.answered {
            self.steps = 0;
        }
        self.answered = false;
    }

    /// There was nothing to read.
    pub(super) fn on_silence(&mut self) {
        self.answered = false;
    }

    /// What the bytes asked for waits for a commit.
    pub(super) fn on_wait(&mut self) {
        self.steps = self.steps.saturating_add(1);
    }

    /// What waited is committed.
    pub(super) fn on_answer(&mut self) {
        self.answered = true;
    }

    /// True for a client that waits for every commit.
    pub(super) fn is_in_step(&self) -> bool {
        self.steps >= STEPS_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One request that is answered before the next one comes.
    fn step(lockstep: &mut Lockstep) {
        lockstep.on_bytes(false);
        lockstep.on_wait();
        lockstep.on_answer();
        lockstep.on_silence();
    }

    fn in_step() -> Lockstep {
        let mut lockstep = Lockstep::default();
        (0..STEPS_MIN).for_each(|_| step(&mut lockstep));
        lockstep
    }

    #[test]
    fn a_client_that_waits_is_in_step_after_some_commits() {
        let mut lockstep = Lockstep::default();
        for _ in 0..STEPS_MIN {
            assert!(!lockstep.is_in_step());
            step(&mut lockstep);
        }
        assert!(lockstep.is_in_step());
        (0..1000).for_each(|_| step(&mut lockstep));
        assert!(lockstep.is_in_step());
    }

    #[test]
    fn bytes_before_the_commit_begin_the_count_anew() {
        let mut lockstep = in_step();
        lockstep.on_bytes(true);
        assert!(!lockstep.is_in_step());
    }

    #[test]
    fn bytes_that_were_there_before_the_answer_begin_the_count_anew() {
        let mut lockstep = in_step();
        lockstep.on_bytes(false);
        lockstep.on_wait();
        lockstep.on_answer();
        lockstep.on_bytes(false);
        assert!(!lockstep.is_in_step());
    }
}
