//! Passwords that are new to a running broker: hashed on threads that may block.
//!
//! What it is not: the check of a login (see [`crate::access`]).

use std::borrow::Cow;

use super::Broker;
use crate::access;
use crate::config::Password;
use crate::definitions::{Definitions, salt};

impl Broker {
    /// A password as it is kept.
    pub(super) async fn hashed(&self, password: Password) -> Password {
        let hashing = self.inside.node.config.password_hashing;
        let hash = move || access::hashed(&password, hashing, salt());
        // Whoever cannot be hashed has no password.
        tokio::task::spawn_blocking(hash).await.unwrap_or_default()
    }

    /// The definitions without passwords in clear text.
    pub(super) async fn with_hashed_passwords<'d>(
        &self,
        definitions: &'d Definitions,
    ) -> Cow<'d, Definitions> {
        if !definitions.has_clear_passwords() {
            return Cow::Borrowed(definitions);
        }
        let hashing = self.inside.node.config.password_hashing;
        let copy = definitions.clone();
        let hash = move || copy.with_hashed_passwords(hashing).into_owned();
        let hashed = tokio::task::spawn_blocking(hash).await;
        hashed.map_or(Cow::Borrowed(definitions), Cow::Owned)
    }
}
