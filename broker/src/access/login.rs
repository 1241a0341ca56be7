//! The check of a login.
//!
//! ```text
//!   PLAIN response ──split──▶ name, password ──▶ known? right? local? ──▶ User
//!   AMQPLAIN table ─(caller)────────┘                     │
//!   RABBIT-CR-DEMO, 2 steps ────────┘                     └──▶ LoginRefused
//! ```
//!
//! Invariant: a client cannot tell from the time taken whether it was the name or the password
//! that was wrong.

use std::sync::Arc;
use std::sync::LazyLock;

use thiserror::Error;

use super::{Access, User};
use crate::config::Password;

/// What RABBIT-CR-DEMO asks whoever has given a name (CONN-14).
pub const DEMO_CHALLENGE: &[u8] = b"Please tell me your password";
/// What stands before the password in the answer.
const DEMO_ANSWER: &[u8] = b"My password is ";

/// Why a login was refused. The reason is for the log: to the client all but `Malformed` look the
/// same (CONN-13).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoginRefused {
    /// The response does not have the form of its mechanism: the connection is closed in silence
    /// (CONN-09, CONN-10, CONN-14), while a refusal by one of the others may be told (CONN-11).
    #[error("malformed response")]
    Malformed,
    /// There is no such user.
    #[error("user {user:?}: no such user")]
    UnknownUser {
        /// The name as the client sent it.
        user: String,
    },
    /// The password is empty or wrong.
    #[error("user {user:?}: wrong password")]
    WrongPassword {
        /// The name as the client sent it.
        user: String,
    },
    /// The certificate that the client has shown has no name of the kind that is configured.
    #[error("the client's certificate has no name of the kind that tls.cert_login_from asks for")]
    NamelessCertificate,
    /// The client has shown no certificate.
    #[error("the client has shown no certificate")]
    NoCertificate,
    /// The user may log in from a loopback address only.
    #[error("user {user:?}: may log in from a loopback address only")]
    NotLoopback {
        /// The name as the client sent it.
        user: String,
    },
}

impl Access {
    /// Checks a response of PLAIN: NUL user NUL password (CONN-09).
    ///
    /// # Errors
    /// Why the login is refused.
    pub fn authenticate_plain(
        &self,
        response: &[u8],
        peer_is_loopback: bool,
    ) -> Result<Arc<User>, LoginRefused> {
        let (name, password) = plain(response).ok_or(LoginRefused::Malformed)?;
        self.authenticate_password(name, password, peer_is_loopback)
    }

    /// Checks the answer to [`DEMO_CHALLENGE`] of who has given this name.
    ///
    /// # Errors
    /// Why the login is refused.
    pub fn authenticate_demo(
        &self,
        name: &[u8],
        answer: &[u8],
        peer_is_loopback: bool,
    ) -> Result<Arc<User>, LoginRefused> {
        let password = answer.strip_prefix(DEMO_ANSWER);
        let password = password.ok_or(LoginRefused::Malformed)?;
        self.authenticate_password(name, password, peer_is_loopback)
    }

    /// Checks a name that something else than a password vouches for: a certificate, or the configuration.
    ///
    /// # Errors
    /// There is no such user, or it is bound to loopback.
    pub fn authenticate_name(
        &self,
        name: &str,
        peer_is_loopback: bool,
    ) -> Result<Arc<User>, LoginRefused> {
        let user = name.to_owned();
        match self.user(name) {
            None => Err(LoginRefused::UnknownUser { user }),
            Some(found) if found.loopback_only && !peer_is_loopback => {
                Err(LoginRefused::NotLoopback { user })
            }
            Some(found) => Ok(found),
        }
    }

    /// Checks a name and a password. Names are UTF-8; one that is not is nobody's. Whether the peer is
    /// local is for the caller to say, by [`super::is_loopback`] on the real address of the peer.
    ///
    /// # Errors
    /// Why the login is refused; never `Malformed`.
    pub fn authenticate_password(
        &self,
        name: &[u8],
        password: &[u8],
        peer_is_loopback: bool,
    ) -> Result<Arc<User>, LoginRefused> {
        let found = std::str::from_utf8(name).ok();
        let found = found.and_then(|name| self.user(name));
        let known = found.as_ref().map(|user| &user.config.password);
        let expected = known.unwrap_or(&NOBODYS_PASSWORD);
        let is_right = expected.matches(password);
        let user = String::from_utf8_lossy(name).into_owned();
        match found {
            None => Err(LoginRefused::UnknownUser { user }),
            Some(_) if !is_right => Err(LoginRefused::WrongPassword { user }),
            Some(found) if found.loopback_only && !peer_is_loopback => {
                Err(LoginRefused::NotLoopback { user })
            }
            Some(found) => Ok(found),
        }
    }
}

/// What an unknown user's password is compared with, so that the comparison takes place.
static NOBODYS_PASSWORD: LazyLock<Password> = LazyLock::new(|| Password::new("nobody"));

/// Exactly NUL user NUL password, without an authorisation identity before the first NUL.
fn plain(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = response.split(|byte| *byte == 0);
    let (before, name, password) = (parts.next()?, parts.next()?, parts.next()?);
    if !before.is_empty() || parts.next().is_some() {
        return None;
    }
    Some((name, password))
}
