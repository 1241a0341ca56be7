//! What an operator does to the broker under test while a test runs: alarms that are raised and cleared.
//!
//! What it is not: it knows no broker. Whoever runs the suite brings an [`Operator`]; where the broker
//! is a stranger it is one shell command that is called with the words of an [`Order`].
//!
//! Invariant: every command has a bound, and is killed when it passes it.

use std::fmt::{self, Debug, Display};
use std::pin::Pin;

use crate::failure::Failure;
use crate::restart::carry_out;

/// Where the command stands.
pub(crate) const OPERATOR_VARIABLE: &str = "LEVERET_OPERATOR_COMMAND";

/// What an alarm says is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Memory.
    Memory,
    /// Room on the disk.
    Disk,
}

/// What the operator is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// `raise-alarm memory` or `raise-alarm disk`: the broker is to believe that this is short.
    RaiseAlarm(Resource),
    /// `clear-alarm memory` or `clear-alarm disk`: takes that back.
    ClearAlarm(Resource),
}

/// An order while it is carried out.
pub type CarryingOut<'o> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'o>>;

/// Someone who does to the broker what no client can.
pub trait Operator: Debug + Send + Sync {
    /// Carries out an order. The broker has accepted it when this is done, but need not have told its
    /// connections yet.
    fn carry_out(&self, order: Order) -> CarryingOut<'_>;
}

/// A shell command to which the words of an order are given as further arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorCommand(pub String);

impl OperatorCommand {
    /// The command in `LEVERET_OPERATOR_COMMAND`.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let command = std::env::var(OPERATOR_VARIABLE).ok();
        command.filter(|text| !text.is_empty()).map(Self)
    }
}

impl Operator for OperatorCommand {
    fn carry_out(&self, order: Order) -> CarryingOut<'_> {
        Box::pin(async move { carry_out(&self.0, &order.words()).await })
    }
}

impl Order {
    /// The arguments of a command that carries it out.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let words = match self {
            Self::RaiseAlarm(resource) => ["raise-alarm", resource.word()],
            Self::ClearAlarm(resource) => ["clear-alarm", resource.word()],
        };
        words.map(str::to_owned).to_vec()
    }
}

impl Resource {
    /// The resource's name in an order, and in the reason that blocked clients are told (FLOW-02).
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

impl Display for Order {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.words().join(" "))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn the_command_is_given_the_words_of_the_order() {
        let command = OperatorCommand("test raise-alarm\\ disk = \"$*\" && true".to_owned());
        let order = Order::RaiseAlarm(Resource::Disk);
        command.carry_out(order).await.unwrap();
        let other = Order::ClearAlarm(Resource::Disk);
        let failed = command.carry_out(other).await.unwrap_err();
        assert!(failed.to_string().contains("clear-alarm disk"), "{failed}");
    }
}
