//! Turns the table of `table.rs` into structs, parsers and writers.
//!
//! For each class there is a module with one struct per method and an enum over them; over all
//! classes there is [`crate::method::Method`]. A struct borrows the frame it was parsed from.

use bytes::BufMut;
use nom::Parser;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};

use crate::parse::Parsed;
use crate::value::{LongStr, ShortStr, Table};
use crate::{encode, parse, value};

/// A type that can stand in a method's argument list.
pub(super) trait Argument<'a>: Sized {
    fn parse(input: &'a [u8]) -> Parsed<'a, Self>;
    fn write(&self, out: &mut impl BufMut);
    /// False only for a short string that is not UTF-8 (FRAME-06).
    fn is_text(&self) -> bool {
        true
    }
}

macro_rules! integer_argument {
    ($type:ty, $parser:expr, $put:ident) => {
        impl<'a> Argument<'a> for $type {
            fn parse(input: &'a [u8]) -> Parsed<'a, Self> {
                $parser.parse(input)
            }

            fn write(&self, out: &mut impl BufMut) {
                out.$put(*self);
            }
        }
    };
}

integer_argument!(u8, be_u8, put_u8);
integer_argument!(u16, be_u16, put_u16);
integer_argument!(u32, be_u32, put_u32);
integer_argument!(u64, be_u64, put_u64);

impl<'a> Argument<'a> for ShortStr<'a> {
    fn parse(input: &'a [u8]) -> Parsed<'a, Self> {
        let (rest, bytes) = parse::short_bytes(input)?;
        Ok((rest, Self(bytes)))
    }

    fn write(&self, out: &mut impl BufMut) {
        encode::put_short_bytes(out, self.0);
    }

    fn is_text(&self) -> bool {
        self.as_text().is_some()
    }
}

impl<'a> Argument<'a> for LongStr<'a> {
    fn parse(input: &'a [u8]) -> Parsed<'a, Self> {
        let (rest, bytes) = parse::long_bytes(input)?;
        Ok((rest, Self(bytes)))
    }

    fn write(&self, out: &mut impl BufMut) {
        encode::put_long_bytes(out, self.0);
    }
}

impl<'a> Argument<'a> for Table<'a> {
    fn parse(input: &'a [u8]) -> Parsed<'a, Self> {
        value::table(input)
    }

    fn write(&self, out: &mut impl BufMut) {
        encode::put_long_bytes(out, self.as_bytes());
    }
}

/// Consecutive bits share octets, the first one lowest; no method of the protocol has more than
/// eight in a row, so one octet is enough.
pub(super) fn parse_bits<const N: usize>(input: &[u8]) -> Parsed<'_, [bool; N]> {
    let (rest, octet) = be_u8(input)?;
    Ok((rest, std::array::from_fn(|bit| octet & (1 << bit) != 0)))
}

/// The octet that carries these bits.
pub(super) fn pack_bits<const N: usize>(bits: [bool; N]) -> u8 {
    bits.iter()
        .enumerate()
        .fold(0, |octet, (bit, set)| octet | (u8::from(*set) << bit))
}

/// See the table for the syntax.
macro_rules! methods {
    ($(
        $(#[$class_doc:meta])*
        class $class:ident $(<$class_life:lifetime>)? $variant:ident = $class_id:literal {
            $(
                $(#[$doc:meta])*
                $name:ident $(<$life:lifetime>)? = $id:literal {
                    $($before:ident: $before_type:ty,)*
                    $([$($bit:ident),+] $($after:ident: $after_type:ty,)*)?
                }
            )+
        }
    )+) => {
        $(
            $(#[$class_doc])*
            #[allow(missing_docs, unused_imports, reason = "the fields' names are the specification's")]
            #[allow(mismatched_lifetime_syntaxes, reason = "a method may or may not borrow")]
            pub mod $class {
                use bytes::BufMut;
                use crate::method::macros::{Argument, from_method, pack_bits, parse_bits};
                use crate::parse::{self, Malformed, Parsed};
                use crate::reply::MethodId;
                use crate::value::{LongStr, ShortStr, Table};

                /// The class's number.
                pub const CLASS_ID: u16 = $class_id;

                $(
                    $(#[$doc])*
                    #[derive(Clone, Copy, Debug, Default, PartialEq)]
                    pub struct $name $(<$life>)? {
                        $(pub $before: $before_type,)*
                        $($(pub $bit: bool,)+ $(pub $after: $after_type,)*)?
                    }

                    impl $(<$life>)? $name $(<$life>)? {
                        /// The class and method numbers.
                        pub const ID: MethodId = MethodId::new($class_id, $id);

                        fn parse_arguments(input: &$($life)? [u8]) -> Parsed<'_, Self> {
                            $(let (input, $before) = Argument::parse(input)?;)*
                            $(
                                let (input, [$($bit),+]) = parse_bits(input)?;
                                $(let (input, $after) = Argument::parse(input)?;)*
                            )?
                            Ok((input, Self {
                                $($before,)*
                                $($($bit,)+ $($after,)*)?
                            }))
                        }

                        #[allow(unused_variables)]
                        fn write_arguments(&self, out: &mut impl BufMut) {
                            $(Argument::write(&self.$before, out);)*
                            $(
                                out.put_u8(pack_bits([$(self.$bit),+]));
                                $(Argument::write(&self.$after, out);)*
                            )?
                        }

                        fn is_text(&self) -> bool {
                            true $(&& Argument::is_text(&self.$before))*
                            $($(&& Argument::is_text(&self.$after))*)?
                        }
                    }
                )+

                /// Any method of the class.
                #[derive(Clone, Copy, Debug, PartialEq)]
                pub enum Method $(<$class_life>)? {
                    $(
                        $(#[$doc])*
                        $name($name $(<$life>)?),
                    )+
                }

                impl $(<$class_life>)? Method $(<$class_life>)? {
                    pub(in crate::method) fn parse(
                        method_id: u16,
                        input: &$($class_life)? [u8],
                    ) -> Result<Self, Malformed> {
                        match method_id {
                            $($id => parse::all(input, $name::parse_arguments).map(Self::$name),)+
                            _ => Err(Malformed::UnknownMethod { class_id: $class_id, method_id }),
                        }
                    }

                    pub(in crate::method) fn write_arguments(&self, out: &mut impl BufMut) {
                        match self {
                            $(Self::$name(method) => method.write_arguments(out),)+
                        }
                    }

                    pub(in crate::method) fn id(&self) -> MethodId {
                        match self {
                            $(Self::$name(_) => $name::ID,)+
                        }
                    }

                    pub(in crate::method) fn name(&self) -> &'static str {
                        match self {
                            $(Self::$name(_) => concat!(stringify!($class), ".", stringify!($name)),)+
                        }
                    }

                    pub(in crate::method) fn is_text(&self) -> bool {
                        match self {
                            $(Self::$name(method) => method.is_text(),)+
                        }
                    }
                }

                $(from_method!($variant $name $($life)?);
                )+
            }
        )+

        /// Any method of any class, borrowed from the frame it came in.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[allow(missing_docs, reason = "the variants are the classes")]
        pub enum Method<'a> {
            $($variant($class::Method $(<$class_life>)?),)+
        }

        impl<'a> Method<'a> {
            /// Parses a method frame's payload.
            ///
            /// # Errors
            /// An unknown class or method, or arguments that are cut short or too long.
            pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
                let Ok((arguments, (class_id, method_id))) = parse::method_ids(payload) else {
                    return Err(Malformed::Truncated);
                };
                match class_id {
                    $($class_id => $class::Method::parse(method_id, arguments).map(Self::$variant),)+
                    _ => Err(Malformed::UnknownMethod { class_id, method_id }),
                }
            }

            /// The class and method numbers.
            pub fn id(&self) -> MethodId {
                match self {
                    $(Self::$variant(method) => method.id(),)+
                }
            }

            /// `class.Method`, for logs and test reports.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(method) => method.name(),)+
                }
            }

            /// False when a short string among the arguments is not UTF-8 (FRAME-06).
            pub fn is_text(&self) -> bool {
                match self {
                    $(Self::$variant(method) => method.is_text(),)+
                }
            }

            /// Writes the payload of a method frame.
            pub fn write(&self, out: &mut impl BufMut) {
                let id = self.id();
                out.put_u16(id.class_id);
                out.put_u16(id.method_id);
                match self {
                    $(Self::$variant(method) => method.write_arguments(out),)+
                }
            }
        }
    };
}

/// A method alone is a method of its class, and so of the protocol.
macro_rules! from_method {
    ($variant:ident $name:ident $life:lifetime) => {
        impl<$life> From<$name<$life>> for crate::method::Method<$life> {
            fn from(method: $name<$life>) -> Self {
                Self::$variant(Method::$name(method))
            }
        }
    };
    ($variant:ident $name:ident) => {
        impl From<$name> for crate::method::Method<'_> {
            fn from(method: $name) -> Self {
                Self::$variant(Method::$name(method))
            }
        }
    };
}

pub(super) use {from_method, methods};
