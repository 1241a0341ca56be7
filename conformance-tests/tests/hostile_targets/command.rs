//! The binary, run within a bound.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

/// What is left of a process.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Starts the command. It is killed when the test lets go of it.
pub(crate) fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret-conformance"));
    command.args(arguments).kill_on_drop(true);
    for variable in [
        "AMQP_URL",
        "LEVERET_RESTART_COMMAND",
        "LEVERET_CRASH_COMMAND",
    ] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits for its end, which has to come within the bound.
pub(crate) async fn end(child: Child, bound: Duration) -> Ended {
    let ended = tokio::time::timeout(bound, child.wait_with_output()).await;
    let ended = ended.expect("the command ends within its bound").unwrap();
    Ended {
        code: ended.status.code(),
        out: String::from_utf8(ended.stdout).unwrap(),
        err: String::from_utf8(ended.stderr).unwrap(),
    }
}

pub(crate) async fn run(arguments: &[&str], bound: Duration) -> Ended {
    end(start(arguments), bound).await
}
