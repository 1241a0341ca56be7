//! Policies as keys and values of the catalog.
//!
//! ```text
//!   key    kind u8 | vhost bytes | name bytes
//!     'p'  policy              version u8 | apply-to u8 | priority i64 | pattern bytes | definition bytes
//!     'o'  operator policy     the same
//! ```
//!
//! *Bytes* are as in [`super::catalog`]; the priority is little-endian. *Apply-to* is 0 all, 1 queues,
//! 2 classic queues, 3 quorum queues, 4 streams, 5 exchanges. The definition is a field table whose values
//! are 64-bit integers, long strings, booleans, and arrays of these.
//!
//! Invariant: what is read was judged anew; a policy that may not be set any more stops the start instead
//! of being passed over.

use leveret_protocol::{ArrayBuf, Table, TableBuf, Value};

use super::bytes::{Reader, put_bytes};
use super::catalog::{VERSION, Why};
use crate::core::policy::{ApplyTo, Policy, PolicyKind, PolicyValue};

const POLICY: u8 = b'p';
const OPERATOR_POLICY: u8 = b'o';

/// Where a policy is in the catalog.
pub(super) fn key(vhost: &str, policy: &Policy) -> Vec<u8> {
    let mut key = vec![match policy.kind() {
        PolicyKind::User => POLICY,
        PolicyKind::Operator => OPERATOR_POLICY,
    }];
    put_bytes(&mut key, vhost.as_bytes());
    put_bytes(&mut key, policy.name().as_bytes());
    key
}

/// The kind, vhost and name in a key; `None` if it is none of a policy.
pub(super) fn decode_key(key: &[u8]) -> Option<(PolicyKind, &str, &str)> {
    let mut from = Reader(key);
    let kind = match from.u8()? {
        POLICY => PolicyKind::User,
        OPERATOR_POLICY => PolicyKind::Operator,
        _ => return None,
    };
    let (vhost, name) = (from.text()?, from.text()?);
    from.is_at_end().then_some((kind, vhost, name))
}

pub(super) fn value(policy: &Policy) -> Vec<u8> {
    let mut value = vec![VERSION, apply_to_byte(policy.apply_to())];
    value.extend_from_slice(&policy.priority().to_le_bytes());
    put_bytes(&mut value, policy.pattern().as_str().as_bytes());
    put_bytes(&mut value, definition(policy).view().as_bytes());
    value
}

fn definition(policy: &Policy) -> TableBuf {
    let entries = policy.definition().iter();
    entries.fold(TableBuf::new(), |table, (key, value)| match value {
        PolicyValue::List(values) => {
            let array: ArrayBuf = values.iter().map(plain).collect();
            table.with(key, Value::Array(array.view()))
        }
        one => table.with(key, plain(one)),
    })
}

/// No key takes lists in lists or other shapes, so that none is ever written.
fn plain(value: &PolicyValue) -> Value<'_> {
    match value {
        PolicyValue::Number(number) => Value::I64(*number),
        PolicyValue::Text(text) => Value::LongStr(text.as_bytes()),
        PolicyValue::Bool(flag) => Value::Bool(*flag),
        PolicyValue::List(_) | PolicyValue::Other(_) => Value::Void,
    }
}

/// Reads a policy that has this key.
pub(super) fn decode(kind: PolicyKind, name: &str, value: &[u8]) -> Result<Policy, Why> {
    let mut from = Reader(value);
    match from.u8() {
        Some(VERSION) => {}
        Some(version) => return Err(Why::Version(version)),
        None => return Err(Why::Malformed),
    }
    let fields = fields(&mut from).filter(|_| from.is_at_end());
    let (apply_to, priority, pattern, definition) = fields.ok_or(Why::Malformed)?;
    let policy = Policy::new(kind, name, pattern, apply_to, priority, definition);
    policy.map_err(|error| Why::Policy(error.reason))
}

type Fields<'a> = (ApplyTo, i64, &'a str, Vec<(Box<str>, PolicyValue)>);

fn fields<'a>(from: &mut Reader<'a>) -> Option<Fields<'a>> {
    let apply_to = *ApplyTo::EVERY.get(usize::from(from.u8()?))?;
    let priority = i64::from_le_bytes(from.array()?);
    let pattern = from.text()?;
    let table = Table::parse(from.bytes()?).ok()?;
    let entries = table.entries().map(|(key, value)| {
        let key = std::str::from_utf8(key.0).ok()?;
        Some((Box::from(key), decode_value(&value)?))
    });
    Some((apply_to, priority, pattern, entries.collect::<Option<_>>()?))
}

fn decode_value(value: &Value<'_>) -> Option<PolicyValue> {
    match value {
        Value::Array(array) => {
            let values = array.values().map(|value| decode_plain(&value));
            Some(PolicyValue::List(values.collect::<Option<_>>()?))
        }
        plain => decode_plain(plain),
    }
}

fn decode_plain(value: &Value<'_>) -> Option<PolicyValue> {
    match value {
        Value::I64(number) => Some(PolicyValue::from(*number)),
        Value::LongStr(bytes) => Some(PolicyValue::from(std::str::from_utf8(bytes).ok()?)),
        Value::Bool(flag) => Some(PolicyValue::from(*flag)),
        _ => None,
    }
}

fn apply_to_byte(apply_to: ApplyTo) -> u8 {
    match apply_to {
        ApplyTo::All => 0,
        ApplyTo::Queues => 1,
        ApplyTo::ClassicQueues => 2,
        ApplyTo::QuorumQueues => 3,
        ApplyTo::Streams => 4,
        ApplyTo::Exchanges => 5,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::durable::catalog::{self, Entry};

    fn policy() -> Policy {
        let definition = [
            ("ha-mode", PolicyValue::from("nodes")),
            ("ha-params", PolicyValue::List(vec!["n".into()])),
            ("max-length", 3.into()),
        ];
        let (kind, apply_to) = (PolicyKind::User, ApplyTo::Queues);
        Policy::new(kind, "p", "^a", apply_to, -2, definition).unwrap()
    }

    #[test]
    fn a_policy_is_written_as_the_format_says() {
        assert_eq!(key("/", &policy()), b"p\x01\0\0\0/\x01\0\0\0p");
        let expected = [
            &b"\x01\x01\xfe\xff\xff\xff\xff\xff\xff\xff"[..],
            b"\x02\0\0\0^a",
            b"\x3b\0\0\0",
            b"\x07ha-modeS\0\0\0\x05nodes",
            b"\x09ha-paramsA\0\0\0\x06S\0\0\0\x01n",
            b"\x0amax-lengthl\0\0\0\0\0\0\0\x03",
        ];
        assert_eq!(value(&policy()), expected.concat());
    }

    #[test]
    fn every_policy_comes_back() {
        for (at, apply_to) in ApplyTo::EVERY.into_iter().enumerate() {
            assert_eq!(usize::from(apply_to_byte(apply_to)), at);
            let definition = [("max-length", 1)];
            let kind = PolicyKind::Operator;
            let policy = Policy::new(kind, "\u{e9}", "", apply_to, i64::MIN, definition).unwrap();
            let entry = catalog::decode(&key("v", &policy), &value(&policy)).unwrap();
            assert_eq!(entry, Entry::Policy("v".into(), policy));
        }
        let entry = catalog::decode(&key("/", &policy()), &value(&policy())).unwrap();
        assert_eq!(entry, Entry::Policy("/".into(), policy()));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_names_the_policy() {
        let (key, value) = (key("/", &policy()), value(&policy()));
        for len in 0..value.len() {
            assert!(catalog::decode(&key, &value[..len]).is_err(), "{len}");
        }
        for len in 0..key.len() {
            assert!(catalog::decode(&key[..len], &value).is_err(), "{len}");
        }
        let spoilt = |at: usize, byte: u8| {
            let mut value = value.clone();
            value[at] = byte;
            catalog::decode(&key, &value).unwrap_err().to_string()
        };
        let named = "catalog entry of policy 'p' in vhost '/': ";
        let version = format!("{named}it is of version 9, and only version 1 is known");
        assert_eq!(spoilt(0, 9), version);
        let malformed = format!("{named}its bytes contradict each other");
        assert_eq!(spoilt(1, 6), malformed);
        let last = value.len() - 8;
        let negative = "-9223372036854775805 is not a valid maximum length";
        assert_eq!(spoilt(last, 0x80), format!("{named}{negative}"));
        assert!(spoilt(14, b'(').contains("is invalid: '(a'"));
    }
}
