//! Cuts frames out of a byte buffer.
//!
//! ```text
//! type u8 · channel u16 · size u32 · payload [size] · end octet 0xCE
//! ```
//!
//! A cut borrows the buffer; nothing is copied and nothing is reserved for an announced size. The
//! limit is judged from the seven-byte header, before the payload arrives (FRAME-10).
//!
//! What it is not: it does not know which types exist or what may stand on which channel.

use crate::encode::{FRAME_END, FRAME_OVERHEAD};

/// The frame type of a heartbeat.
pub const FRAME_HEARTBEAT: u8 = 8;
/// Type, channel and size.
pub const FRAME_HEADER_LEN: usize = 7;
/// The heartbeat frame.
pub const HEARTBEAT: [u8; FRAME_OVERHEAD] = [8, 0, 0, 0, 0, 0, 0, FRAME_END];

/// One frame, borrowed from the buffer it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The type octet, known or not.
    pub kind: u8,
    /// The channel number.
    pub channel: u16,
    /// What the type says it is.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// How many bytes of the buffer the frame takes.
    pub fn wire_len(&self) -> usize {
        self.payload.len() + FRAME_OVERHEAD
    }
}

/// What lies at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A whole frame.
    Frame(Frame<'a>),
    /// The beginning of one; this many bytes must be in the buffer before it is worth trying again.
    Incomplete {
        /// The least length of the buffer that could hold the frame.
        wanted: usize,
    },
}

/// Why the bytes are not a frame. After this the stream cannot be followed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError<'a> {
    /// The announced payload is larger than allowed.
    TooLarge {
        /// The type octet.
        kind: u8,
        /// The announced size.
        size: u32,
    },
    /// The octet after the payload is not 0xCE.
    InvalidEnd {
        /// The frame whose end is wrong.
        frame: Frame<'a>,
        /// The octet that stands there.
        end: u8,
    },
}

/// Looks at the start of `input` for a frame with a payload of at most `payload_max` bytes.
///
/// # Errors
/// When the announced size or the end octet is wrong.
#[inline]
pub fn cut(input: &[u8], payload_max: usize) -> Result<Cut<'_>, FrameError<'_>> {
    // Seven bytes of fixed layout, three times per message: taken apart by hand.
    let Some((&[kind, c1, c0, s3, s2, s1, s0], rest)) = input.split_first_chunk() else {
        return Ok(Cut::Incomplete {
            wanted: FRAME_HEADER_LEN,
        });
    };
    let channel = u16::from_be_bytes([c1, c0]);
    let size = u32::from_be_bytes([s3, s2, s1, s0]);
    let len = size as usize;
    if len > payload_max {
        return Err(FrameError::TooLarge { kind, size });
    }
    match (rest.get(..len), rest.get(len)) {
        (Some(payload), Some(&FRAME_END)) => Ok(Cut::Frame(Frame {
            kind,
            channel,
            payload,
        })),
        (Some(payload), Some(&end)) => Err(FrameError::InvalidEnd {
            frame: Frame {
                kind,
                channel,
                payload,
            },
            end,
        }),
        _ => Ok(Cut::Incomplete {
            wanted: len + FRAME_OVERHEAD,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_a_frame() {
        let frame = Frame {
            kind: 8,
            channel: 0,
            payload: &[],
        };
        assert_eq!(cut(&HEARTBEAT, 0), Ok(Cut::Frame(frame)));
        assert_eq!(frame.wire_len(), HEARTBEAT.len());
    }

    #[test]
    fn too_few_bytes_say_how_many_are_wanted() {
        assert_eq!(cut(&[], 10), Ok(Cut::Incomplete { wanted: 7 }));
        assert_eq!(
            cut(&[1, 0, 1, 0, 0, 0, 4, 0], 10),
            Ok(Cut::Incomplete { wanted: 12 })
        );
    }

    #[test]
    fn frame_10_the_limit_is_judged_from_the_header_alone() {
        let header = [1, 0, 1, 0, 0, 0, 11];
        assert_eq!(
            cut(&header, 10),
            Err(FrameError::TooLarge { kind: 1, size: 11 })
        );
        assert!(cut(&header, 11).is_ok());
    }

    #[test]
    fn frame_01_the_end_octet_is_checked() {
        let bytes = [1, 0, 1, 0, 0, 0, 1, 42, 0xCD];
        let frame = Frame {
            kind: 1,
            channel: 1,
            payload: &[42],
        };
        assert_eq!(
            cut(&bytes, 10),
            Err(FrameError::InvalidEnd { frame, end: 0xCD })
        );
    }
}
