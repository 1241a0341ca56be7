//! A conformance suite for AMQP 0-9-1 brokers: what RabbitMQ's clients rely on, rule by rule.
//!
//! Every rule has a test that is registered under the rule's ID. The suite is given the address of a
//! broker and knows nothing else about it.
//!
//! ```text
//!   rules/*  the tests, one file per section          registry  what a test is and which exist
//!      │ each is handed a                             selection  which of them run
//!      ▼                                              course    all of them, side by side
//!   trial    own names, own connections, clean-up     runner    one of them: deadline and verdict
//!      │                                              report    what came of them, in five forms
//!      │ opens
//!      ├──▶ client   lapin: what a normal client does
//!      └──▶ raw      any bytes in any order, on `leveret-protocol`
//!                    │
//!   target  ◀────────┘  the broker under test      restart  stops and starts it, where someone can
//!                                                  operator raises its alarms, likewise
//!                                                  profile  what is known to differ, as data
//!                                                  management its HTTP API, where there is one
//! ```
//!
//! What it is not: it starts no broker, and it has no switch that is meant for one broker only.
//!
//! Invariant: every wait ends. A read has its patience, a test its deadline, and a run a bounded
//! number of tests at once.

mod alarms;
pub mod client;
mod compatibility;
mod course;
pub mod failure;
mod greeting;
mod interruption;
pub mod management;
pub mod operator;
mod permissions;
mod policies;
mod probe;
pub mod profile;
pub mod raw;
pub mod registry;
pub mod report;
pub mod restart;
pub mod rules;
pub mod runner;
pub mod selection;
pub mod target;
pub mod trial;
mod vhosts;

pub use compatibility::compatibility_page;
pub use course::{Progress, run, run_watched};
pub use failure::{Failure, ensure, expect_eq};
pub use management::Management;
pub use operator::{Operator, OperatorCommand};
pub use profile::{Profile, ProfileError};
pub use registry::{Rule, Section, registered};
pub use report::{Format, Report};
pub use restart::{Restart, RestartCommands, Stop};
pub use runner::{Finished, Verdict};
pub use selection::{Options, SelectionError};
pub use target::Target;
pub use trial::Trial;
