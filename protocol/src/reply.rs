//! Reply codes, and [`Fault`]: what a peer did wrong, said so that one place can turn it into
//! `channel.close` or `connection.close`.
//!
//! The code alone decides how far a fault reaches (ERR-01); the class and method numbers name the
//! method that failed, or are zero where no method is to blame (ERR-04).

/// An AMQP reply code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyCode {
    /// 200, for a close that is nobody's fault
    ReplySuccess,
    /// 311
    ContentTooLarge,
    /// 312, only in `basic.return`
    NoRoute,
    /// 320
    ConnectionForced,
    /// 402
    InvalidPath,
    /// 403
    AccessRefused,
    /// 404
    NotFound,
    /// 405
    ResourceLocked,
    /// 406
    PreconditionFailed,
    /// 501
    FrameError,
    /// 502
    SyntaxError,
    /// 503
    CommandInvalid,
    /// 504
    ChannelError,
    /// 505
    UnexpectedFrame,
    /// 506
    ResourceError,
    /// 530
    NotAllowed,
    /// 540
    NotImplemented,
    /// 541
    InternalError,
}

impl ReplyCode {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        self.row().0
    }

    /// The constant's name as it opens a reply text (ERR-03).
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// True when the code closes the whole connection, false when it closes one channel (ERR-01).
    pub fn is_connection_error(self) -> bool {
        matches!(self.number(), 320 | 402 | 501..)
    }

    fn row(self) -> (u16, &'static str) {
        match self {
            Self::ReplySuccess => (200, "REPLY_SUCCESS"),
            Self::ContentTooLarge => (311, "CONTENT_TOO_LARGE"),
            Self::NoRoute => (312, "NO_ROUTE"),
            Self::ConnectionForced => (320, "CONNECTION_FORCED"),
            Self::InvalidPath => (402, "INVALID_PATH"),
            Self::AccessRefused => (403, "ACCESS_REFUSED"),
            Self::NotFound => (404, "NOT_FOUND"),
            Self::ResourceLocked => (405, "RESOURCE_LOCKED"),
            Self::PreconditionFailed => (406, "PRECONDITION_FAILED"),
            Self::FrameError => (501, "FRAME_ERROR"),
            Self::SyntaxError => (502, "SYNTAX_ERROR"),
            Self::CommandInvalid => (503, "COMMAND_INVALID"),
            Self::ChannelError => (504, "CHANNEL_ERROR"),
            Self::UnexpectedFrame => (505, "UNEXPECTED_FRAME"),
            Self::ResourceError => (506, "RESOURCE_ERROR"),
            Self::NotAllowed => (530, "NOT_ALLOWED"),
            Self::NotImplemented => (540, "NOT_IMPLEMENTED"),
            Self::InternalError => (541, "INTERNAL_ERROR"),
        }
    }
}

/// The class and method numbers of a method; `(0, 0)` where no method is to blame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MethodId {
    /// The class number.
    pub class_id: u16,
    /// The method number.
    pub method_id: u16,
}

impl MethodId {
    /// No method is to blame: frame errors, logins, limits, operator closes (ERR-04).
    pub const NONE: Self = Self {
        class_id: 0,
        method_id: 0,
    };

    /// The method `method_id` of class `class_id`.
    pub const fn new(class_id: u16, method_id: u16) -> Self {
        Self {
            class_id,
            method_id,
        }
    }
}

/// Something a peer did that ends its channel or its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The code, which also decides the scope.
    pub code: ReplyCode,
    /// What is wrong, without the code's name; empty for a bare `INTERNAL_ERROR` (ERR-05).
    pub explanation: String,
    /// The method to blame. Zero until [`Fault::caused_by`] names it.
    pub method: MethodId,
}

/// The most bytes of a reply text (ERR-03).
const REPLY_TEXT_MAX: usize = 255;
/// Where a longer text is cut to leave room for the dots (ERR-03).
const REPLY_TEXT_CUT: usize = 252;

impl Fault {
    /// A fault with no method to blame yet.
    pub fn new(code: ReplyCode, explanation: impl Into<String>) -> Self {
        Self {
            code,
            explanation: explanation.into(),
            method: MethodId::NONE,
        }
    }

    /// The same fault, blamed on `method` unless it already names one.
    #[must_use]
    pub fn caused_by(mut self, method: MethodId) -> Self {
        if self.method == MethodId::NONE {
            self.method = method;
        }
        self
    }

    /// The text of the close frame: `NAME - explanation`, at most 255 bytes (ERR-03).
    pub fn reply_text(&self) -> String {
        let mut text = self.code.name().to_owned();
        if !self.explanation.is_empty() {
            text.push_str(" - ");
            text.push_str(&self.explanation);
        }
        if text.len() > REPLY_TEXT_MAX {
            let cut = (0..=REPLY_TEXT_CUT)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(0);
            text.truncate(cut);
            text.push_str("...");
        }
        text
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code.number(), self.reply_text())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_decides_the_scope() {
        use ReplyCode::*;
        for soft in [
            ContentTooLarge,
            NoRoute,
            AccessRefused,
            NotFound,
            ResourceLocked,
            PreconditionFailed,
        ] {
            assert!(!soft.is_connection_error(), "{soft:?}");
        }
        for hard in [
            ConnectionForced,
            InvalidPath,
            FrameError,
            SyntaxError,
            CommandInvalid,
            ChannelError,
            UnexpectedFrame,
            ResourceError,
            NotAllowed,
            NotImplemented,
            InternalError,
        ] {
            assert!(hard.is_connection_error(), "{hard:?}");
        }
    }

    #[test]
    fn long_texts_are_cut_to_255_bytes_with_dots() {
        let text = Fault::new(ReplyCode::NotFound, "é".repeat(200)).reply_text();
        assert!(text.len() <= 255 && text.ends_with("..."), "{text}");
        assert!(text.starts_with("NOT_FOUND - é"));
    }

    #[test]
    fn a_bare_internal_error_has_no_explanation() {
        assert_eq!(
            Fault::new(ReplyCode::InternalError, "").reply_text(),
            "INTERNAL_ERROR"
        );
    }
}
