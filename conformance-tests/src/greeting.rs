//! Tells from the first bytes of a port that does not speak AMQP 0-9-1 what it speaks instead.
//!
//! What it is not: it does no I/O, and a guess changes no verdict; it only makes an error easier to read.

/// Records of TLS: an alert, a handshake.
const TLS_RECORDS: [u8; 2] = [0x15, 0x16];
/// The major version in every TLS record.
const TLS_MAJOR: u8 = 0x03;

/// What the other side seems to speak, in half a sentence.
pub(crate) fn guess(first: &[u8]) -> Option<String> {
    match first {
        [b'A', b'M', b'Q', b'P', rest @ ..] => Some(amqp(rest)),
        [b'H', b'T', b'T', b'P', b'/', ..] => Some("it speaks HTTP".to_owned()),
        [b'S', b'S', b'H', b'-', ..] => Some("it speaks SSH".to_owned()),
        [record, TLS_MAJOR, ..] if TLS_RECORDS.contains(record) => Some("it speaks TLS".to_owned()),
        _ => None,
    }
}

fn amqp(version: &[u8]) -> String {
    match version {
        [protocol, major, minor, revision, ..] => {
            let speaks = match major {
                1 => "it speaks AMQP 1.0",
                _ => "it refuses AMQP 0-9-1",
            };
            format!("{speaks}, its header is AMQP {protocol} {major} {minor} {revision}")
        }
        _ => "it answers with half a protocol header".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_told_apart_by_their_first_bytes() {
        let guessed = |first: &[u8]| guess(first).unwrap_or_default();
        assert_eq!(guessed(b"HTTP/1.1 400 Bad Request\r\n"), "it speaks HTTP");
        assert_eq!(guessed(b"\x15\x03\x01\x00\x02\x02\x46"), "it speaks TLS");
        assert!(guessed(b"AMQP\x03\x01\x00\x00").starts_with("it speaks AMQP 1.0,"));
        assert!(guessed(b"AMQP\x00\x00\x09\x01").starts_with("it refuses AMQP 0-9-1,"));
        assert!(guessed(b"AMQP\x00").contains("half"));
        assert_eq!(guess(b""), None);
        // A frame: a method on channel 0.
        assert_eq!(guess(b"\x01\x00\x00\x00\x00\x01\xf5"), None);
    }
}
