//! [`Lockstep`]: whether a client sends nothing more before its last request is committed.
//!
//! ```text
//!   bytes ──▶ what they asked for waits for a commit ──▶ answered ──▶ nothing to read ──▶ bytes …
//!     └── come while it waits, or again and again right behind the answer: not in step, counted anew
//! ```
//!
//! For such a client a commit may be made on the thread that serves it: until it is on disk there is
//! nothing else to do for it. One that goes on sending is better served by reading what comes meanwhile.
//!
//! What it is not: it commits nothing.

/// How many commits in a row a client must have waited for at first.
const STEPS_MIN: u32 = 8;
/// The same for one that was taken for such a client again and again and sends in groups.
const STEPS_NEEDED_MAX: u32 = 1024;
/// A quick client's next request is now and then there before we look; one that sends in groups has it there
/// every time.
const SURPRISES_MAX: u32 = 3;

/// What is known of one client's pace.
#[derive(Debug)]
pub(super) struct Lockstep {
    /// Commits in a row that it waited for.
    steps: u32,
    /// So many make it one that waits for every commit.
    needed: u32,
    /// Answers in a row behind which more was already there.
    surprises: u32,
    /// It has been answered, and has not been found silent since.
    answered: bool,
}

impl Default for Lockstep {
    fn default() -> Self {
        Self {
            steps: 0,
            needed: STEPS_MIN,
            surprises: 0,
            answered: false,
        }
    }
}

impl Lockstep {
    /// Bytes have come; `awaits` if something asked for before is still not committed.
    pub(super) fn on_bytes(&mut self, awaits: bool) {
        self.surprises = if self.answered { self.surprises + 1 } else { 0 };
        self.answered = false;
        if awaits {
            self.steps = 0;
        } else if self.surprises >= SURPRISES_MAX {
            self.steps = 0;
            self.surprises = 0;
            self.needed = (self.needed * 2).min(STEPS_NEEDED_MAX);
        }
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
        self.steps >= self.needed
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

    /// A request that is there as soon as the one before is answered.
    fn step_at_once(lockstep: &mut Lockstep) {
        lockstep.on_bytes(false);
        lockstep.on_wait();
        lockstep.on_answer();
    }

    #[test]
    fn a_quick_client_stays_in_step() {
        let mut lockstep = in_step();
        for _ in 0..100 {
            step_at_once(&mut lockstep);
            step_at_once(&mut lockstep);
            step(&mut lockstep);
            assert!(lockstep.is_in_step());
        }
    }

    #[test]
    fn one_that_sends_in_groups_falls_out_of_step_and_takes_longer_to_come_back() {
        let mut lockstep = in_step();
        for round in 1..20 {
            (0..=SURPRISES_MAX).for_each(|_| step_at_once(&mut lockstep));
            assert!(!lockstep.is_in_step(), "round {round}");
            let mut steps = 0;
            while !lockstep.is_in_step() {
                step(&mut lockstep);
                steps += 1;
            }
            let due = (STEPS_MIN << round).min(STEPS_NEEDED_MAX);
            assert!(steps + 1 >= due && steps <= due, "{steps} of {due}");
        }
    }
}
