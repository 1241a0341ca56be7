//! One function per fuzz target: takes any bytes, panics when a property does not hold.
//!
//! These are the readers of what an operator or a disk brings. Frames are fuzzed in `protocol/fuzz`, the
//! files of the store in `storage/fuzz`.
//!
//! The fuzzer's binaries and `cargo test` (`tests/corpus.rs`) run the same functions.
//!
//! What it is not: part of the crate's interface.

use leveret::Config;
use leveret::access::sasl::{self, Claim, Credentials};
use leveret::config::{AuthMechanism, Password, PasswordHash};
use leveret::definitions::{Definitions, dry_run, of_configuration};
use leveret::proxy_protocol::{PROXY_HEADER_BYTES_MAX, Progress, ProxyError, progress};

/// What a key or a value of the catalog is at most, so that lengths are short in the input.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Any text as a file of definitions: what is read is written so that it is read equal, and whether it could
/// be imported is found out without harm.
pub fn definitions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(read) = Definitions::from_json(text, "/") else {
        return;
    };
    let written = read.to_json("leveret", "0");
    let again = Definitions::from_json(&written, "/").expect("what was written is read");
    assert_eq!(written, again.to_json("leveret", "0"));
    let verdict = dry_run(&read, &Config::default()).is_ok();
    assert_eq!(verdict, dry_run(&again, &Config::default()).is_ok());
}

/// Any entries as the catalog of a data directory: what they bring back can be exported and read again.
pub fn catalog(data: &[u8]) {
    let config = Config::default();
    if let Ok(exported) = of_configuration(&config, &entries(data)) {
        let written = exported.to_json("leveret", "0");
        Definitions::from_json(&written, "/").expect("what was exported is read");
    }
}

/// A password that fuzzers do not write elsewhere.
const CANARY: &str = "c4n4ry-7d0e-b1ue";

/// Any text as a configuration file: what is read is allowed, and shows no password.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(mut config) = Config::from_toml(text) {
        assert!(config.validate().is_ok());
        let users = config.users.iter_mut();
        users.for_each(|user| user.password = Password::new(CANARY));
        assert!(!format!("{config:?}").contains(CANARY));
    }
}

/// How much is read at a time, and any bytes as what a proxy sends first: in whatever pieces they come, the same
/// header is found or the same refusal, and not one byte behind it is read.
pub fn proxy(data: &[u8]) {
    let Some((piece, sent)) = data.split_first() else {
        return;
    };
    let at_once = header(sent, usize::MAX);
    assert_eq!(at_once, header(sent, 1));
    assert_eq!(at_once, header(sent, usize::from(*piece).max(1)));
}

/// Reads as a listener does, never more than is wanted, and never more than so much at a time. What is found is
/// `Complete` or the last wish.
fn header(sent: &[u8], piece_max: usize) -> Result<Option<Progress>, ProxyError> {
    let mut read = 0;
    loop {
        let found = progress(&sent[..read])?;
        let Progress::Wants(wanted) = found else {
            assert!(matches!(found, Progress::Complete { bytes, .. } if bytes == read));
            return Ok(Some(found));
        };
        assert!(wanted > 0 && read + wanted <= PROXY_HEADER_BYTES_MAX);
        if read == sent.len() {
            return Ok(None);
        }
        read = (read + wanted.min(piece_max)).min(sent.len());
    }
}

/// A mechanism and any bytes as the response of a login: what is taken says all of the response. The same bytes
/// as the text of a hash: what is taken is written so that it is read equal.
pub fn sasl(data: &[u8]) {
    let Some((which, response)) = data.split_first() else {
        return;
    };
    let mechanisms = [
        AuthMechanism::Plain,
        AuthMechanism::AmqPlain,
        AuthMechanism::RabbitCrDemo,
        AuthMechanism::External,
        AuthMechanism::Anonymous,
    ];
    let mechanism = mechanisms[usize::from(*which) % mechanisms.len()];
    match (mechanism, sasl::claim(mechanism, response)) {
        (AuthMechanism::Plain, Some(Claim::Password(login))) => {
            assert_eq!(
                response,
                [b"\0", login.name, b"\0", login.password].concat()
            );
            shows_no_password(&login);
        }
        (AuthMechanism::AmqPlain, Some(Claim::Password(login))) => {
            for part in [login.name, login.password] {
                assert!(part.is_empty() || response.windows(part.len()).any(|one| one == part));
            }
            shows_no_password(&login);
        }
        (AuthMechanism::Plain | AuthMechanism::AmqPlain, None) => {}
        (AuthMechanism::RabbitCrDemo, Some(Claim::Name(name))) => assert_eq!(name, response),
        (AuthMechanism::External, Some(Claim::Certificate))
        | (AuthMechanism::Anonymous, Some(Claim::Anybody)) => {}
        (_, other) => panic!("{other:?}"),
    }
    if let Some(password) = sasl::demo_answer(response) {
        assert!(response.ends_with(password));
    }
    if let Some(hash) = str::from_utf8(response)
        .ok()
        .and_then(|text| PasswordHash::from_text(text, None))
    {
        for text in [hash.to_text(), hash.to_base64()] {
            let again = PasswordHash::from_text(&text, Some(hash.algorithm()));
            assert!(again.expect("what was written is read") == hash);
        }
    }
}

fn shows_no_password(login: &Credentials<'_>) {
    let masked = Credentials {
        password: b"",
        ..*login
    };
    assert_eq!(format!("{login:?}"), format!("{masked:?}"));
}

/// Entries as length, key, length, value, with lengths of one and two octets.
fn entries(mut data: &[u8]) -> Entries {
    let mut entries = Entries::new();
    while let Some((key, rest)) = piece::<1>(data) {
        let (value, rest) = piece::<2>(rest).unwrap_or_default();
        entries.push((key.to_vec(), value.to_vec()));
        data = rest;
    }
    entries
}

/// A piece behind its length of `N` octets, and what follows it.
fn piece<const N: usize>(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<N>()?;
    let length = length
        .iter()
        .fold(0, |sum, octet| sum << 8 | usize::from(*octet));
    Some(rest.split_at(length.min(rest.len())))
}
