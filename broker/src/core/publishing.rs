//! What a publisher may put into a message's properties, and what the broker reads out of them.
//!
//! ```text
//! expiration a time? ▶ CC, BCC arrays? ▶ delivery-mode known? ▶ Publishing
//! ```
//!
//! That is RabbitMQ 3.x's order (PUB-04); size, permissions, exchange, reply-to and user-id come
//! before it and are judged elsewhere.
//!
//! What it is not: a router. It says which keys to route with, not where they lead.

use leveret_protocol::{Array, Fault, Outline, Properties, ShortStr, Table, TableBuf, Value};

use crate::core::argument_checks::{EXPIRY_MS_MAX, Why, precondition_failed};
use crate::core::erlang_text::{pair, string};
use crate::core::message::{Message, Usual};

/// Properties that have passed their checks, and what queues ask of them.
#[derive(Clone, Copy, Debug)]
pub struct Publishing<'a> {
    properties: Properties<'a>,
    blind: Option<Array<'a>>,
    /// True for delivery-mode 2; absent means transient (PUB-12).
    pub persistent: bool,
    /// The priority property, 0 when absent (PRIO-02).
    pub priority: u8,
    /// The expiration property in milliseconds.
    pub expiration_ms: Option<u64>,
}

impl<'a> Publishing<'a> {
    /// Judges a message's properties.
    ///
    /// # Errors
    /// 406 for an expiration that is no time, a CC or BCC header that is no array,
    /// and an unknown delivery mode (PUB-05, PUB-08, PUB-11).
    pub fn check(properties: Properties<'a>) -> Result<Self, Fault> {
        let expiration_ms = check_expiration(&properties)?;
        key_array(properties.headers, CC).map_err(invalid_message)?;
        let blind = key_array(properties.headers, BCC).map_err(invalid_message)?;
        Ok(Self {
            properties,
            blind,
            persistent: check_delivery_mode(&properties).map_err(invalid_message)?,
            priority: properties.priority.unwrap_or_default(),
            expiration_ms,
        })
    }

    /// The properties as they are to be queued, if they must differ from what came: a BCC header is
    /// taken out and everything else stays, even a header table that is empty now (PUB-10, TABLE-07).
    pub fn rewritten_properties(&self) -> Option<Vec<u8>> {
        let headers = self.properties.headers?;
        headers.get(BCC)?;
        let headers = without(headers, BCC);
        let properties = Properties {
            headers: Some(headers.view()),
            ..self.properties
        };
        Some(properties.to_bytes())
    }

    /// The keys of the BCC header, for [`Message::with_blind_keys`].
    pub fn blind_keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        keys_in(self.blind)
    }
}

/// The property section of a message without properties.
const NO_PROPERTIES: [u8; 2] = [0, 0];

/// What queues ask of properties that pass [`Publishing::check`] whoever publishes, are not rewritten
/// (as those of requests for direct replies are), and hold neither an expiration nor further routing keys. Most properties are of this kind, and are
/// known for it without being parsed. `None` means that they have to be.
#[inline]
pub fn usual(properties: &[u8]) -> Option<Usual> {
    if properties == NO_PROPERTIES {
        return Some(Usual::default());
    }
    let outline = Outline::read(properties)?;
    let is_special = outline.names_copies
        || outline.expires()
        || outline.claims_user()
        || outline.asks_for_direct_reply;
    let persistent = is_persistent(outline.delivery_mode)?;
    (!is_special).then(|| Usual {
        persistent,
        priority: outline.priority.unwrap_or_default(),
    })
}

/// The keys to route a message with: its own, then those of its CC header, then the blind ones
/// (PUB-09, DLX-03). `headers` are the message's. A target reached twice gets one copy (PUB-10).
pub fn routing_keys<'m>(
    message: &'m Message,
    headers: Option<Table<'m>>,
) -> impl Iterator<Item = &'m [u8]> {
    visible_routing_keys(message, headers).chain(message.blind_keys())
}

/// The same keys, each once: a peer may repeat a key thousands of times, and a target reached twice
/// gets one copy all the same.
pub fn distinct_routing_keys<'m>(
    message: &'m Message,
    headers: Option<Table<'m>>,
) -> Vec<&'m [u8]> {
    let mut keys: Vec<_> = routing_keys(message, headers).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The keys that others may know of: [`routing_keys`] without the blind ones (DLX-12).
pub(crate) fn visible_routing_keys<'m>(
    message: &'m Message,
    headers: Option<Table<'m>>,
) -> impl Iterator<Item = &'m [u8]> {
    let copies = key_array(headers, CC).ok().flatten();
    std::iter::once(message.routing_key()).chain(keys_in(copies))
}

/// The header whose keys everyone may see.
pub(crate) const CC: &str = "CC";
/// The header whose keys nobody may see.
const BCC: &str = "BCC";

/// The same headers in the same order without any entry of this name.
fn without(headers: Table<'_>, name: &str) -> TableBuf {
    TableBuf::from_raw_entries(
        headers
            .entries()
            .filter(|(key, _)| key.0 != name.as_bytes()),
    )
}

/// PUB-05
fn check_expiration(properties: &Properties<'_>) -> Result<Option<u64>, Fault> {
    let Some(text) = properties.expiration else {
        return Ok(None);
    };
    parse_expiration(text.0)
        .map(Some)
        .map_err(|why| precondition_failed(format!("invalid expiration '{text}': {why}")))
}

/// A sign, digits and nothing else. There may be more digits than any number type holds.
fn parse_expiration(text: &[u8]) -> Result<u64, Why> {
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let end = unsigned.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, leftover) = unsigned.split_at(end);
    if digits.is_empty() {
        return Err("no_integer".to_owned());
    }
    if !leftover.is_empty() {
        return Err(pair("leftover_string", string(leftover)));
    }
    let digits = String::from_utf8_lossy(digits);
    match (negative, digits.trim_start_matches('0')) {
        (_, "") => Ok(0),
        (true, digits) => Err(pair("value_negative", format!("-{digits}"))),
        (false, digits) => match digits.parse() {
            Ok(ms @ 0..=EXPIRY_MS_MAX) => Ok(ms),
            _ => Err(pair("value_too_large", digits)),
        },
    }
}

/// PUB-11, PUB-12; `None` for a mode that is unknown.
fn is_persistent(delivery_mode: Option<u8>) -> Option<bool> {
    match delivery_mode {
        None | Some(1) => Some(false),
        Some(2) => Some(true),
        Some(_) => None,
    }
}

fn check_delivery_mode(properties: &Properties<'_>) -> Result<bool, Why> {
    let mode = properties.delivery_mode;
    is_persistent(mode).ok_or_else(|| pair("delivery_mode_unknown", mode.unwrap_or_default()))
}

/// The array of a CC or BCC header (PUB-08).
fn key_array<'a>(headers: Option<Table<'a>>, name: &str) -> Result<Option<Array<'a>>, Why> {
    match headers.and_then(|headers| headers.get(name)) {
        None => Ok(None),
        Some(Value::Array(keys)) => Ok(Some(keys)),
        Some(other) => Err(pair(
            "unacceptable_type_in_header",
            format!("\"{name}\",{}", other.type_name()),
        )),
    }
}

/// Elements that are not long strings are no keys (PUB-08), and neither is what no binding can be
/// made for: a key is a short string.
fn keys_in<'a>(array: Option<Array<'a>>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    array
        .into_iter()
        .flat_map(Array::values)
        .filter_map(|value| value.as_long_str())
        .filter(|key| key.len() <= ShortStr::LEN_MAX)
}

fn invalid_message(why: Why) -> Fault {
    precondition_failed(format!("invalid message: {why}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::direct_reply::REPLY_QUEUE;
    use crate::core::message::MessageParts;
    use leveret_protocol::content::Body;
    use leveret_protocol::{ArrayBuf, ShortStr};

    fn said(properties: Properties<'_>) -> String {
        Publishing::check(properties).unwrap_err().reply_text()
    }

    fn expiring(text: &str) -> Properties<'_> {
        Properties {
            expiration: Some(ShortStr(text.as_bytes())),
            ..Properties::default()
        }
    }

    fn with_headers(headers: &TableBuf) -> Properties<'_> {
        Properties {
            headers: Some(headers.view()),
            ..Properties::default()
        }
    }

    fn keys(list: &[&'static str]) -> ArrayBuf {
        list.iter()
            .map(|key| Value::LongStr(key.as_bytes()))
            .collect()
    }

    #[test]
    fn pub_04_expiration_then_copies_then_delivery_mode() {
        let headers = TableBuf::from_entries([("CC", Value::I8(1))]);
        let mut properties = Properties {
            delivery_mode: Some(3),
            expiration: Some("z".into()),
            ..with_headers(&headers)
        };
        assert!(said(properties).contains("expiration"));
        properties.expiration = None;
        assert!(said(properties).contains("unacceptable_type_in_header"));
        properties.headers = None;
        assert!(said(properties).contains("delivery_mode_unknown"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_usual_passes_the_checks_whoever_publishes_and_stays_as_it_is(
            delivery_mode in proptest::option::of(0..4_u8),
            priority in proptest::option::of(0..=255_u8),
            expiration in proptest::option::weighted(0.2, "-?[0-9]{0,3}"),
            user_id in proptest::option::weighted(0.2, "guest|other|"),
            header in proptest::option::of("CC|BCC|cc|x"),
            reply_to in proptest::option::of("(amq.rabbitmq.reply-to)?x?"),
            copies in 0..3_usize,
        ) {
            let copies: ArrayBuf = (0..copies).map(|_| Value::LongStr(b"key")).collect();
            let headers = header.as_ref().map(|name| {
                TableBuf::from_entries([(name.as_str(), Value::Array(copies.view()))])
            });
            let properties = Properties {
                delivery_mode,
                priority,
                headers: headers.as_ref().map(TableBuf::view),
                expiration: expiration.as_deref().map(ShortStr::from),
                user_id: user_id.as_deref().map(ShortStr::from),
                reply_to: reply_to.as_deref().map(ShortStr::from),
                ..Properties::default()
            };
            let Some(usual) = usual(&properties.to_bytes()) else {
                let is_request = reply_to.as_deref() == Some(REPLY_QUEUE);
                let is_plain = headers.is_none()
                    && expiration.is_none()
                    && user_id.is_none()
                    && !is_request;
                assert!(!is_plain || delivery_mode.is_some_and(|mode| !(1..=2).contains(&mode)));
                return Ok(());
            };
            assert_ne!(reply_to.as_deref(), Some(REPLY_QUEUE));
            let checked = Publishing::check(properties).unwrap();
            assert_eq!(usual.persistent, checked.persistent);
            assert_eq!(usual.priority, checked.priority);
            assert_eq!(checked.expiration_ms, None);
            assert_eq!(checked.rewritten_properties(), None);
            assert_eq!(checked.blind_keys().count(), 0);
            let message = Message::new(MessageParts {
                exchange: b"",
                routing_key: b"own",
                properties: &properties.to_bytes(),
                body: Body::Whole(b""),
                persistent: usual.persistent,
                priority: usual.priority,
                expiration_ms: None,
            }, &mut Vec::new());
            assert_eq!(distinct_routing_keys(&message, properties.headers), [b"own"]);
        }
    }

    #[test]
    fn pub_05_what_is_a_time() {
        let read = |text| Publishing::check(expiring(text)).unwrap().expiration_ms;
        assert_eq!(read("+5"), Some(5));
        assert_eq!(read("007"), Some(7));
        assert_eq!(read("-0"), Some(0));
        assert_eq!(read("315360000000"), Some(315_360_000_000));
    }

    #[test]
    fn pub_05_what_is_no_time_and_why() {
        let sixty_nines = "9".repeat(60);
        let refused = [
            ("", "no_integer"),
            ("abc", "no_integer"),
            (" 5", "no_integer"),
            ("+", "no_integer"),
            ("--5", "no_integer"),
            ("1.5", "{leftover_string,\".5\"}"),
            ("100 ", "{leftover_string,\" \"}"),
            ("1e3", "{leftover_string,\"e3\"}"),
            ("5\n", "{leftover_string,\"\\n\"}"),
            ("5\u{1}", "{leftover_string,[1]}"),
            ("-1", "{value_negative,-1}"),
            ("-0012", "{value_negative,-12}"),
            ("315360000001", "{value_too_large,315360000001}"),
            (
                "0099999999999999999999",
                "{value_too_large,99999999999999999999}",
            ),
            (&sixty_nines, &format!("{{value_too_large,{sixty_nines}}}")),
        ];
        for (text, why) in refused {
            assert_eq!(
                said(expiring(text)),
                format!("PRECONDITION_FAILED - invalid expiration '{text}': {why}")
            );
        }
    }

    #[test]
    fn pub_08_copies_are_arrays() {
        for name in ["CC", "BCC"] {
            let headers = TableBuf::from_entries([(name, Value::LongStr(b"key"))]);
            assert_eq!(
                said(with_headers(&headers)),
                format!(
                    "PRECONDITION_FAILED - invalid message: \
                     {{unacceptable_type_in_header,\"{name}\",longstr}}"
                )
            );
        }
        let lower = TableBuf::from_entries([("cc", Value::I8(1)), ("Bcc", Value::I8(1))]);
        assert!(Publishing::check(with_headers(&lower)).is_ok());
    }

    #[test]
    fn pub_09_keys_are_the_own_one_then_cc_then_bcc() {
        let copies: ArrayBuf = [Value::LongStr(b"c1"), Value::I8(3), Value::LongStr(b"c2")]
            .into_iter()
            .collect();
        let blind = keys(&["b1"]);
        let headers = TableBuf::from_entries([
            ("BCC", Value::Array(blind.view())),
            ("CC", Value::Array(copies.view())),
        ]);
        let publishing = Publishing::check(with_headers(&headers)).unwrap();
        let properties = publishing.rewritten_properties().unwrap();
        let parts = MessageParts {
            exchange: b"x",
            routing_key: b"own",
            properties: &properties,
            body: Body::Whole(b""),
            persistent: false,
            priority: 0,
            expiration_ms: None,
        };
        let message = Message::with_blind_keys(parts, publishing.blind_keys(), &mut Vec::new());
        let headers = Properties::parse(message.properties()).unwrap().headers;
        let routed: Vec<_> = routing_keys(&message, headers).collect();
        assert_eq!(routed, [&b"own"[..], b"c1", b"c2", b"b1"]);
    }

    #[test]
    fn pub_10_bcc_goes_and_the_rest_stays_in_place() {
        let blind = keys(&["hidden"]);
        let blind = Value::Array(blind.view());
        let headers = TableBuf::from_entries([
            ("z", Value::I32(1)),
            ("BCC", blind),
            ("BCC", blind),
            ("a", Value::Bool(true)),
        ]);
        let properties = Properties {
            delivery_mode: Some(2),
            message_id: Some("m".into()),
            ..with_headers(&headers)
        };
        let publishing = Publishing::check(properties).unwrap();
        let bytes = publishing.rewritten_properties().unwrap();
        let rest = TableBuf::from_entries([("z", Value::I32(1)), ("a", Value::Bool(true))]);
        let expected = Properties {
            headers: Some(rest.view()),
            ..properties
        };
        assert_eq!(Properties::parse(&bytes).unwrap(), expected);
    }

    #[test]
    fn table_07_a_header_table_that_only_had_bcc_stays_as_an_empty_one() {
        let blind = keys(&["hidden"]);
        let headers = TableBuf::from_entries([("BCC", Value::Array(blind.view()))]);
        let publishing = Publishing::check(with_headers(&headers)).unwrap();
        let bytes = publishing.rewritten_properties().unwrap();
        assert_eq!(bytes, [0x20, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn pub_14_properties_without_bcc_are_left_as_they_came() {
        let headers = TableBuf::from_entries([("CC", Value::Array(keys(&["c"]).view()))]);
        let publishing = Publishing::check(with_headers(&headers)).unwrap();
        assert_eq!(publishing.rewritten_properties(), None);
        let publishing = Publishing::check(Properties::default()).unwrap();
        assert_eq!(publishing.rewritten_properties(), None);
    }

    #[test]
    fn pub_11_delivery_mode_is_one_or_two() {
        let mode = |mode| Properties {
            delivery_mode: mode,
            ..Properties::default()
        };
        for (given, persistent) in [(None, false), (Some(1), false), (Some(2), true)] {
            let publishing = Publishing::check(mode(given)).unwrap();
            assert_eq!(publishing.persistent, persistent);
        }
        for wrong in [0, 3] {
            assert_eq!(
                said(mode(Some(wrong))),
                format!("PRECONDITION_FAILED - invalid message: {{delivery_mode_unknown,{wrong}}}")
            );
        }
    }
}
