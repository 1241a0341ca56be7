//! The words in which RabbitMQ describes a bad frame; clients and people grep for them.

use std::fmt::Write;

use crate::framer::{Frame, FrameError};
use crate::reply::{Fault, ReplyCode};

/// How many octets of a payload are shown (FRAME-02).
const OCTETS_SHOWN_MAX: usize = 16;

/// `type 1, all octets = <<...>>`
pub(super) fn frame(frame: Frame<'_>) -> String {
    let shown = &frame.payload[..frame.payload.len().min(OCTETS_SHOWN_MAX)];
    let whole = shown.len() == frame.payload.len();
    let which = if whole {
        "all octets"
    } else {
        "first 16 octets"
    };
    format!("type {}, {which} = {}", frame.kind, octets(shown))
}

/// `<<1,2,3>>`, as Erlang prints a binary.
pub(super) fn octets(bytes: &[u8]) -> String {
    let mut text = String::from("<<");
    for (n, octet) in bytes.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{octet}");
    }
    text + ">>"
}

/// A stream that can not be followed any more (FRAME-01, FRAME-10).
pub(super) fn frame_error(error: FrameError<'_>, frame_max: usize) -> Fault {
    let text = match error {
        FrameError::TooLarge { kind, size } => {
            let allowed = frame_max.saturating_sub(crate::encode::FRAME_OVERHEAD);
            format!("type {kind}, all octets = <<>>: {{frame_too_large,{size},{allowed}}}")
        }
        FrameError::InvalidEnd { frame: bad, end } => {
            format!("{}: {{invalid_frame_end_marker,{end}}}", frame(bad))
        }
    };
    Fault::new(ReplyCode::FrameError, text)
}

/// A frame of a type that does not exist, or too short to be one of its type (FRAME-02, FRAME-03).
pub(super) fn unknown_frame(bad: Frame<'_>) -> Fault {
    Fault::new(
        ReplyCode::FrameError,
        format!("{}: unknown_frame", frame(bad)),
    )
}

/// A frame that has no business on its channel now (CONN-30, HB-05, FRAME-23).
pub(super) fn unexpected_frame(bad: Frame<'_>) -> Fault {
    Fault::new(ReplyCode::UnexpectedFrame, frame(bad))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_02_long_payloads_show_their_first_sixteen_octets() {
        let short = Frame {
            kind: 4,
            channel: 1,
            payload: &[1, 2],
        };
        assert_eq!(frame(short), "type 4, all octets = <<1,2>>");
        let long = Frame {
            kind: 4,
            channel: 1,
            payload: &[7; 17],
        };
        assert_eq!(
            frame(long),
            "type 4, first 16 octets = <<7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7>>"
        );
    }
}
