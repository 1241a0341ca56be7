//! An AMQP URI, taken apart.
//!
//! ```text
//!   amqp://user:password@host:port/vhost       everything but the scheme may be left out
//! ```
//!
//! Parts may be percent-encoded (`%2f` is the vhost `/`). An absent or empty vhost means `/`, which is
//! what people mean who write a slash at the end.
//!
//! What it is not: TLS (`amqps`) is refused, not ignored.

use super::PerfError;

/// What a broker on this machine answers to as it is installed.
pub(super) const DEFAULT: &str = "amqp://guest:guest@127.0.0.1:5672/";

const SCHEME: &str = "amqp://";
const PORT: u16 = 5672;

/// Where a broker is and who comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uri {
    /// `host:port`, for the socket and for messages.
    pub(super) address: String,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) vhost: String,
}

impl Uri {
    /// Takes a URI apart.
    ///
    /// # Errors
    /// It is none, or names a scheme other than `amqp`. The message masks the password.
    pub(super) fn parse(text: &str) -> Result<Self, PerfError> {
        Self::parts(text).map_err(|why| PerfError::Uri {
            uri: masked(text),
            why,
        })
    }

    fn parts(text: &str) -> Result<Self, &'static str> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or("expected amqp://USER:PASSWORD@HOST:PORT/VHOST")?;
        let (authority, vhost) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, address) = authority
            .rsplit_once('@')
            .unwrap_or(("guest:guest", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        Ok(Self {
            address: with_port(address)?,
            user: decoded(user)?,
            password: decoded(password)?,
            vhost: match decoded(vhost)? {
                vhost if vhost.is_empty() => "/".to_owned(),
                vhost => vhost,
            },
        })
    }
}

/// `host:port`; an IPv6 host stands in brackets, so that its colons are not a port's.
fn with_port(address: &str) -> Result<String, &'static str> {
    let host_end = address.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match address.get(host_end..).and_then(|rest| rest.rfind(':')) {
        Some(colon) => (
            address.get(..host_end + colon).unwrap_or_default(),
            address.get(host_end + colon + 1..).unwrap_or_default(),
        ),
        None => (address, ""),
    };
    if host.is_empty() {
        return Err("there is no host");
    }
    let port = match port {
        "" => PORT,
        port => port.parse().map_err(|_| "the port is not a number")?,
    };
    Ok(format!("{host}:{port}"))
}

fn decoded(part: &str) -> Result<String, &'static str> {
    const WRONG: &str = "a percent sign must be followed by two hexadecimal digits";
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let (digits, left) = after.split_at_checked(2).ok_or(WRONG)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| WRONG)?);
        rest = left;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| "a part is not UTF-8")
}

/// The URI as it may be shown.
fn masked(text: &str) -> String {
    let Some((before, after)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    let login_start = before.find("://").map_or(0, |scheme| scheme + 3);
    let (scheme, login) = before.split_at(login_start);
    let user = login.split(':').next().unwrap_or_default();
    format!("{scheme}{user}:***@{after}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn parts(text: &str) -> [String; 4] {
        let uri = Uri::parse(text).unwrap();
        [uri.address, uri.user, uri.password, uri.vhost]
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let defaults = ["127.0.0.1:5672", "guest", "guest", "/"];
        assert_eq!(parts(DEFAULT), defaults);
        assert_eq!(parts("amqp://127.0.0.1"), defaults);
        assert_eq!(parts("amqp://a@[::1]/v"), ["[::1]:5672", "a", "", "v"]);
        assert_eq!(parts("amqp://a:b:c@[::1]:7/"), ["[::1]:7", "a", "b:c", "/"]);
    }

    #[test]
    fn parts_are_decoded() {
        assert_eq!(
            parts("amqp://u%40x:p%2F%c3%a9@h:1/%2f"),
            ["h:1", "u@x", "p/é", "/"]
        );
    }

    #[test]
    fn errors_name_the_uri_without_its_password() {
        for (text, message) in [
            ("amqps://h", "option --uri amqps://h: expected amqp://"),
            ("amqp://u:secret@:1", "amqp://u:***@:1: there is no host"),
            ("amqp://u:secret@h:x", "amqp://u:***@h:x: the port is not"),
            ("amqp://h/%+2", "%+2: a percent sign"),
            ("amqp://h/%f", "%f: a percent sign"),
            ("amqp://h/%ff", "%ff: a part is not UTF-8"),
        ] {
            let error = Uri::parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
