//! Version 2: sixteen bytes, addresses, and extensions of a type, a length and a value each.
//!
//! ```text
//!   0            12       13       14       16                16 + length
//!   │ signature  │ version│ family │ length │ addresses │ extensions │ the client's first byte
//!                │ command│ kind   │
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Origin, PROXY_HEADER_BYTES_MAX, Progress, ProxyError};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;
/// Two paths.
const UNIX_BYTES: usize = 216;

pub(super) fn progress(received: &[u8]) -> Result<Progress, ProxyError> {
    let Some((fixed, rest)) = received.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Progress::Wants(FIXED_BYTES - received.len()));
    };
    let [.., command, family, high, low] = *fixed;
    if command != LOCAL && command != PROXY {
        return Err(ProxyError::Command(command));
    }
    let announced = u16::from_be_bytes([high, low]);
    let length = usize::from(announced);
    if FIXED_BYTES + length > PROXY_HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong(announced));
    }
    let Some(block) = rest.get(..length) else {
        return Ok(Progress::Wants(length - rest.len()));
    };
    let origin = match command {
        // Whatever the block holds means nothing then.
        LOCAL => Origin::Proxy,
        _ => origin(family, block, announced)?,
    };
    let bytes = FIXED_BYTES + length;
    Ok(Progress::Complete { origin, bytes })
}

fn origin(family: u8, block: &[u8], announced: u16) -> Result<Origin, ProxyError> {
    let addresses = match family {
        UNSPECIFIED => return Ok(Origin::Unknown),
        TCP_OVER_IPV4 => of_ipv4(block),
        TCP_OVER_IPV6 => of_ipv6(block),
        UNIX_STREAM => block.get(UNIX_BYTES..).map(|rest| (Origin::Unknown, rest)),
        other => return Err(ProxyError::Family(other)),
    };
    let (origin, extensions) = addresses.ok_or(ProxyError::TooShort(announced))?;
    check_extensions(extensions)?;
    Ok(origin)
}

/// Source, destination, source port, destination port.
fn of_ipv4(block: &[u8]) -> Option<(Origin, &[u8])> {
    let (source, rest) = block.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let (ports, rest) = rest.split_first_chunk::<4>()?;
    let client = SocketAddr::from((Ipv4Addr::from(*source), source_port(*ports)));
    Some((Origin::Client(client), rest))
}

fn of_ipv6(block: &[u8]) -> Option<(Origin, &[u8])> {
    let (source, rest) = block.split_first_chunk::<16>()?;
    let (_, rest) = rest.split_first_chunk::<16>()?;
    let (ports, rest) = rest.split_first_chunk::<4>()?;
    let client = SocketAddr::from((Ipv6Addr::from(*source), source_port(*ports)));
    Some((Origin::Client(client), rest))
}

fn source_port([high, low, _, _]: [u8; 4]) -> u16 {
    u16::from_be_bytes([high, low])
}

/// None of them says anything to us, but a proxy that cannot count is not to be believed.
fn check_extensions(mut rest: &[u8]) -> Result<(), ProxyError> {
    while !rest.is_empty() {
        let ([_, high, low], value) = rest.split_first_chunk().ok_or(ProxyError::Overrun)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = value.get(length..).ok_or(ProxyError::Overrun)?;
    }
    Ok(())
}
