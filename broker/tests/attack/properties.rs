//! Numbers 31, 32 and 51: headers, arguments and properties that are many, strange, or somebody else's.

use std::fmt::Write as _;

use leveret_protocol::method::{basic, confirm, exchange, queue};
use leveret_protocol::{ArrayBuf, MethodId, Properties, ShortStr, Table, TableBuf, Value};

use crate::arena::Arena;
use crate::attacker::{Attacker, one};

fn with_headers(headers: Table<'_>) -> Properties<'_> {
    Properties {
        headers: Some(headers),
        ..Default::default()
    }
}

#[tokio::test]
async fn n031_as_many_headers_as_a_frame_holds_go_through_unchanged() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.declare("many", &TableBuf::new()).await;
    let repeated = (0..40_000).map(|_| ("k", Value::Void));
    let keys: Vec<_> = (0..10_000).map(|n| format!("key-{n}")).collect();
    let different = keys.iter().map(|key| (key.as_str(), Value::Bool(true)));
    for headers in [
        TableBuf::from_entries(repeated),
        TableBuf::from_entries(different),
    ] {
        let properties = with_headers(headers.view());
        attacker.publish("many", &properties, b"body").await;
        let get = basic::Get {
            queue: ShortStr(b"many"),
            no_ack: true,
            ..Default::default()
        };
        attacker.call(1, get, basic::GetOk::ID).await;
        let header = attacker.next().await.unwrap();
        let header = header.header().unwrap();
        assert_eq!(header.properties, properties.to_bytes());
        attacker.next().await.unwrap();
        arena.still_serves().await;
    }
    drop(attacker);
    arena.ends_empty().await;
}

/// Values at the ends of their types, and those that compare with nothing.
fn strange_values() -> Vec<Value<'static>> {
    vec![
        Value::F64(f64::NAN),
        Value::F32(f32::NAN),
        Value::F64(f64::INFINITY),
        Value::F64(-0.0),
        Value::F64(f64::MIN_POSITIVE),
        Value::Decimal {
            scale: 255,
            bits: u32::MAX,
        },
        Value::Timestamp(u64::MAX),
        Value::I64(i64::MIN),
        Value::I64(i64::MAX),
        Value::U32(u32::MAX),
        Value::LongStr(b"\xff\xfe"),
        Value::LongStr(b""),
        Value::ByteArray(b"\0"),
        Value::Void,
    ]
}

#[tokio::test]
async fn n031_strange_values_can_be_bound_and_published_and_match_at_most_themselves() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker
        .call(1, confirm::Select::default(), confirm::SelectOk::ID)
        .await;
    for bound in strange_values() {
        attacker.declare("strange", &TableBuf::new()).await;
        let arguments = one("k", bound);
        let bind = queue::Bind {
            queue: ShortStr(b"strange"),
            exchange: ShortStr(b"amq.headers"),
            arguments: arguments.view(),
            ..Default::default()
        };
        attacker.call(1, bind, queue::BindOk::ID).await;
        for sent in strange_values() {
            let headers = one("k", sent);
            let properties = with_headers(headers.view());
            attacker
                .publish_to("amq.headers", "", &properties, b"body")
                .await;
            attacker.expect(basic::Ack::ID).await;
            let came = attacker.get("strange").await.is_some();
            let fits = bound == Value::Void
                || sent.type_name() == bound.type_name()
                || both_strings(&bound, &sent);
            assert!(fits || !came, "{sent:?} has matched {bound:?}");
        }
        let delete = queue::Delete {
            queue: ShortStr(b"strange"),
            ..Default::default()
        };
        attacker.call(1, delete, queue::DeleteOk::ID).await;
    }
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

fn both_strings(a: &Value<'_>, b: &Value<'_>) -> bool {
    let is_string = |value: &Value<'_>| matches!(value, Value::LongStr(_) | Value::ByteArray(_));
    is_string(a) && is_string(b)
}

#[tokio::test]
async fn n031_expirations_are_decimal_numbers_in_bounds() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.declare("timed", &TableBuf::new()).await;
    let expiring = |text: &'static str| Properties {
        expiration: Some(ShortStr(text.as_bytes())),
        ..Default::default()
    };
    for wrong in [
        "",
        " 5",
        "5 ",
        "1e99",
        "-1",
        "-0x1",
        "0x10",
        "1.5",
        "NaN",
        "inf",
        "١٢٣",
        "5\0",
        "315360000001",
        "4294967296000",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999999999999999",
    ] {
        attacker.publish("timed", &expiring(wrong), b"body").await;
        let close = attacker
            .closed_channel(406, "PRECONDITION_FAILED - invalid expiration")
            .await;
        assert_eq!(close.culprit, basic::Publish::ID, "{wrong}");
        attacker.open_channel(1).await;
    }
    for right in [
        "315360000000",
        "4294967295",
        "4294967296",
        "+5000000",
        "0005000000",
    ] {
        attacker.publish("timed", &expiring(right), b"body").await;
        assert_eq!(attacker.get("timed").await.unwrap(), b"body");
    }
    attacker.publish("timed", &expiring("0"), b"body").await;
    assert_eq!(attacker.get("timed").await, None);
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

/// A queue with this argument is refused, with its name and a part of the reason.
async fn refuses_argument(attacker: &mut Attacker, key: &str, value: Value<'_>, reason: &str) {
    let arguments = one(key, value);
    let declare = queue::Declare {
        queue: ShortStr(b"refused"),
        arguments: arguments.view(),
        ..Default::default()
    };
    attacker.method(1, declare).await;
    let close = attacker.closed_channel(406, key).await;
    assert!(close.text.contains(reason), "{key} {value:?}: {close:?}");
    assert_eq!(close.culprit, queue::Declare::ID);
    attacker.open_channel(1).await;
}

#[tokio::test]
async fn n031_queue_arguments_are_whole_numbers_in_bounds() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    for key in [
        "x-message-ttl",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
    ] {
        for wrong in [
            Value::LongStr(b"5"),
            Value::LongStr(b"1e99"),
            Value::F64(f64::NAN),
            Value::F64(1e99),
            Value::Bool(true),
            Value::Timestamp(5),
            Value::Decimal { scale: 0, bits: 5 },
            Value::Void,
            Value::ByteArray(b"5"),
            Value::Table(Table::default()),
        ] {
            refuses_argument(&mut attacker, key, wrong, "expected integer").await;
        }
        for negative in [-1, i64::MIN] {
            refuses_argument(&mut attacker, key, Value::I64(negative), "value_negative").await;
        }
    }
    for key in ["x-message-ttl", "x-expires"] {
        for late in [315_360_000_001, i64::MAX] {
            refuses_argument(&mut attacker, key, Value::I64(late), "value_too_large").await;
        }
    }
    for key in ["x-max-priority"] {
        for high in [256, i64::MAX] {
            refuses_argument(&mut attacker, key, Value::I64(high), "max_value_exceeded").await;
        }
    }
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n031_a_limit_of_deliveries_and_a_delay_are_numbers_too() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    for wrong in [Value::I64(-2), Value::LongStr(b"5"), Value::F64(f64::NAN)] {
        let arguments = TableBuf::from_entries([
            ("x-queue-type", Value::LongStr(b"quorum")),
            ("x-delivery-limit", wrong),
        ]);
        let declare = queue::Declare {
            queue: ShortStr(b"limited"),
            durable: true,
            arguments: arguments.view(),
            ..Default::default()
        };
        attacker.method(1, declare).await;
        attacker.closed_channel(406, "x-delivery-limit").await;
        attacker.open_channel(1).await;
    }
    let arguments = one("x-delayed-type", Value::LongStr(b"fanout"));
    let declare = exchange::Declare {
        exchange: ShortStr(b"later"),
        kind: ShortStr(b"x-delayed-message"),
        arguments: arguments.view(),
        ..Default::default()
    };
    attacker.call(1, declare, exchange::DeclareOk::ID).await;
    attacker
        .call(1, confirm::Select::default(), confirm::SelectOk::ID)
        .await;
    for delay in [
        Value::I64(i64::MAX),
        Value::I64(i64::MIN),
        Value::F64(f64::NAN),
        Value::LongStr(b"1e99"),
        Value::Timestamp(u64::MAX),
    ] {
        let headers = one("x-delay", delay);
        attacker
            .publish_to("later", "k", &with_headers(headers.view()), b"body")
            .await;
        // Taken, or refused by name; either way the channel's peer knows which.
        let frame = attacker.next().await.unwrap();
        let id = frame.method().unwrap().id();
        assert!(
            matches!(id, basic::Ack::ID | basic::Nack::ID),
            "{delay:?}: {frame:?}"
        );
    }
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n031_priorities_above_the_highest_are_the_highest() {
    let arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker
        .declare("ranked", &one("x-max-priority", Value::I32(255)))
        .await;
    for (priority, body) in [(0, b"a"), (254, b"b"), (255, b"c")] {
        let properties = Properties {
            priority: Some(priority),
            ..Default::default()
        };
        attacker.publish("ranked", &properties, body).await;
    }
    let mut came = String::new();
    while let Some(body) = attacker.get("ranked").await {
        let _ = write!(came, "{}", body.escape_ascii());
    }
    assert_eq!(came, "cba");
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n032_nobody_publishes_as_somebody_else() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.declare("signed", &TableBuf::new()).await;
    for user in ["root", "", "Guest", "guest ", "guest\0"] {
        // The properties lie in one read with all of it, or apart from a large body.
        for body in [&b""[..], b"body", &[7; 200_000]] {
            let properties = Properties {
                user_id: Some(ShortStr(user.as_bytes())),
                ..Default::default()
            };
            attacker.publish("signed", &properties, body).await;
            let text =
                format!("user_id property set to '{user}' but authenticated user was 'guest'");
            let close = attacker.closed_channel(406, &text).await;
            assert_eq!(close.culprit, basic::Publish::ID);
            attacker.open_channel(1).await;
        }
    }
    // Not in headers either, after the body, or twice: there is one place for it.
    let own = Properties {
        user_id: Some(ShortStr(b"guest")),
        ..Default::default()
    };
    attacker.publish("signed", &own, b"own").await;
    assert_eq!(attacker.get("signed").await.unwrap(), b"own");
    assert_eq!(attacker.get("signed").await, None);
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n051_copies_to_very_many_keys_cost_their_bytes() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker
        .call(1, confirm::Select::default(), confirm::SelectOk::ID)
        .await;
    attacker.declare("copied", &TableBuf::new()).await;
    // As many as a frame holds: different keys, the same one, and none.
    let keys: Vec<_> = (0..10_000).map(|n| format!("k{n}")).collect();
    let different: ArrayBuf = keys
        .iter()
        .map(|key| Value::LongStr(key.as_bytes()))
        .collect();
    let same: ArrayBuf = (0..11_000).map(|_| Value::LongStr(b"copied")).collect();
    let none: ArrayBuf = (0..100_000).map(|_| Value::Void).collect();
    for header in ["CC", "BCC"] {
        for keys in [&different, &same, &none] {
            let headers = one(header, Value::Array(keys.view()));
            let properties = with_headers(headers.view());
            attacker.publish("copied", &properties, b"once").await;
            attacker.expect(basic::Ack::ID).await;
            assert_eq!(attacker.get("copied").await.unwrap(), b"once");
            assert_eq!(attacker.get("copied").await, None);
            arena.still_serves().await;
        }
        let headers = one(header, Value::LongStr(b"no array"));
        attacker
            .publish("copied", &with_headers(headers.view()), b"x")
            .await;
        let close = attacker
            .closed_channel(406, "unacceptable_type_in_header")
            .await;
        assert_ne!(close.culprit, MethodId::NONE);
        attacker.open_channel(1).await;
        attacker
            .call(1, confirm::Select::default(), confirm::SelectOk::ID)
            .await;
    }
    drop(attacker);
    arena.ends_empty().await;
}
