//! Shows on the real binary that nothing confirmed is ever lost: it is killed, its system calls
//! fail, its disk fills up and its power is cut, and an independent history says what must be there
//! when it starts again.
//!
//! ```text
//! cargo test -p leveret --test crash                    all that this machine allows, in a minute
//! LEVERET_CRASH_ROUNDS=200 LEVERET_CRASH_FAULTS=40 \
//!     cargo test -p leveret --test crash -- --nocapture     the long run
//! cargo test -p leveret --test crash power_cut -- --nocapture      one of them
//! ```
//!
//! What needs `strace`, root or loop devices is skipped with a message where they are missing.
//! `LEVERET_CRASH_SEED` repeats the choices of a run.

#![allow(clippy::unwrap_used, missing_docs)]
#![cfg(target_os = "linux")]

mod check;
mod check_tests;
mod clients;
mod content;
mod delayed;
mod faults;
mod full;
mod history;
mod kills;
mod letters;
mod load;
mod power;
mod process;
mod runs;
mod strace;
