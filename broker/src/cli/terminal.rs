//! What is typed and not to be seen.
//!
//! What it is not: a reader of pipes and files, in which nobody types.

use std::io;

/// Asks on standard error and reads a line from standard input, which is a terminal that does not show it.
///
/// # Errors
/// The terminal cannot be asked.
#[cfg(unix)]
pub(super) fn ask_silently(prompt: &str) -> io::Result<String> {
    let silence = Silence::begin()?;
    eprint!("{prompt}");
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    drop(silence);
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// As long as it lives, standard input shows nothing of what is typed but the end of the line.
#[cfg(unix)]
struct Silence(rustix::termios::Termios);

#[cfg(unix)]
impl Silence {
    fn begin() -> io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

#[cfg(unix)]
impl Drop for Silence {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        // There is nobody to tell, and nothing else to try.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Here nothing is known of terminals, and what is typed would be seen.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub(super) fn ask_silently(_: &str) -> io::Result<String> {
    let text = "it would be seen on this terminal; hand it over in a pipe";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}
