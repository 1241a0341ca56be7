//! [`Verified`]: the memory of passwords that were right a moment ago.
//!
//! Thousands of clients of one user come back at once when a broker is started again; with argon2id each would
//! take its 20 ms of a CPU. So a password that was found right stays so for [`VERIFIED_LOGINS_S`], and whoever comes
//! with it is not put off for what others behind the same address have done.
//!
//! What is remembered is a hash under a key that this process has made up and never shows, of the name, of
//! all that is known of the password, and of the password itself: a user whose password has changed, or who was
//! deleted and made anew, is another entry. Wrong passwords leave nothing. Whoever can read the memory of the
//! process can guess at these hashes quickly, for as long as they are there: until the next login after their
//! time.
//!
//! What it is not: a session. Whoever is remembered is judged like anybody else, but for the hashing.
//!
//! Invariants: no more than [`VERIFIED_LOGINS_MAX`] entries. An entry is never prolonged.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use blake2::Blake2sMac256;
use blake2::digest::Mac as _;

use crate::config::Password;
use crate::limits::{VERIFIED_LOGINS_MAX, VERIFIED_LOGINS_S};

const REMEMBERED_FOR: Duration = Duration::from_secs(VERIFIED_LOGINS_S);

/// A hash of everything that a login was about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

/// The key, and what is remembered.
pub(crate) struct Verified {
    key: [u8; 32],
    until: HashMap<Fingerprint, Instant>,
    order: VecDeque<Fingerprint>,
}

impl Verified {
    /// Nothing yet. Without random bytes for the key nothing is ever remembered.
    pub(crate) fn new() -> Option<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).ok()?;
        Some(Self {
            key,
            until: HashMap::new(),
            order: VecDeque::new(),
        })
    }

    /// What would be remembered of this login. The key alone is needed, so that no lock is held meanwhile.
    pub(crate) fn fingerprint(
        key: &[u8; 32],
        name: &str,
        known: &Password,
        presented: &[u8],
    ) -> Option<Fingerprint> {
        let mut hash = Blake2sMac256::new_from_slice(key).ok()?;
        let mut put = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        put(name.as_bytes());
        known.put_into(&mut put);
        put(presented);
        Some(Fingerprint(hash.finalize().into_bytes().into()))
    }

    pub(crate) fn key(&self) -> [u8; 32] {
        self.key
    }

    /// Whether this was right a moment ago.
    pub(crate) fn has(&self, fingerprint: &Fingerprint, now: Instant) -> bool {
        let until = self.until.get(fingerprint);
        until.is_some_and(|until| now < *until)
    }

    /// This was found right.
    pub(crate) fn remember(&mut self, fingerprint: Fingerprint, now: Instant) {
        self.forget_old(now);
        if self.until.contains_key(&fingerprint) {
            return;
        }
        if self.order.len() >= VERIFIED_LOGINS_MAX {
            self.forget_oldest();
        }
        self.until.insert(fingerprint, now + REMEMBERED_FOR);
        self.order.push_back(fingerprint);
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front()
            && !self.has(oldest, now)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.until.remove(&oldest);
        }
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Verified({} logins)", self.until.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::{PasswordHash, PasswordHashing};

    fn hashed(password: &str, salt: u8) -> Password {
        let hash = PasswordHash::of(password, PasswordHashing::Sha256, [salt; 16]);
        Password::hashed(hash.unwrap())
    }

    fn fingerprint(name: &str, known: &Password, presented: &str) -> Fingerprint {
        Verified::fingerprint(&[7; 32], name, known, presented.as_bytes()).unwrap()
    }

    #[test]
    fn whatever_differs_is_another_entry() {
        let one = fingerprint("ada", &hashed("hush", 1), "hush");
        assert!(one == fingerprint("ada", &hashed("hush", 1), "hush"));
        for other in [
            fingerprint("adah", &hashed("hush", 1), "ush"),
            fingerprint("eve", &hashed("hush", 1), "hush"),
            fingerprint("ada", &hashed("hush", 2), "hush"),
            fingerprint("ada", &hashed("push", 1), "hush"),
            fingerprint("ada", &Password::new("hush"), "hush"),
            fingerprint("ada", &hashed("hush", 1), "hus"),
            Verified::fingerprint(&[8; 32], "ada", &hashed("hush", 1), b"hush").unwrap(),
        ] {
            assert!(one != other);
        }
    }

    #[test]
    fn a_login_is_remembered_for_its_time_however_often_it_comes() {
        let (mut verified, start) = (Verified::new().unwrap(), Instant::now());
        let one = fingerprint("ada", &hashed("hush", 1), "hush");
        assert!(!verified.has(&one, start));
        verified.remember(one, start);
        verified.remember(one, start + REMEMBERED_FOR / 2);
        assert!(verified.has(&one, start + REMEMBERED_FOR - Duration::from_millis(1)));
        assert!(!verified.has(&one, start + REMEMBERED_FOR));
        verified.forget_old(start + REMEMBERED_FOR);
        assert!(verified.until.is_empty() && verified.order.is_empty());
        verified.remember(one, start + REMEMBERED_FOR);
        assert!(verified.has(&one, start + REMEMBERED_FOR));
    }

    #[test]
    fn no_more_than_so_many_are_remembered_and_the_oldest_goes() {
        let (mut verified, now) = (Verified::new().unwrap(), Instant::now());
        let entry = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            Fingerprint(bytes)
        };
        (0..=VERIFIED_LOGINS_MAX).for_each(|number| verified.remember(entry(number), now));
        assert_eq!(
            (verified.until.len(), verified.order.len()),
            (VERIFIED_LOGINS_MAX, VERIFIED_LOGINS_MAX)
        );
        assert!(!verified.has(&entry(0), now) && verified.has(&entry(1), now));
    }

    #[test]
    fn the_key_is_not_shown() {
        assert_eq!(
            format!("{:?}", Verified::new().unwrap()),
            "Verified(0 logins)"
        );
    }
}
