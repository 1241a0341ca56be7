//! Passwords that definitions have in clear text.
//!
//! What it is not: the hashing itself (see [`crate::config::PasswordHash`]).

use std::borrow::Cow;

use super::document::Definitions;
use super::offline::salt;
use crate::access::hashed;
use crate::config::PasswordHashing;

impl Definitions {
    /// Whether a password is in clear text.
    pub(crate) fn has_clear_passwords(&self) -> bool {
        self.users.iter().any(|user| user.password.is_clear())
    }

    /// The definitions with a hash in the place of every password in clear text. Takes long if there are many
    /// and they are hashed by argon2id.
    pub(crate) fn with_hashed_passwords(&self, hashing: PasswordHashing) -> Cow<'_, Self> {
        if !self.has_clear_passwords() {
            return Cow::Borrowed(self);
        }
        let mut copy = self.clone();
        for user in &mut copy.users {
            user.password = hashed(&user.password, hashing, salt());
        }
        Cow::Owned(copy)
    }
}
