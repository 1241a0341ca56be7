//! One function per fuzz target: takes any bytes, panics when a property does not hold.
//!
//! The fuzzer's binaries and `cargo test` (`tests/corpus/main.rs`) run the same functions, so a file that
//! the fuzzer finds becomes a regression test by lying in `corpus/<target>/`.
//!
//! What it is not: part of the crate's interface.

mod connection;

pub use connection::connection;

use bytes::BytesMut;
use leveret_protocol::client::{DecodeError, Decoder};
use leveret_protocol::framer::{self, Cut, FrameError};
use leveret_protocol::{
    Array, ArrayBuf, ContentHeader, Method, Properties, Table, TableBuf, Value, encode,
};

/// The shortest entry of a table: an empty key and a void.
const ENTRY_LEN_MIN: usize = 2;

/// The frames at the start of the bytes, and why there are no more.
#[derive(Debug, PartialEq)]
struct Cuts {
    frames: Vec<(u8, u16, Vec<u8>)>,
    end: End,
}

#[derive(Debug, PartialEq)]
enum End {
    /// The buffer must be this much longer.
    Missing(usize),
    Failed(DecodeError),
}

/// The same frames are cut from a stream however it is split, and they are what the bytes say.
///
/// The first octet is the largest payload, the second seeds the split, the rest is the stream.
pub fn framer(data: &[u8]) {
    let [payload_max, seed, stream @ ..] = data else {
        return;
    };
    let payload_max = usize::from(*payload_max);
    let whole = cut_all(&mut stream.to_vec(), payload_max);
    frames_are_what_was_cut(&whole, stream);
    let pieces = split(stream, *seed);
    assert_eq!(cut_in_pieces(&pieces, payload_max), whole);
    decoder_agrees(&pieces, payload_max, &whole);
}

/// Cuts the stream into pieces of 1 to 16 bytes, the same ones for the same seed.
fn split(mut stream: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed);
    let mut pieces = Vec::new();
    while !stream.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = (state >> 28) as usize + 1;
        let (piece, rest) = stream.split_at(len.min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces
}

fn cut_in_pieces(pieces: &[&[u8]], payload_max: usize) -> Cuts {
    let mut buffer = Vec::new();
    let mut cuts = cut_all(&mut buffer, payload_max);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let more = cut_all(&mut buffer, payload_max);
        cuts.frames.extend(more.frames);
        cuts.end = more.end;
    }
    cuts
}

/// Takes every whole frame out of the buffer's front.
fn cut_all(buffer: &mut Vec<u8>, payload_max: usize) -> Cuts {
    let mut frames = Vec::new();
    let mut at = 0;
    let end = loop {
        match framer::cut(&buffer[at..], payload_max) {
            Ok(Cut::Frame(frame)) => {
                frames.push((frame.kind, frame.channel, frame.payload.to_vec()));
                at += frame.wire_len();
            }
            Ok(Cut::Incomplete { wanted }) => {
                let missing = wanted.checked_sub(buffer.len() - at);
                break End::Missing(missing.expect("wants no fewer bytes than there are"));
            }
            Err(error) => {
                error_is_true(error, payload_max);
                break End::Failed(error.into());
            }
        }
    };
    assert_ne!(end, End::Missing(0), "wants what is there already");
    buffer.drain(..at);
    Cuts { frames, end }
}

fn error_is_true(error: FrameError<'_>, payload_max: usize) {
    match error {
        FrameError::TooLarge { size, .. } => assert!(size as usize > payload_max),
        FrameError::InvalidEnd { end, frame } => {
            assert_ne!(end, encode::FRAME_END);
            assert!(frame.payload.len() <= payload_max);
        }
    }
}

fn frames_are_what_was_cut(cuts: &Cuts, stream: &[u8]) {
    let mut written = BytesMut::new();
    for (kind, channel, payload) in &cuts.frames {
        encode::frame(&mut written, *kind, *channel, |out| {
            out.extend_from_slice(payload);
        });
    }
    assert!(stream.starts_with(&written));
}

/// The client's decoder yields the same frames, except that it knows a protocol header.
fn decoder_agrees(pieces: &[&[u8]], payload_max: usize, cuts: &Cuts) {
    let mut decoder = Decoder::new(payload_max);
    let mut frames = Vec::new();
    let mut end = Ok(());
    for piece in pieces {
        decoder.feed(piece);
        end = loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push((frame.kind, frame.channel, frame.payload.to_vec())),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
    }
    let rest = pieces.concat().split_off(wire_len(&frames));
    if rest.starts_with(b"AMQ") {
        assert!(cuts.frames.starts_with(&frames));
        return;
    }
    assert_eq!(frames, cuts.frames);
    assert_eq!(end.err(), cuts.failure());
}

fn wire_len(frames: &[(u8, u16, Vec<u8>)]) -> usize {
    frames
        .iter()
        .map(|(_, _, payload)| payload.len() + encode::FRAME_OVERHEAD)
        .sum()
}

impl Cuts {
    fn failure(&self) -> Option<DecodeError> {
        match self.end {
            End::Missing(_) => None,
            End::Failed(error) => Some(error),
        }
    }
}

/// A method that parses is written as it came, but for unused bits, and parses to itself again.
pub fn method(data: &[u8]) {
    let Ok(method) = Method::parse(data) else {
        return;
    };
    let mut written = Vec::new();
    method.write(&mut written);
    assert_eq!(Method::parse(&written), Ok(method));
    differs_by_cleared_bits_of_one_octet(data, &written);
    assert!(!method.name().is_empty());
    let id = method.id();
    assert_eq!(data[..2], id.class_id.to_be_bytes());
    assert_eq!(data[2..4], id.method_id.to_be_bytes());
    method_fits_a_frame(&method, &written);
}

fn differs_by_cleared_bits_of_one_octet(data: &[u8], written: &[u8]) {
    assert_eq!(data.len(), written.len());
    let differing: Vec<_> = data.iter().zip(written).filter(|(a, b)| a != b).collect();
    assert!(differing.len() <= 1, "{differing:?}");
    assert!(
        differing
            .iter()
            .all(|(came, went)| **came & **went == **went)
    );
}

fn method_fits_a_frame(method: &Method<'_>, payload: &[u8]) {
    let mut out = BytesMut::new();
    method.write_frame(9, &mut out);
    let Ok(Cut::Frame(frame)) = framer::cut(&out, payload.len()) else {
        panic!("{method:?} makes no frame");
    };
    assert_eq!((frame.kind, frame.channel), (1, 9));
    assert_eq!(frame.payload, payload);
}

/// A table that parses can be walked to its last leaf and built again: the same length, the same
/// names and types, and the second build changes nothing.
pub fn table(data: &[u8]) {
    let Ok(table) = Table::parse(data) else {
        return;
    };
    assert_eq!(table.as_bytes(), data);
    assert!(table.entries().count() * ENTRY_LEN_MIN <= data.len());
    let built = rebuild_table(table);
    let read = Table::parse(built.view().as_bytes()).expect("what was built parses");
    assert_eq!(read.as_bytes().len(), data.len());
    assert_eq!(rebuild_table(read), built);
    let types = |table: Table<'_>| -> Vec<_> {
        let entries = table.entries();
        entries
            .map(|(key, value)| (key.0.to_vec(), value.type_name()))
            .collect()
    };
    assert_eq!(types(read), types(table));
    sorting_keeps_every_entry(table);
    first_of_a_key_is_found(table);
}

fn rebuild_table(table: Table<'_>) -> TableBuf {
    let (keys, values): (Vec<_>, Vec<_>) = table
        .entries()
        .map(|(key, value)| (key, rebuild(value)))
        .unzip();
    TableBuf::from_raw_entries(keys.into_iter().zip(values.iter().map(Rebuilt::view)))
}

fn rebuild_array(array: Array<'_>) -> ArrayBuf {
    let values: Vec<_> = array.values().map(rebuild).collect();
    values.iter().map(Rebuilt::view).collect()
}

/// A value whose nested bytes were built anew.
enum Rebuilt<'a> {
    Leaf(Value<'a>),
    Table(TableBuf),
    Array(ArrayBuf),
}

fn rebuild(value: Value<'_>) -> Rebuilt<'_> {
    match value {
        Value::Table(table) => Rebuilt::Table(rebuild_table(table)),
        Value::Array(array) => Rebuilt::Array(rebuild_array(array)),
        leaf => Rebuilt::Leaf(leaf),
    }
}

impl Rebuilt<'_> {
    fn view(&self) -> Value<'_> {
        match self {
            Self::Leaf(value) => *value,
            Self::Table(table) => Value::Table(table.view()),
            Self::Array(array) => Value::Array(array.view()),
        }
    }
}

fn sorting_keeps_every_entry(table: Table<'_>) {
    let sorted = table.to_owned().sorted();
    assert_eq!(sorted.view().as_bytes().len(), table.as_bytes().len());
    assert!(sorted.view().entries().is_sorted_by_key(|(key, _)| key));
    assert_eq!(sorted.view().entries().count(), table.entries().count());
}

fn first_of_a_key_is_found(table: Table<'_>) {
    if let Some((key, value)) = table.entries().next()
        && let Some(text) = key.as_text()
    {
        let found = table.get(text).map(|found| found.type_name());
        assert_eq!(found, Some(value.type_name()));
    }
}

/// A content header's payload is cut without loss, and properties that parse are written as they
/// came, but for the two ignored flag bits.
pub fn properties(data: &[u8]) {
    let Ok(header) = ContentHeader::parse(data) else {
        assert!(data.len() < leveret_protocol::content::HEADER_FIXED_LEN);
        return;
    };
    header_is_written_as_it_came(&header, data);
    let Ok(properties) = Properties::parse(header.properties) else {
        return;
    };
    let written = properties.to_bytes();
    assert_eq!(Properties::parse(&written), Ok(properties));
    let mut came = header.properties.to_vec();
    came[1] &= 0xFC;
    assert_eq!(written, came);
}

fn header_is_written_as_it_came(header: &ContentHeader<'_>, data: &[u8]) {
    let mut out = BytesMut::new();
    header.write_frame(3, &mut out);
    let Ok(Cut::Frame(frame)) = framer::cut(&out, data.len()) else {
        panic!("{header:?} makes no frame");
    };
    assert_eq!((frame.kind, frame.channel), (2, 3));
    assert_eq!(frame.payload, data);
}
