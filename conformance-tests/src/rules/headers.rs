//! Routing by headers exchanges.

use leveret_protocol::method::{exchange, queue};
use leveret_protocol::{ArrayBuf, Properties, TableBuf, Value};

use super::routing::Routing;
use crate::failure::{Failure, expect_eq};
use crate::raw::transient_exchange;
use crate::registry::Section;
use crate::trial::Trial;

pub(crate) const SECTION: Section = Section::complete("HEADERS", &[RULES]);

variants! { NUMBERS: "HEADERS-07" {
    EQUAL "equal" "The integer 1 and the double 1.0 match.";
    STRICT "strict" "The integer 1 and the double 1.0 do not match.";
} }

variants! { TIMESTAMPS: "HEADERS-08" {
    MATCHES_ITS_LIKE "matches" "A timestamp matches the same timestamp.";
    NEVER_MATCHES "never-matches" "A timestamp in a binding matches none.";
} }

rules! {
    "HEADERS-01" all_is_the_default [raw] "Without x-match all arguments must match.";
    "HEADERS-01" any_needs_one [raw] "With any, one match is enough.";
    "HEADERS-02" x_arguments_are_ignored [raw] "all and any do not look at x-…";
    "HEADERS-02" x_arguments_with_x [raw] "all-with-x and any-with-x do.";
    "HEADERS-02" x_match_itself [raw] "x-match itself is never compared.";
    "HEADERS-03" all_of_nothing [raw] "all without arguments matches every message.";
    "HEADERS-04" any_of_nothing [raw] "any without arguments matches none.";
    "HEADERS-05" void_binding_value [raw] "A void argument asks for presence only.";
    "HEADERS-06" integers_of_any_width [raw] "Integers compare by value.";
    "HEADERS-06" strings_and_byte_arrays [raw] "Strings compare by bytes, never with numbers.";
    "HEADERS-06" other_scalars [raw] "Booleans, doubles and timestamps compare by value.";
    "HEADERS-06" nested_values [raw] "Arrays and tables compare by their contents.";
    "HEADERS-07" integer_and_double [raw, variants(&[NUMBERS])] "1 and 1.0 are equal, or not.";
    "HEADERS-08" timestamps [raw, variants(&[TIMESTAMPS])] "A timestamp matches its like.";
    "HEADERS-09" invalid_x_match [raw] "Another x-match is refused.";
    "HEADERS-09" invalid_x_match_of_exchanges [raw] "… also between exchanges.";
    "HEADERS-10" further_headers [raw] "Headers that no argument names do not matter.";
    "HEADERS-11" routing_key_is_ignored [raw] "The routing key does not matter.";
    "HEADERS-12" void_header [raw] "A void header matches a void argument only.";
}

fn table<'v>(entries: &[(&'v str, Value<'v>)]) -> TableBuf {
    TableBuf::from_entries(entries.iter().copied())
}

fn text(text: &str) -> Value<'_> {
    Value::LongStr(text.as_bytes())
}

/// Binds with these arguments, and tries messages with headers that match and headers that do not.
async fn expect_matches(
    t: &Trial,
    arguments: &TableBuf,
    matching: &[TableBuf],
    other: &[TableBuf],
) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "headers").await?;
    let step = |failure: Failure| failure.at(format!("binding {arguments:?}"));
    routing.bind_with("", arguments.view()).await?;
    for headers in matching {
        let routed = routing.expect_headers_routed(headers, true).await;
        routed.map_err(step)?;
    }
    for headers in other {
        let routed = routing.expect_headers_routed(headers, false).await;
        routed.map_err(step)?;
    }
    // The next call finds the same exchange and queue again.
    routing.unbind_with("", arguments.view()).await
}

/// One argument `a`, and headers `a` that match and that do not.
async fn expect_value(
    t: &Trial,
    argument: Value<'_>,
    matching: &[Value<'_>],
    other: &[Value<'_>],
) -> Result<(), Failure> {
    let header = |value: &Value<'_>| table(&[("a", *value)]);
    let matching: Vec<_> = matching.iter().map(header).collect();
    let other: Vec<_> = other.iter().map(header).collect();
    expect_matches(t, &header(&argument), &matching, &other).await
}

async fn all_is_the_default(t: &Trial) -> Result<(), Failure> {
    let (a, b) = (("a", Value::I32(1)), ("b", text("x")));
    let other = [
        table(&[a]),
        table(&[b]),
        table(&[a, ("b", text("y"))]),
        table(&[]),
    ];
    expect_matches(t, &table(&[a, b]), &[table(&[b, a])], &other).await?;
    let all = table(&[("x-match", text("all")), a, b]);
    expect_matches(t, &all, &[table(&[b, a])], &other).await
}

async fn any_needs_one(t: &Trial) -> Result<(), Failure> {
    let (a, b) = (("a", Value::I32(1)), ("b", text("x")));
    let matching = [
        table(&[a]),
        table(&[b]),
        table(&[a, b]),
        table(&[a, ("b", text("y"))]),
    ];
    let other = [
        table(&[]),
        table(&[("b", text("y"))]),
        table(&[("c", text("x"))]),
    ];
    let any = table(&[("x-match", text("any")), a, b]);
    expect_matches(t, &any, &matching, &other).await
}

async fn x_arguments_are_ignored(t: &Trial) -> Result<(), Failure> {
    let (a, x) = (("a", Value::I32(1)), ("x-b", text("x")));
    let all = table(&[("x-match", text("all")), a, x]);
    expect_matches(t, &all, &[table(&[a])], &[table(&[x])]).await?;
    let any = table(&[("x-match", text("any")), a, x]);
    expect_matches(t, &any, &[table(&[a])], &[table(&[x])]).await
}

async fn x_arguments_with_x(t: &Trial) -> Result<(), Failure> {
    let (a, x) = (("a", Value::I32(1)), ("x-b", text("x")));
    let all = table(&[("x-match", text("all-with-x")), a, x]);
    let other = [table(&[a]), table(&[x])];
    expect_matches(t, &all, &[table(&[a, x])], &other).await?;
    let any = table(&[("x-match", text("any-with-x")), a, x]);
    let matching = [table(&[a]), table(&[x])];
    expect_matches(t, &any, &matching, &[table(&[])]).await
}

async fn x_match_itself(t: &Trial) -> Result<(), Failure> {
    let same = table(&[("x-match", text("any-with-x"))]);
    expect_matches(t, &same, &[], std::slice::from_ref(&same)).await?;
    let all = table(&[("x-match", text("all-with-x"))]);
    let different = table(&[("x-match", text("something else"))]);
    expect_matches(t, &all, &[different, table(&[])], &[]).await
}

async fn all_of_nothing(t: &Trial) -> Result<(), Failure> {
    for arguments in [
        table(&[]),
        table(&[("x-match", text("all"))]),
        table(&[("x-match", text("all")), ("x-b", text("x"))]),
    ] {
        let mut routing = Routing::of_type(t, "headers").await?;
        routing.bind_with("", arguments.view()).await?;
        routing.expect_routed("no headers property", true).await?;
        routing.expect_headers_routed(&table(&[]), true).await?;
        let some = table(&[("a", Value::I32(1))]);
        routing.expect_headers_routed(&some, true).await?;
        routing.unbind_with("", arguments.view()).await?;
    }
    Ok(())
}

async fn any_of_nothing(t: &Trial) -> Result<(), Failure> {
    for arguments in [
        table(&[("x-match", text("any"))]),
        table(&[("x-match", text("any")), ("x-b", text("x"))]),
    ] {
        let mut routing = Routing::of_type(t, "headers").await?;
        routing.bind_with("", arguments.view()).await?;
        routing.expect_routed("no headers property", false).await?;
        let some = table(&[("a", Value::I32(1)), ("x-b", text("x"))]);
        routing.expect_headers_routed(&some, false).await?;
        routing.unbind_with("", arguments.view()).await?;
    }
    Ok(())
}

async fn void_binding_value(t: &Trial) -> Result<(), Failure> {
    let inner = table(&[("k", Value::Bool(true))]);
    let matching = [
        Value::I32(1),
        text(""),
        Value::Bool(false),
        Value::Void,
        Value::Table(inner.view()),
    ];
    expect_value(t, Value::Void, &matching, &[]).await?;
    let argument = table(&[("a", Value::Void)]);
    let absent = table(&[("b", Value::I32(1))]);
    expect_matches(t, &argument, &[], &[absent, table(&[])]).await?;
    let mut routing = Routing::of_type(t, "headers").await?;
    routing.bind_with("", argument.view()).await?;
    routing.expect_routed("no headers property", false).await
}

/// The value 1 in each integer type that can be built.
const ONES: [Value<'_>; 7] = [
    Value::I8(1),
    Value::U8(1),
    Value::I16(1),
    Value::U16(1),
    Value::I32(1),
    Value::U32(1),
    Value::I64(1),
];

async fn integers_of_any_width(t: &Trial) -> Result<(), Failure> {
    let other = [Value::I32(2), Value::I64(-1), text("1"), Value::Bool(true)];
    for argument in ONES {
        expect_value(t, argument, &ONES, &other).await?;
    }
    Ok(())
}

async fn strings_and_byte_arrays(t: &Trial) -> Result<(), Failure> {
    let bytes = Value::ByteArray(b"1");
    let other = [text("2"), Value::I32(1), text("11"), text("")];
    expect_value(t, text("1"), &[text("1"), bytes], &other).await?;
    expect_value(t, bytes, &[text("1"), bytes], &other).await?;
    let cases = [text("abc"), text("Abc ")];
    expect_value(t, text("Abc"), &[text("Abc")], &cases).await
}

async fn other_scalars(t: &Trial) -> Result<(), Failure> {
    let (yes, no) = (Value::Bool(true), Value::Bool(false));
    expect_value(t, yes, &[yes], &[no, Value::I32(1), text("true")]).await?;
    let (half, other) = (Value::F64(0.5), Value::F64(0.25));
    expect_value(t, half, &[half], &[other, text("0.5")]).await?;
    let decimal = |scale, bits| Value::Decimal { scale, bits };
    let (one, ten) = (decimal(1, 10), decimal(1, 11));
    expect_value(t, one, &[one], &[ten]).await
}

async fn nested_values(t: &Trial) -> Result<(), Failure> {
    let array = |values: &[Value<'_>]| -> ArrayBuf { values.iter().copied().collect() };
    let (one, two) = (Value::I32(1), text("two"));
    let (same, swapped) = (array(&[one, two]), array(&[two, one]));
    let shorter = array(&[one]);
    let other = [
        Value::Array(swapped.view()),
        Value::Array(shorter.view()),
        one,
    ];
    let same = Value::Array(same.view());
    expect_value(t, same, &[same], &other).await?;

    let inner = table(&[("k", one), ("l", two)]);
    let different = table(&[("k", one), ("l", text("three"))]);
    let other = [Value::Table(different.view()), one];
    let inner = Value::Table(inner.view());
    expect_value(t, inner, &[inner], &other).await
}

async fn integer_and_double(t: &Trial) -> Result<(), Failure> {
    let (one, double) = (Value::I32(1), Value::F64(1.0));
    let answers = [(EQUAL, true), (STRICT, false)];
    let came = is_matched(t, one, double).await?;
    t.expect_variant_of("whether 1.0 matches 1", came, &answers)?;
    let other_way = is_matched(t, double, one).await?;
    expect_eq("whether 1 matches 1.0", other_way, came)
}

/// Whether a header with this value reaches who has bound with that one.
async fn is_matched(t: &Trial, argument: Value<'_>, header: Value<'_>) -> Result<bool, Failure> {
    let mut routing = Routing::of_type(t, "headers").await?;
    let (argument, headers) = (table(&[("a", argument)]), table(&[("a", header)]));
    routing.bind_with("", argument.view()).await?;
    let properties = Properties {
        headers: Some(headers.view()),
        ..Default::default()
    };
    let came = routing.is_routed("any", properties).await?;
    // The next call finds the same exchange and queue again.
    routing.unbind_with("", argument.view()).await?;
    Ok(came)
}

async fn timestamps(t: &Trial) -> Result<(), Failure> {
    let (now, later) = (
        Value::Timestamp(1_700_000_000),
        Value::Timestamp(1_700_000_001),
    );
    let came = is_matched(t, now, now).await?;
    let answers = [(MATCHES_ITS_LIKE, true), (NEVER_MATCHES, false)];
    t.expect_variant_of("whether a timestamp matches itself", came, &answers)?;
    expect_value(t, now, &[], &[later, text("1700000000")]).await
}

/// What x-match may not be, and how that is told.
const INVALID_X_MATCH: [(Value<'_>, &str); 7] = [
    (
        Value::LongStr(b"foo"),
        "PRECONDITION_FAILED - Invalid x-match field value <<\"foo\">>; \
         expected all, any, all-with-x, or any-with-x",
    ),
    (
        Value::LongStr(b"Any"),
        "PRECONDITION_FAILED - Invalid x-match field value <<\"Any\">>; \
         expected all, any, all-with-x, or any-with-x",
    ),
    (
        Value::LongStr(b""),
        "PRECONDITION_FAILED - Invalid x-match field value <<>>; \
         expected all, any, all-with-x, or any-with-x",
    ),
    (
        Value::LongStr(b"a\"b"),
        "PRECONDITION_FAILED - Invalid x-match field value <<\"a\\\"b\">>; \
         expected all, any, all-with-x, or any-with-x",
    ),
    (
        Value::LongStr(&[0, 255]),
        "PRECONDITION_FAILED - Invalid x-match field value <<0,255>>; \
         expected all, any, all-with-x, or any-with-x",
    ),
    (
        Value::ByteArray(b"all"),
        "PRECONDITION_FAILED - Invalid x-match field type binary (value <<\"all\">>); \
         expected longstr",
    ),
    (
        Value::I32(1),
        "PRECONDITION_FAILED - Invalid x-match field type signedint (value 1); expected longstr",
    ),
];

async fn invalid_x_match(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "headers").await?;
    for (value, refusal) in INVALID_X_MATCH {
        let arguments = table(&[("x-match", value)]);
        let bind = queue::Bind {
            queue: routing.queue.as_str().into(),
            exchange: routing.exchange.as_str().into(),
            arguments: arguments.view(),
            ..Default::default()
        };
        let raw = &mut routing.raw;
        raw.send_method(1, bind).await?;
        raw.expect_channel_close(1, 406, refusal, queue::Bind::ID)
            .await?;
        raw.open_channel(1).await?;
    }
    Ok(())
}

async fn invalid_x_match_of_exchanges(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "headers").await?;
    let destination = t.name("destination");
    let raw = &mut routing.raw;
    raw.declare_exchange(1, transient_exchange(&destination, "fanout"))
        .await?;
    for (value, refusal) in INVALID_X_MATCH {
        let arguments = table(&[("x-match", value)]);
        let bind = exchange::Bind {
            destination: destination.as_str().into(),
            source: routing.exchange.as_str().into(),
            arguments: arguments.view(),
            ..Default::default()
        };
        raw.send_method(1, bind).await?;
        raw.expect_channel_close(1, 406, refusal, exchange::Bind::ID)
            .await?;
        raw.open_channel(1).await?;
    }
    Ok(())
}

async fn further_headers(t: &Trial) -> Result<(), Failure> {
    let a = ("a", Value::I32(1));
    let further = [("0", text("before")), a, ("z", text("behind"))];
    for x_match in ["all", "any", "all-with-x", "any-with-x"] {
        let arguments = table(&[("x-match", text(x_match)), a]);
        expect_matches(t, &arguments, &[table(&further)], &[]).await?;
    }
    Ok(())
}

async fn routing_key_is_ignored(t: &Trial) -> Result<(), Failure> {
    let mut routing = Routing::of_type(t, "headers").await?;
    let arguments = table(&[("a", Value::I32(1))]);
    routing.bind_with("key", arguments.view()).await?;
    routing.expect_routed("key", false).await?;
    let properties = Properties {
        headers: Some(arguments.view()),
        ..Default::default()
    };
    let routed = routing.is_routed("another", properties).await?;
    expect_eq("whether another key is routed", routed, true)
}

async fn void_header(t: &Trial) -> Result<(), Failure> {
    for argument in [Value::I32(0), text(""), Value::Bool(false)] {
        expect_value(t, argument, &[argument], &[Value::Void]).await?;
    }
    expect_value(t, Value::Void, &[Value::Void], &[]).await
}
