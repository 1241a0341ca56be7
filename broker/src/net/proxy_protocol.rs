//! The PROXY protocol, versions 1 and 2: what a proxy says about a client before the client's first byte.
//!
//! ```text
//!   received so far ──▶ progress ──▶ Wants(n): n more bytes belong to the header for certain
//!                          │    └──▶ Complete: who the client is
//!                          └───────▶ ProxyError: this is no header, or a broken one
//! ```
//!
//! What it is not: a judge of who may send a header, which is for the listener, and it reads no socket.
//!
//! Invariants: whoever reads as many bytes as are wanted, and no more, never reads a byte that belongs to
//! the client. A header that is broken is refused at the first byte that shows it; nothing is kept of it but
//! one address, so that no length in it makes anybody allocate.
//!
//! Source: "The PROXY protocol, versions 1 & 2" of HAProxy.

mod binary;
mod line;

use std::net::SocketAddr;

use thiserror::Error;

/// Longest header of version 2 in bytes. The protocol allows 65551; addresses are at most 216 bytes, and
/// what else a proxy tells, a client's certificate at the most, has room in the rest.
pub const PROXY_HEADER_BYTES_MAX: usize = 8_192;

/// How far a header has been received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// At least so many more bytes belong to it; never zero.
    Wants(usize),
    /// It is there as a whole.
    Complete {
        /// Whom it speaks of.
        origin: Origin,
        /// How long it is.
        bytes: usize,
    },
}

/// Whom a header speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client with this address.
    Client(SocketAddr),
    /// A client whose address is not told.
    Unknown,
    /// The proxy itself (LOCAL), which looks whether we live.
    Proxy,
}

/// Bytes that are no header of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// They begin like no header.
    #[error("no PROXY header where one is needed")]
    NoHeader,
    /// Version 1: no end of the line after 107 bytes.
    #[error("the PROXY line does not end")]
    EndlessLine,
    /// Version 1: the line is not made as it has to be.
    #[error("the PROXY line is broken")]
    BrokenLine,
    /// Version 2: a version or a command that does not exist.
    #[error("the PROXY header has the unknown version and command {0:#04x}")]
    Command(u8),
    /// Version 2: a kind of address that does not exist, or that no stream has.
    #[error("the PROXY header has the unknown kind of address {0:#04x}")]
    Family(u8),
    /// Version 2: longer than [`PROXY_HEADER_BYTES_MAX`].
    #[error("the PROXY header announces {0} bytes, which is too long")]
    TooLong(u16),
    /// Version 2: too short for the addresses that it announces.
    #[error("the PROXY header announces {0} bytes, which is too short for its addresses")]
    TooShort(u16),
    /// Version 2: an extension that is longer than what is left of the header.
    #[error("the PROXY header has an extension that is longer than itself")]
    Overrun,
}

/// Reads what has been received of a header, from its first byte on.
///
/// # Errors
/// This can become no header any more.
pub fn progress(received: &[u8]) -> Result<Progress, ProxyError> {
    if received.is_empty() {
        return Ok(Progress::Wants(line::BYTES_MIN));
    }
    if begins_like(received, binary::SIGNATURE) {
        return binary::progress(received);
    }
    match begins_like(received, line::SIGNATURE) {
        true => line::progress(received),
        false => Err(ProxyError::NoHeader),
    }
}

/// Whether a header can begin with this byte; neither AMQP nor TLS does.
#[must_use]
pub fn may_begin_with(byte: u8) -> bool {
    [binary::SIGNATURE, line::SIGNATURE]
        .iter()
        .any(|signature| signature.first() == Some(&byte))
}

/// Whether there is no difference up to the end of the shorter.
fn begins_like(received: &[u8], signature: &[u8]) -> bool {
    received
        .iter()
        .zip(signature)
        .all(|(one, other)| one == other)
}

#[cfg(test)]
mod tests;
