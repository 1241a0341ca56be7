//! What clients send to log in, taken apart: the responses of the SASL mechanisms.
//!
//! ```text
//!   PLAIN            NUL user NUL password                             ─▶ Claim::Password
//!   AMQPLAIN         a field table's entries, LOGIN and PASSWORD       ─▶ Claim::Password
//!   RABBIT-CR-DEMO   user ─▶ Claim::Name      "My password is " password ─▶ demo_answer
//!   EXTERNAL         anything                                          ─▶ Claim::Certificate
//!   ANONYMOUS        anything                                          ─▶ Claim::Anybody
//! ```
//!
//! What it is not: a decision. Whether a claim is true is for [`super::Access`] and the verifier.
//!
//! Invariants: pure functions of bytes from strangers: they never panic, and allocate nothing. A response is
//! taken as a whole or not at all: there are no bytes that are passed over. It is no longer than a first frame
//! (TUNE-11). A password is not in `Debug`.

use std::fmt;

use leveret_protocol::Table;

use crate::config::{AuthMechanism, Password};

/// What RABBIT-CR-DEMO asks whoever has given a name (CONN-14).
pub const DEMO_CHALLENGE: &[u8] = b"Please tell me your password";
/// What stands before the password in the answer.
const DEMO_ANSWER: &[u8] = b"My password is ";

/// What a client says about who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim<'r> {
    /// It is this user and knows the password.
    Password(Credentials<'r>),
    /// It is this user and will say the password when it is asked with [`DEMO_CHALLENGE`].
    Name(&'r [u8]),
    /// It is whom its certificate names. Whom it says to be besides counts for nothing.
    Certificate,
    /// It is nobody in particular. The trace that it may have left of itself (RFC 4505) counts for nothing.
    Anybody,
}

/// A name and a password as they came; neither need be UTF-8.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'r> {
    /// The user.
    pub name: &'r [u8],
    /// The password.
    pub password: &'r [u8],
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = String::from_utf8_lossy(self.name);
        write!(out, "{name:?} with {}", Password::MASK)
    }
}

/// Reads the response of `connection.start-ok`; `None` if it does not have the form of the mechanism.
#[must_use]
pub fn claim(mechanism: AuthMechanism, response: &[u8]) -> Option<Claim<'_>> {
    match mechanism {
        AuthMechanism::Plain => plain(response).map(Claim::Password),
        AuthMechanism::AmqPlain => amqplain(response).map(Claim::Password),
        AuthMechanism::RabbitCrDemo => Some(Claim::Name(response)),
        AuthMechanism::External => Some(Claim::Certificate),
        AuthMechanism::Anonymous => Some(Claim::Anybody),
    }
}

/// The password in the answer to [`DEMO_CHALLENGE`]; `None` if it is another answer.
#[must_use]
pub fn demo_answer(answer: &[u8]) -> Option<&[u8]> {
    answer.strip_prefix(DEMO_ANSWER)
}

/// Exactly NUL user NUL password, without an authorisation identity before the first NUL (CONN-09).
fn plain(response: &[u8]) -> Option<Credentials<'_>> {
    let mut parts = response.split(|byte| *byte == 0);
    let (before, name, password) = (parts.next()?, parts.next()?, parts.next()?);
    let is_plain = before.is_empty() && parts.next().is_none();
    is_plain.then_some(Credentials { name, password })
}

/// A field table without its length, with LOGIN and PASSWORD as long strings (CONN-10). Of two entries of the
/// same name the first counts.
fn amqplain(response: &[u8]) -> Option<Credentials<'_>> {
    let table = Table::parse(response).ok()?;
    let name = table.get("LOGIN")?.as_long_str()?;
    let password = table.get("PASSWORD")?.as_long_str()?;
    Some(Credentials { name, password })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use leveret_protocol::{TableBuf, Value};

    use super::*;

    fn credentials<'r>(name: &'r str, password: &'r str) -> Claim<'r> {
        Claim::Password(Credentials {
            name: name.as_bytes(),
            password: password.as_bytes(),
        })
    }

    fn plain(response: &str) -> Option<Claim<'_>> {
        claim(AuthMechanism::Plain, response.as_bytes())
    }

    #[test]
    fn conn_09_plain_is_nul_user_nul_password_and_nothing_else() {
        assert_eq!(plain("\0ada\0hush"), Some(credentials("ada", "hush")));
        assert_eq!(plain("\0\0"), Some(credentials("", "")));
        assert_eq!(plain("\0ada\0"), Some(credentials("ada", "")));
        for response in [
            "",
            "\0",
            "ada",
            "ada\0hush",
            "\0ada",
            "ada\0ada\0hush",
            "eve\0ada\0hush",
            "\0ada\0hush\0",
            "\0ada\0hush\0x",
            "\0\0ada\0hush",
        ] {
            assert_eq!(plain(response), None, "{response:?}");
        }
    }

    fn amqplain(entries: Vec<(&str, Value<'_>)>) -> Option<(Vec<u8>, Vec<u8>)> {
        let table = TableBuf::from_entries(entries);
        let bytes = table.view().as_bytes().to_vec();
        match claim(AuthMechanism::AmqPlain, &bytes)? {
            Claim::Password(found) => Some((found.name.to_vec(), found.password.to_vec())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn conn_10_amqplain_needs_both_entries_as_strings() {
        let (ada, hush) = (Value::LongStr(b"ada"), Value::LongStr(b"hush"));
        let found = Some((b"ada".to_vec(), b"hush".to_vec()));
        assert_eq!(amqplain(vec![("LOGIN", ada), ("PASSWORD", hush)]), found);
        let more = vec![("X", Value::Void), ("PASSWORD", hush), ("LOGIN", ada)];
        assert_eq!(amqplain(more), found);
        let twice = vec![
            ("LOGIN", ada),
            ("PASSWORD", hush),
            ("LOGIN", Value::LongStr(b"eve")),
        ];
        assert_eq!(amqplain(twice), found);
        for entries in [
            vec![],
            vec![("LOGIN", ada)],
            vec![("PASSWORD", hush)],
            vec![("login", ada), ("password", hush)],
            vec![("LOGIN", Value::Void), ("PASSWORD", hush)],
            vec![("LOGIN", ada), ("PASSWORD", Value::I64(7))],
            vec![("LOGIN", ada), ("PASSWORD", Value::Bool(true))],
        ] {
            assert_eq!(amqplain(entries.clone()), None, "{entries:?}");
        }
    }

    #[test]
    fn conn_10_amqplain_that_is_no_table_is_refused() {
        let table = TableBuf::from_entries([
            ("LOGIN", Value::LongStr(b"ada")),
            ("PASSWORD", Value::LongStr(b"hush")),
        ]);
        let bytes = table.view().as_bytes();
        for end in 0..bytes.len() {
            assert_eq!(claim(AuthMechanism::AmqPlain, &bytes[..end]), None, "{end}");
        }
        // With the length that other tables have in front, as some clients once sent it.
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let with_length = [&length, bytes].concat();
        assert_eq!(claim(AuthMechanism::AmqPlain, &with_length), None);
    }

    #[test]
    fn conn_14_the_demo_takes_its_own_words_only() {
        let name = claim(AuthMechanism::RabbitCrDemo, b"ada");
        assert_eq!(name, Some(Claim::Name(b"ada")));
        assert_eq!(demo_answer(b"My password is hush"), Some(&b"hush"[..]));
        assert_eq!(demo_answer(b"My password is "), Some(&b""[..]));
        for answer in [&b""[..], b"hush", b"my password is hush", b"My password is"] {
            assert_eq!(demo_answer(answer), None, "{answer:?}");
        }
    }

    #[test]
    fn what_a_client_says_beside_a_certificate_or_as_nobody_counts_for_nothing() {
        for response in [&b""[..], b"guest", b"\0guest\0guest", b"\xff\0\x1b"] {
            let external = claim(AuthMechanism::External, response);
            assert_eq!(external, Some(Claim::Certificate));
            let anonymous = claim(AuthMechanism::Anonymous, response);
            assert_eq!(anonymous, Some(Claim::Anybody));
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", plain("\0ada\0hush").unwrap());
        assert_eq!(shown, "Password(\"ada\" with ***)");
    }
}
