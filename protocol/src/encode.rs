//! Writers for the primitive types and for whole frames.
//!
//! Lengths are patched in after the payload is written, so nothing is measured twice. What the
//! caller hands in fits the type: strings longer than their length field are cut, because the only
//! long strings a server writes are texts for people.

use bytes::{BufMut, BytesMut};

/// The octet that ends every frame.
pub const FRAME_END: u8 = 0xCE;
/// Bytes around a frame's payload: type, channel, size and the end octet.
pub const FRAME_OVERHEAD: usize = 8;

/// Writes a short string's length and bytes; at most 255 bytes are taken.
pub(crate) fn put_short_bytes(out: &mut impl BufMut, bytes: &[u8]) {
    let cut = &bytes[..bytes.len().min(crate::value::ShortStr::LEN_MAX)];
    out.put_u8(cut.len() as u8);
    out.put_slice(cut);
}

/// Writes a 32-bit length and the bytes.
pub(crate) fn put_long_bytes(out: &mut impl BufMut, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
}

/// Writes one frame whose payload `write` produces.
pub fn frame(out: &mut BytesMut, kind: u8, channel: u16, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    out.put_u16(channel);
    let size_at = out.len();
    out.put_u32(0);
    write(out);
    let size = (out.len() - size_at - 4) as u32;
    out[size_at..size_at + 4].copy_from_slice(&size.to_be_bytes());
    out.put_u8(FRAME_END);
}
