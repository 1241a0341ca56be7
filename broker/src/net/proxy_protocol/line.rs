//! Version 1: one line of text, such as `PROXY TCP4 192.0.2.1 192.0.2.9 40000 5672` CR LF.
//!
//! What it is not: lenient. One way to write a line leaves one way to read it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Origin, Progress, ProxyError};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// `PROXY UNKNOWN` and the end of the line; a header of version 2 is longer.
pub(super) const BYTES_MIN: usize = 15;
/// The longest line that the protocol can make, with its end.
const BYTES_MAX: usize = 107;
const END: &[u8] = b"\r\n";

pub(super) fn progress(received: &[u8]) -> Result<Progress, ProxyError> {
    let end = received
        .windows(END.len())
        .position(|bytes| bytes == END)
        .filter(|end| end + END.len() <= BYTES_MAX);
    match end {
        Some(end) => {
            let line = received.get(..end).unwrap_or_default();
            let origin = origin(line).ok_or(ProxyError::BrokenLine)?;
            let bytes = end + END.len();
            Ok(Progress::Complete { origin, bytes })
        }
        None => wanted(received),
    }
}

/// What is missing for certain of a line without its end. A refusal is the one of the shortest beginning that
/// cannot go on, so that it does not depend on the pieces in which a line came.
fn wanted(received: &[u8]) -> Result<Progress, ProxyError> {
    let in_time = received.iter().take(BYTES_MAX);
    let text = in_time.take_while(|byte| is_text_byte(byte)).count();
    let (line, rest) = received.split_at(text);
    let of_end = match rest {
        _ if text + END.len() > BYTES_MAX => return Err(ProxyError::EndlessLine),
        [] => END.len(),
        [b'\r'] if origin(line).is_some() => 1,
        _ => return Err(ProxyError::BrokenLine),
    };
    let least = BYTES_MIN.saturating_sub(received.len());
    Ok(Progress::Wants(least.max(of_end)))
}

fn is_text(line: &[u8]) -> bool {
    line.iter().all(is_text_byte)
}

fn is_text_byte(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~')
}

fn origin(line: &[u8]) -> Option<Origin> {
    let text = std::str::from_utf8(line).ok().filter(|_| is_text(line))?;
    let mut words = text.split(' ');
    let (_, kind) = (words.next()?, words.next()?);
    let address: fn(&str) -> Option<IpAddr> = match kind {
        // Whatever else stands in this line means nothing.
        "UNKNOWN" => return Some(Origin::Unknown),
        "TCP4" => |word| word.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        "TCP6" => |word| word.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        _ => return None,
    };
    let (source, _) = (address(words.next()?)?, address(words.next()?)?);
    let (source_port, _) = (port(words.next()?)?, port(words.next()?)?);
    let is_all = words.next().is_none();
    is_all.then(|| Origin::Client(SocketAddr::new(source, source_port)))
}

/// Decimal digits without sign or leading zeros.
fn port(word: &str) -> Option<u16> {
    let is_plain = word == "0" || (!word.starts_with(['0', '+']));
    is_plain.then(|| word.parse().ok())?
}
