//! Methods: the verbs of AMQP, parsed from and written to the payload of method frames.
//!
//! `table.rs` is the specification as one table; `macros.rs` turns it into code. Everything parsed
//! here borrows the payload and allocates nothing.

mod macros;
mod table;

pub use table::{Method, access, basic, channel, confirm, connection, exchange, queue, tx};

use bytes::BytesMut;

use crate::encode;

/// The frame type of a method frame.
pub const FRAME_METHOD: u8 = 1;

impl<'a> Method<'a> {
    /// True for the methods that a content header must follow.
    pub fn carries_content(&self) -> bool {
        use basic::Method::{Deliver, GetOk, Publish, Return};
        matches!(
            self,
            Self::Basic(Publish(_) | Return(_) | Deliver(_) | GetOk(_))
        )
    }

    /// Writes the method as one frame.
    pub fn write_frame(&self, channel: u16, out: &mut BytesMut) {
        encode::frame(out, FRAME_METHOD, channel, |out| self.write(out));
    }
}

/// Writes any method as one frame.
pub fn write_frame<'a>(method: impl Into<Method<'a>>, channel: u16, out: &mut BytesMut) {
    method.into().write_frame(channel, out);
}
