//! Reads `methods.txt`, the specification's list of methods, and writes arguments by it.
//!
//! Nothing here uses the crate's own encoder: what is written is what the list says.

/// One line of the list.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) class_id: u16,
    pub(crate) method_id: u16,
    /// `exchange.unbind-ok`
    pub(crate) name: &'static str,
    pub(crate) carries_content: bool,
    pub(crate) arguments: Vec<Argument>,
}

/// One argument, or one octet of bits.
#[derive(Clone, Debug)]
pub(crate) enum Argument {
    Octet(&'static str),
    Short(&'static str),
    Long(&'static str),
    LongLong(&'static str),
    ShortStr(&'static str),
    LongStr(&'static str),
    Table(&'static str),
    /// The names of the bits, lowest first.
    Bits(Vec<&'static str>),
}

/// Every method of the list.
pub(crate) fn rows() -> Vec<Row> {
    include_str!("methods.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(row)
        .collect()
}

fn row(line: &'static str) -> Row {
    let columns: Vec<_> = line.split('|').collect();
    let [class_id, method_id, name, _direction, content, arguments] = columns[..] else {
        panic!("six columns in {line}");
    };
    Row {
        class_id: class_id.parse().expect("a class number"),
        method_id: method_id.parse().expect("a method number"),
        name,
        carries_content: content == "content",
        arguments: arguments
            .split("; ")
            .filter(|argument| *argument != "-")
            .map(argument)
            .collect(),
    }
}

fn argument(text: &'static str) -> Argument {
    if let Some(bits) = text.strip_prefix("bits{") {
        return Argument::Bits(
            bits.trim_end_matches('}')
                .split(',')
                .zip(0..)
                .map(bit)
                .collect(),
        );
    }
    match text.split_once(':') {
        Some((name, "octet")) => Argument::Octet(name),
        Some((name, "short")) => Argument::Short(name),
        Some((name, "long")) => Argument::Long(name),
        Some((name, "longlong")) => Argument::LongLong(name),
        Some((name, "shortstr")) => Argument::ShortStr(name),
        Some((name, "longstr")) => Argument::LongStr(name),
        Some((name, "table")) => Argument::Table(name),
        _ => panic!("no type in {text}"),
    }
}

/// The name of `name@position`, where the position must be the one it stands at.
fn bit((text, position): (&'static str, usize)) -> &'static str {
    let (name, number) = text.split_once('@').expect("a bit's position");
    assert_eq!(number, position.to_string(), "{text}");
    name
}

impl Row {
    /// The method's numbers and these argument bytes: a method frame's payload.
    pub(crate) fn payload<'b>(&self, arguments: impl IntoIterator<Item = &'b [u8]>) -> Vec<u8> {
        let mut payload = Vec::new();
        payload.extend(self.class_id.to_be_bytes());
        payload.extend(self.method_id.to_be_bytes());
        arguments
            .into_iter()
            .for_each(|bytes| payload.extend(bytes));
        payload
    }
}

/// A short string's bytes.
pub(crate) fn short_str(text: &[u8]) -> Vec<u8> {
    let len = u8::try_from(text.len()).expect("at most 255 bytes");
    [&[len], text].concat()
}

/// A long string's bytes; a table's too, if the text is its entries.
pub(crate) fn long_str(text: &[u8]) -> Vec<u8> {
    let len = u32::try_from(text.len()).expect("a 32-bit length");
    [&len.to_be_bytes(), text].concat()
}
