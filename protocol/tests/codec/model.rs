//! Field values as a test thinks of them, with an encoder of their own and a way to build the same
//! through the crate's interface.

use leveret_protocol::{Array, ArrayBuf, ShortStr, Table, TableBuf, Value};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::grammar::{long_str, short_str};

/// A value with every choice its bytes leave open.
#[derive(Clone, Debug)]
pub(crate) enum Model {
    /// `t` with any octet; 0 is false.
    Bool(u8),
    /// A tag with fixed-size bits: everything that is kept bit for bit.
    Bits(u8, Vec<u8>),
    /// `S` or `x`.
    Bytes(u8, Vec<u8>),
    Array(Vec<Self>),
    Table(Entries),
}

/// The entries of a table.
pub(crate) type Entries = Vec<(Vec<u8>, Model)>;

/// The tags of values with fixed size, and the size.
const FIXED: [(u8, usize); 14] = [
    (b'b', 1),
    (b'B', 1),
    (b's', 2),
    (b'u', 2),
    (b'I', 4),
    (b'i', 4),
    (b'l', 8),
    (b'L', 8),
    (b'f', 4),
    (b'd', 8),
    (b'D', 5),
    (b'T', 8),
    (b'V', 0),
    (b'B', 1),
];

fn leaf() -> impl Strategy<Value = Model> {
    let fixed = proptest::sample::select(FIXED.to_vec());
    prop_oneof![
        1 => any::<u8>().prop_map(Model::Bool),
        6 => fixed.prop_flat_map(|(tag, len)| {
            vec(any::<u8>(), len).prop_map(move |bits| Model::Bits(tag, bits))
        }),
        2 => (proptest::sample::select(vec![b'S', b'x']), vec(any::<u8>(), 0..40))
            .prop_map(|(tag, bytes)| Model::Bytes(tag, bytes)),
    ]
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => vec(any::<u8>(), 0..12),
        1 => vec(any::<u8>(), 200..=255),
    ]
}

/// Any table, nesting at most six levels deep.
pub(crate) fn entries() -> impl Strategy<Value = Entries> {
    let value = leaf().prop_recursive(5, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Model::Array),
            vec((key(), inner), 0..5).prop_map(Model::Table),
        ]
    });
    vec((key(), value), 0..6)
}

/// The bytes of any table, without the leading length.
pub(crate) fn table_bytes() -> impl Strategy<Value = Vec<u8>> {
    entries().prop_map(|entries| encode_table(&entries))
}

/// The entries with every choice as the model has it.
pub(crate) fn encode_table(entries: &Entries) -> Vec<u8> {
    let entry = |(key, value): &(Vec<u8>, Model)| [short_str(key), value.encode()].concat();
    entries.iter().flat_map(entry).collect()
}

/// The same entries as the crate writes them: `l` for every long, 0 or 1 for every bool.
pub(crate) fn canonical(entries: &Entries) -> Entries {
    let entry = |(key, value): &(Vec<u8>, Model)| (key.clone(), value.canonical());
    entries.iter().map(entry).collect()
}

impl Model {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bool(octet) => vec![b't', *octet],
            Self::Bits(tag, bits) => [&[*tag], &bits[..]].concat(),
            Self::Bytes(tag, bytes) => [vec![*tag], long_str(bytes)].concat(),
            Self::Array(values) => {
                let items: Vec<u8> = values.iter().flat_map(Self::encode).collect();
                [b"A".to_vec(), long_str(&items)].concat()
            }
            Self::Table(entries) => [b"F".to_vec(), long_str(&encode_table(entries))].concat(),
        }
    }

    fn canonical(&self) -> Self {
        match self {
            Self::Bool(octet) => Self::Bool(u8::from(*octet != 0)),
            Self::Bits(b'L', bits) => Self::Bits(b'l', bits.clone()),
            Self::Array(values) => Self::Array(values.iter().map(Self::canonical).collect()),
            Self::Table(entries) => Self::Table(canonical(entries)),
            kept => kept.clone(),
        }
    }

    /// True when the value that was read is this one.
    pub(crate) fn is(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Array(values), Value::Array(array)) => is_array(values, array),
            (Self::Table(entries), Value::Table(table)) => is_table(entries, table),
            (Self::Bool(octet), Value::Bool(flag)) => flag == (*octet != 0),
            (Self::Bytes(b'S', bytes), Value::LongStr(read)) => bytes == read,
            (Self::Bytes(b'x', bytes), Value::ByteArray(read)) => bytes == read,
            (Self::Bits(tag, bits), read) => match bits_of(read) {
                Some((tags, read)) => tags.contains(tag) && *bits == read,
                None => false,
            },
            _ => false,
        }
    }
}

/// The tags that a fixed-size value may have come with, and its bits.
fn bits_of(value: Value<'_>) -> Option<(&'static [u8], Vec<u8>)> {
    Some(match value {
        Value::I8(n) => (b"b", n.to_be_bytes().to_vec()),
        Value::U8(n) => (b"B", n.to_be_bytes().to_vec()),
        Value::I16(n) => (b"s", n.to_be_bytes().to_vec()),
        Value::U16(n) => (b"u", n.to_be_bytes().to_vec()),
        Value::I32(n) => (b"I", n.to_be_bytes().to_vec()),
        Value::U32(n) => (b"i", n.to_be_bytes().to_vec()),
        Value::I64(n) => (b"lL", n.to_be_bytes().to_vec()),
        Value::F32(n) => (b"f", n.to_bits().to_be_bytes().to_vec()),
        Value::F64(n) => (b"d", n.to_bits().to_be_bytes().to_vec()),
        Value::Decimal { scale, bits } => (b"D", [&[scale], &bits.to_be_bytes()[..]].concat()),
        Value::Timestamp(seconds) => (b"T", seconds.to_be_bytes().to_vec()),
        Value::Void => (b"V", Vec::new()),
        _ => return None,
    })
}

fn is_array(values: &[Model], array: Array<'_>) -> bool {
    let pairs = values.iter().zip(array.values());
    values.len() == array.values().count()
        && pairs.into_iter().all(|(model, value)| model.is(value))
}

/// True when the table that was read has these entries in this order.
pub(crate) fn is_table(entries: &Entries, table: Table<'_>) -> bool {
    let mut pairs = entries.iter().zip(table.entries());
    entries.len() == table.entries().count()
        && pairs.all(|((key, model), (name, value))| *key == name.0 && model.is(value))
}

/// Builds the table through the crate's interface.
pub(crate) fn build_table(entries: &Entries) -> TableBuf {
    let built: Vec<_> = entries.iter().map(|(_, model)| build(model)).collect();
    let keys = entries.iter().map(|(key, _)| ShortStr(key));
    TableBuf::from_raw_entries(keys.zip(built.iter().map(Built::view)))
}

enum Built<'m> {
    Leaf(Value<'m>),
    Array(ArrayBuf),
    Table(TableBuf),
}

impl Built<'_> {
    fn view(&self) -> Value<'_> {
        match self {
            Self::Leaf(value) => *value,
            Self::Array(array) => Value::Array(array.view()),
            Self::Table(table) => Value::Table(table.view()),
        }
    }
}

fn build(model: &Model) -> Built<'_> {
    match model {
        Model::Array(values) => {
            let built: Vec<_> = values.iter().map(build).collect();
            Built::Array(built.iter().map(Built::view).collect())
        }
        Model::Table(entries) => Built::Table(build_table(entries)),
        Model::Bool(octet) => Built::Leaf(Value::Bool(*octet != 0)),
        Model::Bytes(b'S', bytes) => Built::Leaf(Value::LongStr(bytes)),
        Model::Bytes(_, bytes) => Built::Leaf(Value::ByteArray(bytes)),
        Model::Bits(tag, bits) => Built::Leaf(leaf_value(*tag, bits)),
    }
}

fn leaf_value(tag: u8, bits: &[u8]) -> Value<'static> {
    match tag {
        b'b' => Value::I8(i8::from_be_bytes(exactly(bits))),
        b'B' => Value::U8(u8::from_be_bytes(exactly(bits))),
        b's' => Value::I16(i16::from_be_bytes(exactly(bits))),
        b'u' => Value::U16(u16::from_be_bytes(exactly(bits))),
        b'I' => Value::I32(i32::from_be_bytes(exactly(bits))),
        b'i' => Value::U32(u32::from_be_bytes(exactly(bits))),
        b'l' | b'L' => Value::I64(i64::from_be_bytes(exactly(bits))),
        b'f' => Value::F32(f32::from_be_bytes(exactly(bits))),
        b'd' => Value::F64(f64::from_be_bytes(exactly(bits))),
        b'T' => Value::Timestamp(u64::from_be_bytes(exactly(bits))),
        b'D' => Value::Decimal {
            scale: bits[0],
            bits: u32::from_be_bytes(exactly(&bits[1..])),
        },
        _ => Value::Void,
    }
}

fn exactly<const N: usize>(bits: &[u8]) -> [u8; N] {
    bits.try_into().expect("as many bits as the tag wants")
}
