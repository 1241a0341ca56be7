//! The list of what a wrong broker may do, and which test has to notice.
//!
//! Invariants, each tested: every section of the registry has a mutation, and every mutation names a test
//! that exists.

use crate::proxy::Change;

/// One way to be wrong.
#[derive(Clone, Copy, Debug)]
pub struct Mutation {
    /// The rule that it breaks.
    pub id: &'static str,
    /// The test that has to notice.
    pub test: &'static str,
    /// What the broker does wrong, in one line.
    pub wrong: &'static str,
    /// How it is done.
    pub how: How,
}

/// How a broker is made wrong.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// By what a proxy does with its frames.
    Frames(Change),
    /// By an operator who says that it is done and does nothing.
    IdleOperator,
}

impl Mutation {
    /// `TTL-01 of_the_queue`, as the registry calls the test.
    pub fn test_name(&self) -> String {
        format!("{} {}", self.id, self.test)
    }
}

/// One row: the ID, the test, what is wrong, and the function that does it.
macro_rules! mutations {
    ($($id:literal $test:ident $wrong:literal => $change:expr;)*) => {
        pub const MUTATIONS: &[$crate::mutation::Mutation] = &[$($crate::mutation::Mutation {
            id: $id,
            test: stringify!($test),
            wrong: $wrong,
            how: $change,
        }),*];
    };
}

/// A function that changes one kind of method on its way, and lets all else pass.
macro_rules! on_method {
    ($name:ident, $Class:ident $class:ident :: $method:ident, |$wire:ident, $frame:ident, $m:ident| $body:block) => {
        #[allow(unused_mut, unused_variables)]
        fn $name($wire: &mut $crate::wire::Wire, $frame: &$crate::wire::Frame) {
            use leveret_protocol::method::$class;
            match $frame.method() {
                Some(leveret_protocol::Method::$Class($class::Method::$method(mut $m))) => $body,
                _ => $wire.pass($frame),
            }
        }
    };
}

pub(crate) use {mutations, on_method};

/// Every mutation, section by section.
pub fn all() -> impl Iterator<Item = &'static Mutation> {
    use crate::mutations::{broker, connection, delivery, messages, objects, queues};
    [
        connection::MUTATIONS,
        objects::MUTATIONS,
        queues::MUTATIONS,
        messages::MUTATIONS,
        delivery::MUTATIONS,
        broker::MUTATIONS,
    ]
    .into_iter()
    .flatten()
}
