//! nom parsers for the primitive types of AMQP 0-9-1.
//!
//! Every parser here is *complete*: it works on a slice whose length is already known (the payload
//! of one frame), so a short input is an error and never a request for more. Nothing allocates, and
//! nothing reserves room because a length field announced it.
//!
//! What it is not: a framer (see [`crate::framer`]).

use nom::Parser;
use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16, be_u32};

/// How deep tables and arrays may nest inside one another.
///
/// Clients nest two or three levels (`client-properties.capabilities`); the limit keeps the decoder's
/// stack use constant whatever a peer sends.
pub const NESTING_DEPTH_MAX: usize = 16;

/// Why some bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The input ended inside a value, or a length points past the end.
    Truncated,
    /// A field value has a type tag that is not one of RabbitMQ's (TABLE-01).
    UnknownTag(u8),
    /// Tables or arrays nest deeper than [`NESTING_DEPTH_MAX`].
    TooDeep,
    /// Bytes are left over after the last field.
    TrailingBytes,
    /// The class has no method of this number, or there is no such class.
    UnknownMethod {
        /// The class number as it came.
        class_id: u16,
        /// The method number as it came.
        method_id: u16,
    },
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Truncated => f.write_str("the value is cut short"),
            Self::UnknownTag(tag) => write!(f, "unknown field type tag {tag:#04x}"),
            Self::TooDeep => write!(f, "nested deeper than {NESTING_DEPTH_MAX} levels"),
            Self::TrailingBytes => f.write_str("bytes are left over after the last field"),
            Self::UnknownMethod {
                class_id,
                method_id,
            } => {
                write!(f, "unknown method {method_id} of class {class_id}")
            }
        }
    }
}

impl std::error::Error for Malformed {}

impl ParseError<&[u8]> for Malformed {
    fn from_error_kind(_: &[u8], _: ErrorKind) -> Self {
        Self::Truncated
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// The rest of the input and the value, or what is wrong.
pub type Parsed<'a, T> = nom::IResult<&'a [u8], T, Malformed>;

/// Runs a parser over the whole input: anything left over is an error.
#[inline]
pub(crate) fn all<'a, T>(
    input: &'a [u8],
    parser: impl Fn(&'a [u8]) -> Parsed<'a, T>,
) -> Result<T, Malformed> {
    match parser(input) {
        Ok(([], value)) => Ok(value),
        Ok(_) => Err(Malformed::TrailingBytes),
        Err(nom::Err::Error(cause) | nom::Err::Failure(cause)) => Err(cause),
        Err(nom::Err::Incomplete(_)) => Err(Malformed::Truncated),
    }
}

/// Ends parsing with this cause.
pub(crate) fn fail<T>(cause: Malformed) -> Result<T, nom::Err<Malformed>> {
    Err(nom::Err::Failure(cause))
}

/// A length octet and that many bytes.
#[inline]
pub(crate) fn short_bytes(input: &[u8]) -> Parsed<'_, &[u8]> {
    length_data(be_u8).parse_complete(input)
}

/// A 32-bit length and that many bytes.
pub(crate) fn long_bytes(input: &[u8]) -> Parsed<'_, &[u8]> {
    length_data(be_u32).parse_complete(input)
}

/// Exactly `N` bytes.
pub(crate) fn array<const N: usize>(input: &[u8]) -> Parsed<'_, [u8; N]> {
    let (rest, bytes) = take(N)(input)?;
    match bytes.try_into() {
        Ok(array) => Ok((rest, array)),
        Err(_) => fail(Malformed::Truncated),
    }
}

/// The class and method numbers that open every method payload.
pub(crate) fn method_ids(input: &[u8]) -> Parsed<'_, (u16, u16)> {
    (be_u16, be_u16).parse(input)
}
