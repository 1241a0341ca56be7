//! `strace` as the one that makes system calls fail, of a whole process or from a moment on.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::runs::allows;

/// Longest time `strace` may take to be attached to every thread.
const ATTACH_PATIENCE: Duration = Duration::from_secs(20);

/// True if processes can be traced here; says so if not.
pub(crate) fn is_allowed(test: &str) -> bool {
    allows(test, "strace", &["-f", "-o", "/dev/null", "true"])
}

/// A fault that strikes a running process as long as this value lives.
pub(crate) struct Attached {
    strace: Child,
}

impl Attached {
    /// Lets a process have this fault from now on. What is counted begins now, in each thread.
    #[track_caller]
    pub(crate) fn to(process: u32, inject: &str) -> Self {
        let mut command = Command::new("strace");
        let process = process.to_string();
        command.args(["-f", "-o", "/dev/null", "-e", inject, "-p", &process]);
        let mut strace = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(strace.stderr.take().unwrap()).lines();
        let (tell, attached) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let this = Self { strace };
        let line = attached.recv_timeout(ATTACH_PATIENCE).unwrap();
        assert!(line.contains("attached"), "{line}");
        this
    }
}

impl Drop for Attached {
    /// The process goes on without the fault.
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}
