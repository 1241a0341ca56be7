//! What an operator does to the broker under test while a test runs: alarms that are raised and cleared,
//! policies that are set and cleared, permissions that are changed,
//! connections that are closed, vhosts that come and go.
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

/// What an operator may be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// To raise and clear alarms.
    Alarms,
    /// To set and clear policies.
    Policies,
    /// To change what users may do.
    Permissions,
    /// To close connections.
    Connections,
    /// To make and delete vhosts.
    Vhosts,
}

/// What the operator is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// `raise-alarm memory` or `raise-alarm disk`: the broker is to believe that this is short.
    RaiseAlarm(Resource),
    /// `clear-alarm memory` or `clear-alarm disk`: takes that back.
    ClearAlarm(Resource),
    /// `set-policy VHOST NAME PATTERN APPLY-TO PRIORITY DEFINITION`, or `set-operator-policy`; the definition
    /// is a JSON object.
    SetPolicy(PolicyOrder),
    /// `clear-policy VHOST NAME`, or `clear-operator-policy`
    ClearPolicy(PolicyName),
    /// `set-permissions VHOST USER CONFIGURE WRITE READ`: what the user may do from now on.
    SetPermissions(PermissionsOrder),
    /// `close-connection NAME REASON`: ends the connection that its client calls so.
    CloseConnection {
        /// `connection_name` of the client's properties.
        name: String,
        /// What the client is told.
        reason: String,
    },
    /// `add-vhost VHOST`: makes one without any permissions.
    AddVhost(String),
    /// `delete-vhost VHOST`.
    DeleteVhost(String),
}

/// What a user may do in a vhost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionsOrder {
    /// The vhost.
    pub vhost: String,
    /// The user.
    pub user: String,
    /// Which names it may configure, as a regular expression; the other two likewise.
    pub configure: String,
    /// Which it may write.
    pub write: String,
    /// Which it may read.
    pub read: String,
}

/// Which policy is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyName {
    /// Whether it is an operator policy.
    pub is_operators: bool,
    /// The vhost.
    pub vhost: String,
    /// Its name there.
    pub name: String,
}

/// A policy that is to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyOrder {
    /// Which policy it is.
    pub name: PolicyName,
    /// The names it is for.
    pub pattern: String,
    /// What it is for: `queues`, `exchanges` or `all`.
    pub apply_to: &'static str,
    /// Its priority.
    pub priority: i64,
    /// What it says.
    pub definition: Vec<(&'static str, Setting)>,
}

/// What a policy says about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A number.
    Number(i64),
    /// A text of letters, digits and marks that need no escape in JSON.
    Text(String),
}

impl From<i64> for Setting {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// An order while it is carried out.
pub type CarryingOut<'o> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'o>>;

/// Someone who does to the broker what no client can.
pub trait Operator: Debug + Send + Sync {
    /// Whether it carries out orders of this kind.
    fn offers(&self, duty: Duty) -> bool;

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
    fn offers(&self, _: Duty) -> bool {
        true
    }

    fn carry_out(&self, order: Order) -> CarryingOut<'_> {
        Box::pin(async move { carry_out(&self.0, &order.words()).await })
    }
}

impl Order {
    /// Who carries this out must be able to do this.
    #[must_use]
    pub fn duty(&self) -> Duty {
        match self {
            Self::RaiseAlarm(_) | Self::ClearAlarm(_) => Duty::Alarms,
            Self::SetPolicy(_) | Self::ClearPolicy(_) => Duty::Policies,
            Self::SetPermissions(_) => Duty::Permissions,
            Self::CloseConnection { .. } => Duty::Connections,
            Self::AddVhost(_) | Self::DeleteVhost(_) => Duty::Vhosts,
        }
    }

    /// The arguments of a command that carries it out.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match self {
            Self::RaiseAlarm(resource) => words(&["raise-alarm", resource.word()]),
            Self::ClearAlarm(resource) => words(&["clear-alarm", resource.word()]),
            Self::SetPolicy(policy) => words(&[
                policy.name.verb("set-policy", "set-operator-policy"),
                &policy.name.vhost,
                &policy.name.name,
                &policy.pattern,
                policy.apply_to,
                &policy.priority.to_string(),
                &policy.definition_json(),
            ]),
            Self::ClearPolicy(name) => words(&[
                name.verb("clear-policy", "clear-operator-policy"),
                &name.vhost,
                &name.name,
            ]),
            Self::SetPermissions(order) => words(&[
                "set-permissions",
                &order.vhost,
                &order.user,
                &order.configure,
                &order.write,
                &order.read,
            ]),
            Self::CloseConnection { name, reason } => words(&["close-connection", name, reason]),
            Self::AddVhost(name) => words(&["add-vhost", name]),
            Self::DeleteVhost(name) => words(&["delete-vhost", name]),
        }
    }
}

impl PolicyName {
    fn verb(&self, usual: &'static str, operators: &'static str) -> &'static str {
        match self.is_operators {
            true => operators,
            false => usual,
        }
    }
}

impl PolicyOrder {
    fn definition_json(&self) -> String {
        let entries = self.definition.iter().map(|(key, value)| match value {
            Setting::Number(number) => format!("\"{key}\":{number}"),
            Setting::Text(text) => format!("\"{key}\":\"{text}\""),
        });
        format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
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

impl Display for Duty {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Alarms => "raises alarms",
            Self::Policies => "sets policies",
            Self::Permissions => "changes permissions",
            Self::Connections => "closes connections",
            Self::Vhosts => "makes and deletes vhosts",
        })
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

    #[test]
    fn a_policy_is_told_in_seven_words() {
        let order = PolicyOrder {
            name: PolicyName {
                is_operators: true,
                vhost: "/".to_owned(),
                name: "n".to_owned(),
            },
            pattern: "^a b".to_owned(),
            apply_to: "queues",
            priority: -1,
            definition: vec![("expires", 1.into()), ("overflow", "drop-head".into())],
        };
        let definition = "{\"expires\":1,\"overflow\":\"drop-head\"}";
        let words = [
            "set-operator-policy",
            "/",
            "n",
            "^a b",
            "queues",
            "-1",
            definition,
        ];
        assert_eq!(Order::SetPolicy(order).words(), words);
    }
}
