//! The decision about a login.
//!
//! ```text
//!   Credentials ─ begin_login ─▶ PendingLogin ─▶ the password is looked at ─▶ conclude_login ─▶ User
//!   a name that something else vouches for ─────── authenticate_name ──────────────┤
//!                                                                                  └─▶ LoginRefused
//! ```
//!
//! What it is not: the form of what clients send (see [`super::sasl`]), or the comparison of passwords (see
//! [`super::verifier`]).
//!
//! Invariant: a client cannot tell from the time taken whether it was the name or the password
//! that was wrong, or the place that it comes from.

use std::sync::Arc;

use thiserror::Error;

use super::sasl::Credentials;
use super::{Access, User};

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

/// A login whose password is being looked at.
#[derive(Debug)]
pub(crate) struct PendingLogin {
    /// The name as it came, as far as it is UTF-8.
    name: Box<str>,
    /// Whose password it is to be.
    pub(crate) user: Option<Arc<User>>,
    is_local: bool,
}

impl PendingLogin {
    /// Whether the login is refused even if the password is right.
    pub(crate) fn is_vain(&self) -> bool {
        let user = self.user.as_ref();
        user.is_some_and(|user| user.loopback_only && !self.is_local)
    }
}

impl Access {
    /// Finds whose password is to be looked at. Names are UTF-8; one that is not is nobody's. Whether the peer
    /// is local is for the caller to say, by [`super::is_loopback`] on the real address of the peer.
    pub(crate) fn begin_login(&self, login: &Credentials<'_>, is_local: bool) -> PendingLogin {
        let name = str::from_utf8(login.name).ok();
        PendingLogin {
            name: String::from_utf8_lossy(login.name).into(),
            user: name.and_then(|name| self.user(name)),
            is_local,
        }
    }

    /// Decides when the verdict on the password is known. What has become of the user meanwhile counts.
    ///
    /// # Errors
    /// Why the login is refused; never `Malformed`.
    pub(crate) fn conclude_login(
        &self,
        login: PendingLogin,
        is_right: bool,
    ) -> Result<Arc<User>, LoginRefused> {
        let is_vain = login.is_vain();
        let user = login.name.into_string();
        let then = login.user;
        let now = then.as_deref().and_then(|then| self.user_now(then));
        match then.zip(now) {
            None => Err(LoginRefused::UnknownUser { user }),
            Some((then, now)) if !is_right || now.password() != then.password() => {
                Err(LoginRefused::WrongPassword { user })
            }
            Some(_) if is_vain => Err(LoginRefused::NotLoopback { user }),
            Some((_, now)) => Ok(now),
        }
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
}

#[cfg(test)]
impl Access {
    /// The whole of a login on this thread.
    pub(crate) fn authenticate_password(
        &self,
        name: &[u8],
        password: &[u8],
        is_local: bool,
    ) -> Result<Arc<User>, LoginRefused> {
        let login = self.begin_login(&Credentials { name, password }, is_local);
        let known = login.user.as_ref().map(|user| user.password());
        let (hashing, mut memory) = Default::default();
        let is_right = crate::config::Password::verify(known, password, hashing, &mut memory);
        self.conclude_login(login, is_right)
    }
}
