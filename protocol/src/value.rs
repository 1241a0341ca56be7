//! Strings, field tables and field values: views over the bytes of a frame.
//!
//! A [`Table`] or [`Array`] is checked once, when it is parsed; walking it afterwards yields borrowed
//! values and cannot fail. The bytes are kept as they came, so a table that is passed on leaves as it
//! arrived: key order, duplicate keys and the choice between `l` and `L` survive (TABLE-05).
//!
//! The tags are those of RabbitMQ and Qpid, not of the specification (TABLE-01, TABLE-02).
//!
//! Invariant: a `Table` or `Array` that was parsed holds only bytes that [`Table::parse`] accepts. One
//! that was built holds well-formed entries too, but may nest deeper than
//! [`crate::parse::NESTING_DEPTH_MAX`] if what it was built from already reached that depth.

use bytes::{BufMut, Bytes, BytesMut};
use nom::Parser;
use nom::combinator::map;
use nom::number::complete::{be_u8, be_u32, be_u64};

use crate::parse::{self, Malformed, NESTING_DEPTH_MAX, Parsed};

/// A string of at most 255 bytes: names, routing keys, consumer tags.
///
/// Bytes, not text: only methods without content must carry UTF-8 (FRAME-06, FRAME-07).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ShortStr<'a>(pub &'a [u8]);

impl<'a> ShortStr<'a> {
    /// The longest short string, in bytes.
    pub const LEN_MAX: usize = 255;

    /// The string as text, with U+FFFD where it is not UTF-8.
    pub fn to_text(self) -> std::borrow::Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }

    /// The string as text, if it is UTF-8.
    pub fn as_text(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }

    /// True for the empty string.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> From<&'a str> for ShortStr<'a> {
    /// Takes the text; what is longer than 255 bytes is cut when it is written.
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl std::fmt::Debug for ShortStr<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.to_text())
    }
}

impl std::fmt::Display for ShortStr<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// A string with a 32-bit length: mechanisms, responses, secrets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LongStr<'a>(pub &'a [u8]);

impl<'a> From<&'a str> for LongStr<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl std::fmt::Debug for LongStr<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.0))
    }
}

/// One value of a field table or array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`: a 16-bit integer, never a short string (TABLE-02)
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l` and `L`, both signed; written as `l`
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `D`: the digits' scale and the 32 bits as they came (TABLE-08)
    Decimal {
        /// How many decimal places the value has.
        scale: u8,
        /// The unscaled value's bits.
        bits: u32,
    },
    /// `S`
    LongStr(&'a [u8]),
    /// `A`
    Array(Array<'a>),
    /// `T`: seconds, not interpreted (TABLE-09)
    Timestamp(u64),
    /// `F`
    Table(Table<'a>),
    /// `V`
    Void,
    /// `x`
    ByteArray(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The wire type's name as RabbitMQ prints it in errors (QARG-33).
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::I8(_) => "byte",
            Self::U8(_) => "unsignedbyte",
            Self::I16(_) => "short",
            Self::U16(_) => "unsignedshort",
            Self::I32(_) => "signedint",
            Self::U32(_) => "unsignedint",
            Self::I64(_) => "long",
            Self::F32(_) => "float",
            Self::F64(_) => "double",
            Self::Decimal { .. } => "decimal",
            Self::LongStr(_) => "longstr",
            Self::Array(_) => "array",
            Self::Timestamp(_) => "timestamp",
            Self::Table(_) => "table",
            Self::Void => "void",
            Self::ByteArray(_) => "binary",
        }
    }

    /// The number, if the value has one of the eight integer types (QARG-01).
    pub fn as_integer(&self) -> Option<i64> {
        match *self {
            Self::I8(n) => Some(n.into()),
            Self::U8(n) => Some(n.into()),
            Self::I16(n) => Some(n.into()),
            Self::U16(n) => Some(n.into()),
            Self::I32(n) => Some(n.into()),
            Self::U32(n) => Some(n.into()),
            Self::I64(n) => Some(n),
            _ => None,
        }
    }

    /// The bytes of a long string; a byte array is something else here.
    pub fn as_long_str(&self) -> Option<&'a [u8]> {
        match *self {
            Self::LongStr(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// True only for a boolean that is true (CONN-06).
    pub fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    fn write(&self, out: &mut impl BufMut) {
        match *self {
            Self::Bool(flag) => put(out, b't', &[u8::from(flag)]),
            Self::I8(n) => put(out, b'b', &n.to_be_bytes()),
            Self::U8(n) => put(out, b'B', &n.to_be_bytes()),
            Self::I16(n) => put(out, b's', &n.to_be_bytes()),
            Self::U16(n) => put(out, b'u', &n.to_be_bytes()),
            Self::I32(n) => put(out, b'I', &n.to_be_bytes()),
            Self::U32(n) => put(out, b'i', &n.to_be_bytes()),
            Self::I64(n) => put(out, b'l', &n.to_be_bytes()),
            Self::F32(n) => put(out, b'f', &n.to_be_bytes()),
            Self::F64(n) => put(out, b'd', &n.to_be_bytes()),
            Self::Decimal { scale, bits } => {
                put(out, b'D', &[scale]);
                out.put_u32(bits);
            }
            Self::LongStr(bytes) => put_long(out, b'S', bytes),
            Self::Array(array) => put_long(out, b'A', array.0),
            Self::Timestamp(seconds) => put(out, b'T', &seconds.to_be_bytes()),
            Self::Table(table) => put_long(out, b'F', table.0),
            Self::Void => out.put_u8(b'V'),
            Self::ByteArray(bytes) => put_long(out, b'x', bytes),
        }
    }
}

fn put(out: &mut impl BufMut, tag: u8, bytes: &[u8]) {
    out.put_u8(tag);
    out.put_slice(bytes);
}

fn put_long(out: &mut impl BufMut, tag: u8, bytes: &[u8]) {
    out.put_u8(tag);
    crate::encode::put_long_bytes(out, bytes);
}

/// Parses one tagged value; `depth` counts the tables and arrays around it.
fn value(input: &[u8], depth: usize) -> Parsed<'_, Value<'_>> {
    let (input, tag) = be_u8(input)?;
    match tag {
        b't' => map(be_u8, |n| Value::Bool(n != 0)).parse(input),
        b'b' => map(parse::array, |b| Value::I8(i8::from_be_bytes(b))).parse(input),
        b'B' => map(be_u8, Value::U8).parse(input),
        b's' => map(parse::array, |b| Value::I16(i16::from_be_bytes(b))).parse(input),
        b'u' => map(parse::array, |b| Value::U16(u16::from_be_bytes(b))).parse(input),
        b'I' => map(parse::array, |b| Value::I32(i32::from_be_bytes(b))).parse(input),
        b'i' => map(be_u32, Value::U32).parse(input),
        b'l' | b'L' => map(parse::array, |b| Value::I64(i64::from_be_bytes(b))).parse(input),
        b'f' => map(parse::array, |b| Value::F32(f32::from_be_bytes(b))).parse(input),
        b'd' => map(parse::array, |b| Value::F64(f64::from_be_bytes(b))).parse(input),
        b'D' => map((be_u8, be_u32), |(scale, bits)| Value::Decimal {
            scale,
            bits,
        })
        .parse(input),
        b'S' => map(parse::long_bytes, Value::LongStr).parse(input),
        b'x' => map(parse::long_bytes, Value::ByteArray).parse(input),
        b'T' => map(be_u64, Value::Timestamp).parse(input),
        b'V' => Ok((input, Value::Void)),
        b'A' => nested(input, depth, check_array, |bytes| {
            Value::Array(Array(bytes))
        }),
        b'F' => nested(input, depth, check_table, |bytes| {
            Value::Table(Table(bytes))
        }),
        unknown => parse::fail(Malformed::UnknownTag(unknown)),
    }
}

fn nested<'a>(
    input: &'a [u8],
    depth: usize,
    check: fn(&[u8], usize) -> Result<(), nom::Err<Malformed>>,
    wrap: fn(&'a [u8]) -> Value<'a>,
) -> Parsed<'a, Value<'a>> {
    let (rest, bytes) = parse::long_bytes(input)?;
    if depth >= NESTING_DEPTH_MAX {
        return parse::fail(Malformed::TooDeep);
    }
    check(bytes, depth + 1)?;
    Ok((rest, wrap(bytes)))
}

fn check_table(mut bytes: &[u8], depth: usize) -> Result<(), nom::Err<Malformed>> {
    while !bytes.is_empty() {
        let (rest, _key) = parse::short_bytes(bytes)?;
        (bytes, _) = value(rest, depth)?;
    }
    Ok(())
}

fn check_array(mut bytes: &[u8], depth: usize) -> Result<(), nom::Err<Malformed>> {
    while !bytes.is_empty() {
        (bytes, _) = value(bytes, depth)?;
    }
    Ok(())
}

/// A field table: checked bytes of `{key, tag, value}` entries, without the leading length.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Table<'a>(&'a [u8]);

impl<'a> Table<'a> {
    /// Checks entries that stand without their 4-byte length (as AMQPLAIN sends them, CONN-10).
    ///
    /// # Errors
    /// Says which rule the bytes break.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match check_table(bytes, 1) {
            Ok(()) => Ok(Self(bytes)),
            Err(nom::Err::Error(cause) | nom::Err::Failure(cause)) => Err(cause),
            Err(nom::Err::Incomplete(_)) => Err(Malformed::Truncated),
        }
    }

    /// The entries in the order they were sent.
    pub fn entries(self) -> Entries<'a> {
        Entries(self.0)
    }

    /// The first value with this key.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.entries()
            .find(|(name, _)| name.0 == key.as_bytes())
            .map(|(_, value)| value)
    }

    /// The entries' bytes, without the leading length.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// True when there is no entry.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// A copy that owns its bytes.
    pub fn to_owned(self) -> TableBuf {
        TableBuf(Bytes::copy_from_slice(self.0))
    }
}

impl std::fmt::Debug for Table<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.entries()).finish()
    }
}

/// What follows the tagged value at the start of these bytes, which stand in a message's headers; `None`
/// if it is not well formed.
pub(crate) fn after_header_value(tagged: &[u8]) -> Option<&[u8]> {
    value(tagged, 1).ok().map(|(rest, _)| rest)
}

/// Parses a table with its 4-byte length.
pub(crate) fn table(input: &[u8]) -> Parsed<'_, Table<'_>> {
    let (rest, bytes) = parse::long_bytes(input)?;
    check_table(bytes, 1)?;
    Ok((rest, Table(bytes)))
}

/// Walks the entries of a [`Table`].
#[derive(Clone, Debug)]
pub struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = (ShortStr<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        // The bytes were checked when the table was made, so both steps succeed until the end; the
        // depth starts at zero because the check has already bounded it.
        let (rest, key) = parse::short_bytes(self.0).ok()?;
        let (rest, value) = value_checked(rest)?;
        self.0 = rest;
        Some((ShortStr(key), value))
    }
}

/// Reads a value whose inside was checked before, without walking nested tables again.
fn value_checked(input: &[u8]) -> Option<(&[u8], Value<'_>)> {
    match input.first()? {
        b'A' => parse::long_bytes(&input[1..])
            .ok()
            .map(|(rest, b)| (rest, Value::Array(Array(b)))),
        b'F' => parse::long_bytes(&input[1..])
            .ok()
            .map(|(rest, b)| (rest, Value::Table(Table(b)))),
        _ => value(input, 0).ok(),
    }
}

/// An array: checked bytes of `{tag, value}` items, without the leading length.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Array<'a>(&'a [u8]);

impl<'a> Array<'a> {
    /// The values in order.
    pub fn values(self) -> Values<'a> {
        Values(self.0)
    }
}

impl std::fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.values()).finish()
    }
}

/// Walks the values of an [`Array`].
#[derive(Clone, Debug)]
pub struct Values<'a>(&'a [u8]);

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (rest, value) = value_checked(self.0)?;
        self.0 = rest;
        Some(value)
    }
}

/// A field table that owns its bytes; build it with [`TableBuf::with`].
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct TableBuf(Bytes);

impl TableBuf {
    /// The empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// The table's view, for reading and sending.
    pub fn view(&self) -> Table<'_> {
        Table(&self.0)
    }

    /// The same table with one more entry at the end.
    #[must_use]
    pub fn with(self, key: &str, value: Value<'_>) -> Self {
        let mut out = BytesMut::from(&self.0[..]);
        put_entry(&mut out, key, value);
        Self(out.freeze())
    }

    /// Collects entries in the order given.
    pub fn from_entries<'v>(entries: impl IntoIterator<Item = (&'v str, Value<'v>)>) -> Self {
        let mut out = BytesMut::new();
        for (key, value) in entries {
            put_entry(&mut out, key, value);
        }
        Self(out.freeze())
    }

    /// Collects entries whose keys are bytes, as [`Table::entries`] yields them.
    pub fn from_raw_entries<'v>(
        entries: impl IntoIterator<Item = (ShortStr<'v>, Value<'v>)>,
    ) -> Self {
        let mut out = BytesMut::new();
        for (key, value) in entries {
            crate::encode::put_short_bytes(&mut out, key.0);
            value.write(&mut out);
        }
        Self(out.freeze())
    }

    /// The same entries sorted by key, the order in which binding arguments are compared (BIND-02).
    #[must_use]
    pub fn sorted(&self) -> Self {
        let mut entries: Vec<_> = self.view().entries().collect();
        entries.sort_by_key(|(key, _)| *key);
        Self::from_raw_entries(entries)
    }
}

impl std::fmt::Debug for TableBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view().fmt(f)
    }
}

fn put_entry(out: &mut BytesMut, key: &str, value: Value<'_>) {
    crate::encode::put_short_bytes(out, key.as_bytes());
    value.write(out);
}

/// An array that owns its bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct ArrayBuf(Bytes);

impl ArrayBuf {
    /// The array's view.
    pub fn view(&self) -> Array<'_> {
        Array(&self.0)
    }
}

impl<'v> FromIterator<Value<'v>> for ArrayBuf {
    fn from_iter<I: IntoIterator<Item = Value<'v>>>(values: I) -> Self {
        let mut out = BytesMut::new();
        for value in values {
            value.write(&mut out);
        }
        Self(out.freeze())
    }
}

impl std::fmt::Debug for ArrayBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn every_type(nested: &TableBuf, array: &ArrayBuf) -> TableBuf {
        TableBuf::from_entries([
            ("bool", Value::Bool(true)),
            ("i8", Value::I8(-1)),
            ("u8", Value::U8(255)),
            ("i16", Value::I16(-2)),
            ("u16", Value::U16(2)),
            ("i32", Value::I32(-3)),
            ("u32", Value::U32(3)),
            ("i64", Value::I64(i64::MIN)),
            ("f32", Value::F32(1.5)),
            ("f64", Value::F64(-2.5)),
            (
                "decimal",
                Value::Decimal {
                    scale: 2,
                    bits: 0xFFFF_FF85,
                },
            ),
            ("text", Value::LongStr(b"text")),
            ("array", Value::Array(array.view())),
            ("time", Value::Timestamp(u64::MAX)),
            ("table", Value::Table(nested.view())),
            ("void", Value::Void),
            ("bytes", Value::ByteArray(&[0, 255])),
        ])
    }

    #[test]
    fn every_field_type_survives_a_round_trip() {
        let array: ArrayBuf = [Value::I32(1), Value::Void, Value::LongStr(b"x")]
            .into_iter()
            .collect();
        let nested = TableBuf::from_entries([("k", Value::Bool(false))]);
        let table = every_type(&nested, &array);
        let read = Table::parse(table.view().as_bytes()).unwrap();
        let copy = TableBuf::from_raw_entries(read.entries());
        assert_eq!(copy, table);
        assert_eq!(read.entries().count(), 17);
        assert_eq!(read.get("i64"), Some(Value::I64(i64::MIN)));
    }

    #[test]
    fn capital_l_is_a_signed_long_too() {
        let bytes = [1, b'k', b'L', 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(Table::parse(&bytes).unwrap().get("k"), Some(Value::I64(-1)));
    }

    #[test]
    fn unknown_tags_are_named() {
        assert_eq!(
            Table::parse(&[1, b'k', b'U', 0, 0]),
            Err(Malformed::UnknownTag(b'U'))
        );
    }

    #[test]
    fn lengths_past_the_end_are_refused() {
        assert_eq!(
            Table::parse(&[1, b'k', b'S', 255, 255, 255, 255, 1]),
            Err(Malformed::Truncated)
        );
        assert_eq!(Table::parse(&[9, b'k']), Err(Malformed::Truncated));
    }

    #[test]
    fn sixteen_levels_are_the_most() {
        let nest = |levels: usize| {
            let mut table = TableBuf::new();
            for _ in 1..levels {
                let inner = table;
                table = TableBuf::from_entries([("t", Value::Table(inner.view()))]);
            }
            table
        };
        assert!(Table::parse(nest(NESTING_DEPTH_MAX).view().as_bytes()).is_ok());
        let deep = nest(NESTING_DEPTH_MAX + 1);
        assert_eq!(
            Table::parse(deep.view().as_bytes()),
            Err(Malformed::TooDeep)
        );
    }

    #[test]
    fn sorting_orders_by_key() {
        let table = TableBuf::from_entries([("b", Value::Void), ("a", Value::U8(1))]);
        let keys: Vec<_> = table
            .sorted()
            .view()
            .entries()
            .map(|(k, _)| k.to_text().into_owned())
            .collect();
        assert_eq!(keys, ["a", "b"]);
    }
}
