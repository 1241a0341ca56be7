//! What a message looks like, which follows from its number alone: so what comes back can be judged
//! without keeping what was sent. Also the random numbers of this test.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, DecimalValue, FieldArray, FieldTable, LongString, ShortString};

use crate::history::MessageId;

/// The largest body. Half of all bodies are smaller than 256 bytes, and each has some of every size
/// below.
const BODY_BYTES_MAX: u64 = 64 * 1024;

/// Small enough to be written down for a failed run, good enough to spread choices.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One step of SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn one_of<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// True `percent` times of a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Another source, which goes on by itself.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.next())
    }
}

/// Every eighth message is transient.
pub(crate) fn is_persistent(message: MessageId) -> bool {
    message % 8 != 7
}

/// The body of a message.
pub(crate) fn body(message: MessageId) -> Vec<u8> {
    let mut random = Random::new(message);
    let end = match random.below(8) {
        0 => 1,
        1..=3 => 256,
        4 | 5 => 2048,
        6 => 8192,
        _ => BODY_BYTES_MAX + 1,
    };
    let len = random.below(end) as usize;
    let mut body = Vec::with_capacity(len + 8);
    while body.len() < len {
        body.extend_from_slice(&random.next().to_le_bytes());
    }
    body.truncate(len);
    body
}

/// The properties of a message: every one that exists over time, with headers of every type.
pub(crate) fn properties(message: MessageId) -> BasicProperties {
    let mut random = Random::new(!message);
    let delivery_mode = if is_persistent(message) { 2 } else { 1 };
    let mut properties = BasicProperties::default()
        .with_message_id(short(format!("m{message}")))
        .with_delivery_mode(delivery_mode);
    if random.chance(50) {
        properties = properties.with_headers(headers(&mut random));
    }
    if random.chance(30) {
        properties = properties
            .with_content_type(short("application/octet-stream"))
            .with_content_encoding(short("identity"))
            .with_correlation_id(short(format!("c{}", random.next())))
            .with_reply_to(short("nobody"))
            .with_timestamp(random.next() >> 8)
            .with_type(short("crash"))
            .with_user_id(short("guest"))
            .with_app_id(short("äpp"));
    }
    properties
}

fn headers(random: &mut Random) -> FieldTable {
    let mut all = FieldTable::default();
    for (index, value) in values(random).into_iter().enumerate() {
        if random.chance(60) {
            all.insert(short(format!("header {index}")), value);
        }
    }
    all
}

fn values(random: &mut Random) -> Vec<AMQPValue> {
    let number = random.next();
    let mut inner = FieldTable::default();
    inner.insert(short("inner"), AMQPValue::LongLongInt(number as i64));
    inner.insert(short(""), AMQPValue::Void);
    let decimal = DecimalValue {
        scale: 3,
        value: number as u32 >> 1,
    };
    vec![
        AMQPValue::Boolean(number.is_multiple_of(2)),
        AMQPValue::ShortShortInt(number as i8),
        AMQPValue::ShortInt(number as i16),
        AMQPValue::LongInt(number as i32),
        AMQPValue::LongLongInt(number as i64),
        AMQPValue::Float(number as u16 as f32 / 7.0),
        AMQPValue::Double(number as u32 as f64 / 7.0),
        AMQPValue::DecimalValue(decimal),
        AMQPValue::LongString(LongString::from(number.to_be_bytes().to_vec())),
        AMQPValue::Timestamp(number >> 8),
        AMQPValue::FieldArray(FieldArray::from(vec![
            AMQPValue::FieldTable(inner.clone()),
            AMQPValue::Void,
        ])),
        AMQPValue::FieldTable(inner),
        AMQPValue::ByteArray(number.to_le_bytes().to_vec().into()),
        AMQPValue::Void,
    ]
}

/// The number a delivery carries, and whether it is exactly what was published under that number.
pub(crate) fn recognise(delivery: &Delivery) -> (Option<MessageId>, bool) {
    let Some(message) = number(&delivery.properties) else {
        return (None, false);
    };
    let is_intact = delivery.properties == properties(message) && delivery.data == body(message);
    (Some(message), is_intact)
}

fn number(properties: &BasicProperties) -> Option<MessageId> {
    let id = properties.message_id().as_ref()?;
    id.as_str().strip_prefix('m')?.parse().ok()
}

fn short(text: impl Into<String>) -> ShortString {
    ShortString::try_new(text).unwrap()
}

#[test]
fn a_message_is_recognised_only_if_every_bit_is_the_same() {
    let with = |properties: BasicProperties, data: Vec<u8>| {
        let mut delivery = Delivery::mock(1, short(""), short(""), false, data);
        delivery.properties = properties;
        recognise(&delivery)
    };
    let message = (0..).find(|message| body(*message).len() > 9).unwrap();
    assert_eq!(
        with(properties(message), body(message)),
        (Some(message), true)
    );

    let mut flipped = body(message);
    flipped[9] ^= 1;
    assert_eq!(with(properties(message), flipped), (Some(message), false));
    let shorter = body(message)[1..].to_vec();
    assert_eq!(with(properties(message), shorter), (Some(message), false));
    let other_mode = properties(message).with_delivery_mode(3);
    assert_eq!(with(other_mode, body(message)), (Some(message), false));
    let nameless = BasicProperties::default();
    assert_eq!(with(nameless, body(message)), (None, false));
}
