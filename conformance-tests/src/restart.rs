//! How the broker under test is stopped and started again between two halves of a test.
//!
//! What it is not: it knows no broker. Whoever runs the suite brings a [`Restart`]; where the broker
//! is a stranger these are two shell commands.
//!
//! Invariant: every command has a bound, and is killed when it passes it.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::failure::Failure;
use crate::management::MANAGEMENT_VARIABLE;
use crate::operator::OPERATOR_VARIABLE;

/// How long one command may take. A RabbitMQ node needs about 15 s to start on a busy machine, and
/// after a crash it reads its journals too.
const COMMAND_PATIENCE: Duration = Duration::from_secs(120);

/// Where the command for [`Stop::Clean`] stands.
const CLEAN_VARIABLE: &str = "LEVERET_RESTART_COMMAND";
/// Where the command for [`Stop::Crash`] stands.
const CRASH_VARIABLE: &str = "LEVERET_CRASH_COMMAND";

/// How the broker ends before it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// In order, as an operator stops it.
    Clean,
    /// Without a chance to do anything.
    Crash,
}

/// A restart while it happens; it gives the new address if the broker has moved.
pub type Restarting<'r> =
    Pin<Box<dyn Future<Output = Result<Option<SocketAddr>, Failure>> + Send + 'r>>;

/// Something that can restart the broker under test with the data it has.
pub trait Restart: Debug + Send + Sync {
    /// Whether it can end the broker so.
    fn offers(&self, stop: Stop) -> bool;

    /// Ends the broker and starts it again. When this is done the old broker is gone; the new one
    /// need not listen yet.
    fn restart(&self, stop: Stop) -> Restarting<'_>;
}

/// Shell commands that restart a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartCommands {
    /// For [`Stop::Clean`].
    pub clean: Option<String>,
    /// For [`Stop::Crash`].
    pub crash: Option<String>,
}

impl RestartCommands {
    /// The commands in `LEVERET_RESTART_COMMAND` and `LEVERET_CRASH_COMMAND`.
    #[must_use]
    pub fn from_environment() -> Self {
        let command = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self {
            clean: command(CLEAN_VARIABLE),
            crash: command(CRASH_VARIABLE),
        }
    }

    fn command(&self, stop: Stop) -> Option<&str> {
        match stop {
            Stop::Clean => self.clean.as_deref(),
            Stop::Crash => self.crash.as_deref(),
        }
    }
}

impl Restart for RestartCommands {
    fn offers(&self, stop: Stop) -> bool {
        self.command(stop).is_some()
    }

    fn restart(&self, stop: Stop) -> Restarting<'_> {
        Box::pin(async move {
            let command = self
                .command(stop)
                .ok_or_else(|| Failure::new(format!("there is no command for {stop:?}")))?;
            carry_out(command, &[]).await.map(|()| None)
        })
    }
}

/// Runs a command of the shell with further arguments behind it. What it starts must not hold on to its
/// standard error.
pub(crate) async fn carry_out(command: &str, arguments: &[String]) -> Result<(), Failure> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{command} \"$@\""));
    shell.arg("sh").args(arguments).kill_on_drop(true);
    shell.stdin(Stdio::null()).stdout(Stdio::null());
    // A Leveret that the command starts takes every such variable for a key of its configuration.
    for variable in [
        CLEAN_VARIABLE,
        CRASH_VARIABLE,
        OPERATOR_VARIABLE,
        MANAGEMENT_VARIABLE,
    ] {
        shell.env_remove(variable);
    }
    let shown = format!("{command} {}", arguments.join(" "));
    let shown = shown.trim_end();
    let status = tokio::time::timeout(COMMAND_PATIENCE, shell.status())
        .await
        .map_err(|_| Failure::new(format!("{shown:?} took more than {COMMAND_PATIENCE:?}")))??;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("{shown:?} ended with {status}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn commands(clean: &str) -> RestartCommands {
        RestartCommands {
            clean: Some(clean.to_owned()),
            crash: None,
        }
    }

    #[tokio::test]
    async fn a_command_that_fails_is_named_with_its_status() {
        assert_eq!(commands("true").restart(Stop::Clean).await, Ok(None));
        let failed = commands("exit 7").restart(Stop::Clean).await.unwrap_err();
        let text = failed.to_string();
        assert!(text.contains("\"exit 7\"") && text.contains("7"), "{text}");
    }

    #[test]
    fn what_has_no_command_is_not_offered() {
        assert!(commands("true").offers(Stop::Clean));
        assert!(!commands("true").offers(Stop::Crash));
    }
}
