//! What an argument's value may be when the queue is created.

use leveret_protocol::{ArrayBuf, Table, TableBuf, Value};

use super::{Arguments, one, text};
use crate::failure::Failure;
use crate::trial::Trial;

variants! { MODES: "QARG-11" {
    VALIDATED "validated" "The mode is default or lazy, the version 1 or 2.";
    SECOND_VERSION_ONLY "version-2-only" "The mode is anything, the version 2.";
} }

rules! {
    "QARG-01" integers_of_any_width [raw] "A number may have any integer type.";
    "QARG-01" nothing_but_integers [raw] "… and no other.";
    "QARG-02" message_ttl [raw] "x-message-ttl: 0 to ten years.";
    "QARG-03" expires [raw] "x-expires: 1 to ten years.";
    "QARG-04" lengths [raw] "x-max-length and x-max-length-bytes: not negative.";
    "QARG-05" max_priority [raw, slow(30)] "x-max-priority: 0 to 255.";
    "QARG-06" overflow [raw] "x-overflow: one of three strings.";
    "QARG-07" dead_letter_exchange [raw] "x-dead-letter-exchange: any string.";
    "QARG-08" dead_letter_routing_key [raw] "x-dead-letter-routing-key needs an exchange.";
    "QARG-09" single_active_consumer [raw] "x-single-active-consumer: a boolean.";
    "QARG-11" queue_mode [raw, variants(&[MODES])] "x-queue-mode: default or lazy.";
    "QARG-11" queue_version [raw, variants(&[MODES])] "x-queue-version: 1 or 2.";
    "QARG-13" unknown_arguments [raw] "Unknown arguments are accepted and not compared.";
}

/// The longest time, ten years.
const EXPIRY_MS_MAX: i64 = 315_360_000_000;

/// The arguments that are numbers.
const NUMBERS: [&str; 5] = [
    "x-message-ttl",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
];

/// Those that leave the queue in peace when they are small.
const NUMBERS_WITHOUT_EXPIRY: [&str; 4] = [
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
];

async fn integers_of_any_width(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    for value in [
        Value::I8(3),
        Value::U8(3),
        Value::I16(3),
        Value::U16(3),
        Value::I32(3),
        Value::U32(3),
        Value::I64(3),
    ] {
        let all = TableBuf::from_entries(NUMBERS_WITHOUT_EXPIRY.map(|key| (key, value)));
        queue.expect_accepted(&all).await?;
    }
    // `L` cannot be built, since it means the same as `l`.
    let capital = b"\x0cx-max-lengthL\0\0\0\0\0\0\0\x03";
    let table = Table::parse(capital)
        .map_err(|problem| Failure::new(format!("not a table: {problem:?}")))?;
    queue.expect_accepted(&table.to_owned()).await
}

async fn nothing_but_integers(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let (table, array) = (
        one("k", Value::I32(1)),
        ArrayBuf::from_iter([Value::I32(1)]),
    );
    let decimal = Value::Decimal { scale: 0, bits: 5 };
    for (value, kind) in [
        (text("5"), "longstr"),
        (Value::Bool(true), "bool"),
        (Value::F32(5.0), "float"),
        (Value::F64(5.0), "double"),
        (decimal, "decimal"),
        (Value::Timestamp(5), "timestamp"),
        (Value::ByteArray(b"5"), "binary"),
        (Value::Void, "void"),
        (Value::Table(table.view()), "table"),
        (Value::Array(array.view()), "array"),
    ] {
        let why = format!("\"expected integer, got {kind}\"");
        queue.expect_invalid("x-max-length", value, &why).await?;
    }
    for key in NUMBERS {
        let why = "\"expected integer, got longstr\"";
        queue.expect_invalid(key, text("5"), why).await?;
    }
    Ok(())
}

/// The reasons that both times have in common.
async fn expect_time_limits(queue: &mut Arguments<'_>, key: &str) -> Result<(), Failure> {
    let minus_one = "{value_negative,-1}";
    queue.expect_invalid(key, Value::I32(-1), minus_one).await?;
    queue
        .expect_accepted(&one(key, Value::I64(EXPIRY_MS_MAX)))
        .await?;
    let too_large = EXPIRY_MS_MAX + 1;
    let why = format!("{{value_too_large,{too_large}}}");
    queue.expect_invalid(key, Value::I64(too_large), &why).await
}

async fn message_ttl(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let key = "x-message-ttl";
    queue.expect_accepted(&one(key, Value::I32(0))).await?;
    expect_time_limits(&mut queue, key).await
}

async fn expires(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let key = "x-expires";
    let why = "{value_zero,0}";
    queue.expect_invalid(key, Value::I32(0), why).await?;
    expect_time_limits(&mut queue, key).await
}

async fn lengths(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    for key in ["x-max-length", "x-max-length-bytes"] {
        queue.expect_accepted(&one(key, Value::I32(0))).await?;
        let most = Value::I64(i64::MAX);
        queue.expect_accepted(&one(key, most)).await?;
        let why = "{value_negative,-7}";
        queue.expect_invalid(key, Value::I32(-7), why).await?;
    }
    Ok(())
}

async fn max_priority(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let key = "x-max-priority";
    for levels in [0, 255] {
        queue.expect_accepted(&one(key, Value::I32(levels))).await?;
    }
    let why = "{max_value_exceeded,256}";
    queue.expect_invalid(key, Value::I32(256), why).await?;
    let why = "{value_negative,-1}";
    queue.expect_invalid(key, Value::I32(-1), why).await
}

async fn overflow(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let key = "x-overflow";
    for behaviour in ["drop-head", "reject-publish", "reject-publish-dlx"] {
        queue.expect_accepted(&one(key, text(behaviour))).await?;
    }
    for other in ["Drop-Head", "nonsense", ""] {
        queue
            .expect_invalid(key, text(other), "invalid_overflow")
            .await?;
    }
    let why = "{unacceptable_type,signedint}";
    queue.expect_invalid(key, Value::I32(1), why).await?;
    let why = "{unacceptable_type,bool}";
    queue.expect_invalid(key, Value::Bool(true), why).await
}

async fn dead_letter_exchange(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let key = "x-dead-letter-exchange";
    for exchange in ["", "amq.direct", "no such exchange"] {
        queue.expect_accepted(&one(key, text(exchange))).await?;
    }
    for (value, kind) in [(Value::I32(1), "signedint"), (Value::Void, "void")] {
        let resource = queue.resource();
        let text =
            format!("PRECONDITION_FAILED - invalid type '{kind}' for arg '{key}' in {resource}");
        queue.expect_refused(&one(key, value), text).await?;
    }
    Ok(())
}

async fn dead_letter_routing_key(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let key = "x-dead-letter-routing-key";
    let why = "routing_key_but_no_dlx_defined";
    queue.expect_invalid(key, text("k"), why).await?;
    let exchange = one("x-dead-letter-exchange", text(""));
    let both = exchange.clone().with(key, text("k"));
    queue.expect_accepted(&both).await?;
    let wrong = exchange.with(key, Value::I32(1));
    let text = queue.invalid(key, "{unacceptable_type,signedint}");
    queue.expect_refused(&wrong, text).await
}

async fn single_active_consumer(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let key = "x-single-active-consumer";
    for value in [true, false] {
        queue.expect_accepted(&one(key, Value::Bool(value))).await?;
    }
    for (value, kind) in [(text("true"), "longstr"), (Value::I32(1), "signedint")] {
        let why = format!("{{unacceptable_type,{kind}}}");
        queue.expect_invalid(key, value, &why).await?;
    }
    Ok(())
}

async fn queue_mode(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let key = "x-queue-mode";
    for mode in ["default", "lazy"] {
        queue.expect_accepted(&one(key, text(mode))).await?;
    }
    if !t.accepts(VALIDATED) {
        t.saw(SECOND_VERSION_ONLY);
        return queue.expect_accepted(&one(key, text("eager"))).await;
    }
    t.saw(VALIDATED);
    let why = "\"unsupported queue mode 'eager'\"";
    queue.expect_invalid(key, text("eager"), why).await?;
    let why = "{unacceptable_type,signedint}";
    queue.expect_invalid(key, Value::I32(1), why).await
}

async fn queue_version(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let key = "x-queue-version";
    queue.expect_accepted(&one(key, Value::I32(2))).await?;
    if t.accepts(VALIDATED) {
        t.saw(VALIDATED);
        queue.expect_accepted(&one(key, Value::I32(1))).await?;
    } else {
        t.saw(SECOND_VERSION_ONLY);
        let why = "\"unsupported queue version '1'\"";
        queue.expect_invalid(key, Value::I32(1), why).await?;
    }
    for version in [0, 3] {
        let why = format!("\"unsupported queue version '{version}'\"");
        queue.expect_invalid(key, Value::I32(version), &why).await?;
    }
    let why = "\"expected integer, got longstr\"";
    queue.expect_invalid(key, text("2"), why).await
}

async fn unknown_arguments(t: &Trial) -> Result<(), Failure> {
    let mut queue = Arguments::of_queue(t).await?;
    let unknown = TableBuf::new()
        .with("x-nobody-knows", Value::I32(-1))
        .with("anything", Value::Void);
    queue.expect_declared(&unknown).await?;
    queue.expect_declared(&TableBuf::new()).await?;
    let different = one("x-nobody-knows", text("something else"));
    queue.expect_declared(&different).await
}
