//! `leveret hash-password`: the hash of a password, for a configuration or for definitions.
//!
//! ```text
//!   a terminal ─▶ asked twice, not shown ─┐
//!   anything else ─▶ read to its end ─────┴─▶ checked ─▶ hashed with a random salt ─▶ one line
//! ```
//!
//! The password is never an argument: arguments are seen by everybody on the machine (`ps`), and shells write
//! them down. Nor can the salt be chosen: one that is used twice tells that two passwords are the same.
//!
//! What it is not: a check of a password against a hash.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal as _, Read};

use clap::{Args, ValueEnum};
use leveret::config::{PasswordHash, PasswordHashing, Salt};
use thiserror::Error;

use super::print::write;
use super::{Fatal, terminal};

/// Longest password in bytes: a login with a longer one would not fit into the 4096 bytes of a first frame,
/// beside what else is in it.
const PASSWORD_BYTES_MAX: usize = 2_048;

#[derive(Debug, Args)]
pub(super) struct HashPassword {
    /// How to hash it: sha256 and sha512 as RabbitMQ does, which it can import; argon2id is slow to guess
    #[arg(long, value_name = "ALGORITHM", default_value_t = Algorithm(PasswordHashing::Sha256))]
    algorithm: Algorithm,
    /// Taken so that it is not echoed in an error.
    #[arg(hide = true, num_args = 0.., allow_hyphen_values = false)]
    refused: Vec<OsString>,
}

#[derive(Clone, Copy, Debug)]
struct Algorithm(PasswordHashing);

impl ValueEnum for Algorithm {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Algorithm; 3] = [
            Algorithm(PasswordHashing::Sha256),
            Algorithm(PasswordHashing::Sha512),
            Algorithm(PasswordHashing::Argon2id),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(self.0.as_str().into())
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0.as_str())
    }
}

/// Why there is no hash. No password is in it.
#[derive(Debug, Error)]
pub(super) enum HashPasswordError {
    #[error(
        "hash-password takes no password as an argument, since everybody on this machine can see it there; \
         it asks for one, or reads standard input"
    )]
    InArguments,
    #[error("the password cannot be read: {0}")]
    Read(io::Error),
    #[error("the password is empty, and an empty one is never right")]
    Empty,
    #[error("the password has more than {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
    #[error("the password is not UTF-8")]
    NotText,
    #[error("the password has more than one line")]
    Lines,
    #[error("the password has a NUL, which no login can present")]
    Nul,
    #[error("the two passwords differ")]
    Differ,
    #[error("the system has no random bytes to give")]
    NoRandom,
    #[error("there is not enough memory")]
    NoMemory,
}

/// Reads a password and prints its hash.
///
/// # Errors
/// There is none, or none that a login could present; or the output cannot be written.
pub(super) fn hash_password(arguments: &HashPassword) -> Result<(), Fatal> {
    if !arguments.refused.is_empty() {
        return Err(HashPasswordError::InArguments.into());
    }
    let password = match io::stdin().is_terminal() {
        true => asked()?,
        false => checked(read(io::stdin().lock())?)?,
    };
    let mut salt = Salt::default();
    getrandom::fill(&mut salt).map_err(|_| HashPasswordError::NoRandom)?;
    let hash = PasswordHash::of(&password, arguments.algorithm.0, salt);
    let hash = hash.ok_or(HashPasswordError::NoMemory)?;
    write(&format!("{}\n", hash.to_text()))
}

/// Typed twice, since nobody sees it.
fn asked() -> Result<String, HashPasswordError> {
    let ask = |prompt| terminal::ask_silently(prompt).map_err(HashPasswordError::Read);
    let password = checked(ask("Password: ")?.into_bytes())?;
    match ask("Once more: ")? == *password {
        true => Ok(password),
        false => Err(HashPasswordError::Differ),
    }
}

/// All there is, without the end of its last line.
fn read(from: impl Read) -> Result<Vec<u8>, HashPasswordError> {
    let mut password = Vec::new();
    // With the end of the line, and one byte that tells of more.
    let most = PASSWORD_BYTES_MAX as u64 + 3;
    let read = from.take(most).read_to_end(&mut password);
    read.map_err(HashPasswordError::Read)?;
    if password.ends_with(b"\n") {
        password.pop();
    }
    if password.ends_with(b"\r") {
        password.pop();
    }
    Ok(password)
}

fn checked(password: Vec<u8>) -> Result<String, HashPasswordError> {
    if password.is_empty() {
        return Err(HashPasswordError::Empty);
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(HashPasswordError::TooLong);
    }
    if password.contains(&b'\n') {
        return Err(HashPasswordError::Lines);
    }
    if password.contains(&0) {
        return Err(HashPasswordError::Nul);
    }
    String::from_utf8(password).map_err(|_| HashPasswordError::NotText)
}
