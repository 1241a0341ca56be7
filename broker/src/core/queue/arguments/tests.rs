//! Queue arguments, with the reply texts that a RabbitMQ 3.10.8 was seen to send.
#![allow(clippy::unwrap_used)]

use super::*;
use leveret_protocol::TableBuf;

fn check(entries: &[(&str, Value<'_>)]) -> Result<QueueArguments, Fault> {
    let table = TableBuf::from_entries(entries.iter().copied());
    QueueArguments::check(table.view(), "q", "/")
}

fn said(entries: &[(&str, Value<'_>)]) -> String {
    check(entries).unwrap_err().reply_text()
}

/// Asserts the reason given for one argument alone.
fn refused(key: &str, value: Value<'_>, why: &str) {
    assert_eq!(
        said(&[(key, value)]),
        format!("PRECONDITION_FAILED - invalid arg '{key}' for queue 'q' in vhost '/': {why}")
    );
}

fn not_for(entries: &[(&str, Value<'_>)], key: &str, module: &str) {
    assert_eq!(
        said(entries),
        format!(
            "PRECONDITION_FAILED - invalid arg '{key}' for queue 'q' in vhost '/' of queue \
             type {module}"
        )
    );
}

#[test]
fn qarg_01_integers_of_every_width_and_nothing_else() {
    let widths = [
        Value::I8(5),
        Value::U8(5),
        Value::I16(5),
        Value::U16(5),
        Value::I32(5),
        Value::U32(5),
        Value::I64(5),
    ];
    for five in widths {
        let arguments = check(&[("x-max-length", five)]).unwrap();
        assert_eq!(arguments.length_max, Some(5));
    }
    let wrong = [
        (Value::LongStr(b"1"), "longstr"),
        (Value::F64(1.0), "double"),
        (Value::Bool(true), "bool"),
        (Value::Timestamp(0), "timestamp"),
        (Value::ByteArray(b""), "binary"),
        (Value::Void, "void"),
    ];
    for (value, name) in wrong {
        let why = format!("\"expected integer, got {name}\"");
        refused("x-message-ttl", value, &why);
    }
}

#[test]
fn qarg_02_message_ttl_reaches_from_zero_to_ten_years() {
    let ttl = |ms| check(&[("x-message-ttl", Value::I64(ms))]).map(|a| a.message_ttl_ms);
    assert_eq!(ttl(0), Ok(Some(0)));
    assert_eq!(ttl(315_360_000_000), Ok(Some(315_360_000_000)));
    refused("x-message-ttl", Value::I32(-1), "{value_negative,-1}");
    let beyond = Value::I64(315_360_000_001);
    refused("x-message-ttl", beyond, "{value_too_large,315360000001}");
}

#[test]
fn qarg_03_expires_is_positive() {
    refused("x-expires", Value::I32(0), "{value_zero,0}");
    refused("x-expires", Value::I32(-7), "{value_negative,-7}");
    let arguments = check(&[("x-expires", Value::I32(1))]).unwrap();
    assert_eq!(arguments.expires_ms, Some(1));
}

#[test]
fn qarg_04_lengths_are_not_negative() {
    for key in ["x-max-length", "x-max-length-bytes"] {
        refused(key, Value::I64(-5), "{value_negative,-5}");
    }
    let arguments = check(&[("x-max-length-bytes", Value::U8(0))]).unwrap();
    assert_eq!(arguments.length_bytes_max, Some(0));
}

#[test]
fn qarg_05_max_priority_is_an_octet() {
    refused(
        "x-max-priority",
        Value::I32(256),
        "{max_value_exceeded,256}",
    );
    refused("x-max-priority", Value::I32(-1), "{value_negative,-1}");
    let arguments = check(&[("x-max-priority", Value::I32(255))]).unwrap();
    assert_eq!(arguments.max_priority, Some(255));
}

#[test]
fn qarg_06_overflow_is_one_of_three() {
    let named = [
        (&b"drop-head"[..], Overflow::DropHead),
        (b"reject-publish", Overflow::RejectPublish),
        (b"reject-publish-dlx", Overflow::RejectPublishDeadLetter),
    ];
    for (name, overflow) in named {
        let arguments = check(&[("x-overflow", Value::LongStr(name))]).unwrap();
        assert_eq!(arguments.overflow, Some(overflow));
    }
    refused("x-overflow", Value::LongStr(b"no"), "invalid_overflow");
    refused("x-overflow", Value::I32(1), "{unacceptable_type,signedint}");
}

#[test]
fn qarg_07_the_dead_letter_exchange_is_a_string_and_has_its_own_text() {
    assert_eq!(
        said(&[("x-dead-letter-exchange", Value::I32(1))]),
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in \
         queue 'q' in vhost '/'"
    );
    let default = check(&[("x-dead-letter-exchange", Value::LongStr(b""))]).unwrap();
    assert_eq!(default.dead_letter_exchange.as_deref(), Some(&b""[..]));
}

#[test]
fn qarg_08_a_dead_letter_key_needs_an_exchange() {
    let key = ("x-dead-letter-routing-key", Value::LongStr(b"k"));
    refused(key.0, key.1, "routing_key_but_no_dlx_defined");
    refused(key.0, Value::I32(1), "{unacceptable_type,signedint}");
    let both = check(&[key, ("x-dead-letter-exchange", Value::LongStr(b"x"))]).unwrap();
    assert_eq!(both.dead_letter_routing_key.as_deref(), Some(&b"k"[..]));
    assert_eq!(both.dead_letter_exchange.as_deref(), Some(&b"x"[..]));
}

#[test]
fn qarg_09_single_active_consumer_is_a_boolean() {
    let key = "x-single-active-consumer";
    refused(key, Value::I32(1), "{unacceptable_type,signedint}");
    assert!(
        check(&[(key, Value::Bool(true))])
            .unwrap()
            .single_active_consumer
    );
    assert!(
        !check(&[(key, Value::Bool(false))])
            .unwrap()
            .single_active_consumer
    );
}

#[test]
fn qarg_10_the_type_is_one_of_three() {
    let key = "x-queue-type";
    refused(
        key,
        Value::LongStr(b"foo"),
        "\"unsupported queue type 'foo'\"",
    );
    refused(key, Value::I32(1), "{unacceptable_type,signedint}");
    refused(
        key,
        Value::ByteArray(b"classic"),
        "{unacceptable_type,binary}",
    );
    let classic = check(&[(key, Value::LongStr(b"classic"))]).unwrap();
    assert_eq!(classic, QueueArguments::default());
}

#[test]
fn qarg_10_types_that_cannot_be_made_end_the_connection_after_their_arguments_are_judged() {
    let name = "stream";
    let kind = ("x-queue-type", Value::LongStr(name.as_bytes()));
    let fault = check(&[kind]).unwrap_err();
    assert_eq!(fault.code, ReplyCode::NotImplemented);
    assert_eq!(
        fault.explanation,
        format!("queue type '{name}' of queue 'q' in vhost '/' is not available")
    );
    let fault = check(&[kind, ("x-max-length-bytes", Value::I8(-1))]).unwrap_err();
    assert_eq!(fault.code, ReplyCode::PreconditionFailed);
}

#[test]
fn qarg_11_mode_and_version_are_those_of_3_x() {
    for mode in [&b"default"[..], b"lazy"] {
        assert!(check(&[("x-queue-mode", Value::LongStr(mode))]).is_ok());
    }
    let mode = Value::LongStr(b"m");
    refused("x-queue-mode", mode, "\"unsupported queue mode 'm'\"");
    assert!(check(&[("x-queue-version", Value::I32(2))]).is_ok());
    let version = Value::I32(3);
    refused(
        "x-queue-version",
        version,
        "\"unsupported queue version '3'\"",
    );
}

#[test]
fn qarg_12_arguments_of_another_type_are_refused() {
    let one = Value::I32(1);
    for key in [
        "x-max-age",
        "x-quorum-initial-group-size",
        "x-queue-leader-locator",
    ] {
        not_for(&[(key, one)], key, "rabbit_classic_queue");
    }
    let quorum = ("x-queue-type", Value::LongStr(b"quorum"));
    let given = [quorum, ("x-max-priority", one)];
    not_for(&given, "x-max-priority", "rabbit_quorum_queue");
    let stream = ("x-queue-type", Value::LongStr(b"stream"));
    let given = [stream, ("x-message-ttl", one)];
    not_for(&given, "x-message-ttl", "rabbit_stream_queue");
}

#[test]
fn qarg_12_a_limit_of_deliveries_and_a_strategy_for_dead_letters_are_for_classic_queues_too() {
    let limit = "x-delivery-limit";
    let limited = check(&[(limit, Value::I32(5))]).unwrap();
    assert_eq!(limited.delivery_limit, Some(5));
    refused(limit, Value::I32(-1), "{value_negative,-1}");
    let wrong = Value::LongStr(b"5");
    refused(limit, wrong, "\"expected integer, got longstr\"");
    let strategy = "x-dead-letter-strategy";
    refused(strategy, Value::LongStr(b"no"), "invalid_dlx_strategy");
    let at_least_once = (strategy, Value::LongStr(b"at-least-once"));
    let exchange = ("x-dead-letter-exchange", Value::LongStr(b"x"));
    let rejects = ("x-overflow", Value::LongStr(b"reject-publish"));
    let holds = |given: &[_]| check(given).unwrap().holds_dead_letters();
    assert!(holds(&[at_least_once, exchange, rejects]));
    assert!(!holds(&[at_least_once, exchange]), "the head is dropped");
    assert!(!holds(&[at_least_once, rejects]), "there is no exchange");
}

#[test]
fn qq_10_arguments_of_quorum_queues() {
    let quorum = ("x-queue-type", Value::LongStr(b"quorum"));
    for given in [
        ("x-quorum-initial-group-size", Value::I32(3)),
        ("x-max-in-memory-length", Value::I32(0)),
        ("x-max-in-memory-bytes", Value::I32(0)),
        ("x-queue-leader-locator", Value::LongStr(b"client-local")),
        ("x-overflow", Value::LongStr(b"reject-publish")),
        ("x-overflow", Value::LongStr(b"reject-publish-dlx")),
    ] {
        let arguments = check(&[quorum, given]).unwrap();
        assert_eq!(arguments.queue_type, QueueType::Quorum);
    }
}

#[test]
fn qarg_14_no_word_and_undefined_are_no_default_type() {
    let default = QueueType::default_from_name;
    assert_eq!(default(""), Some(QueueType::Classic));
    assert_eq!(default("undefined"), Some(QueueType::Classic));
    assert_eq!(default("quorum"), Some(QueueType::Quorum));
    assert_eq!(default("Quorum"), None);
}

#[test]
fn qarg_12_a_stream_age_is_a_number_and_a_unit() {
    let age = |text: &'static str| {
        let stream = ("x-queue-type", Value::LongStr(b"stream"));
        let age = ("x-max-age", Value::LongStr(text.as_bytes()));
        check(&[stream, age]).unwrap_err().code
    };
    assert_eq!(age("7D"), ReplyCode::NotImplemented, "the age is fine");
    for wrong in ["", "D", "7", "0D", "7W", "-1D", "7 D"] {
        assert_eq!(age(wrong), ReplyCode::PreconditionFailed, "{wrong:?}");
    }
}

#[test]
fn qarg_13_unknown_arguments_are_no_concern() {
    let unknown = [("x-colour", Value::Void), ("x-max-lengthy", Value::I8(-1))];
    assert_eq!(check(&unknown), Ok(QueueArguments::default()));
}

#[test]
fn deliv_13_a_consumer_timeout_is_an_integer_that_is_not_negative() {
    let timeout = |value| {
        check(&[("x-consumer-timeout", value)])
            .unwrap()
            .consumer_timeout_ms
    };
    assert_eq!(timeout(Value::I8(0)), Some(0));
    assert_eq!(timeout(Value::I64(60_000)), Some(60_000));
    assert_eq!(check(&[]).unwrap().consumer_timeout_ms, None);
    let refused = [
        (Value::I32(-1), "{value_negative,-1}"),
        (Value::LongStr(b"1"), "\"expected integer, got longstr\""),
    ];
    for (value, why) in refused {
        assert_eq!(
            said(&[("x-consumer-timeout", value)]),
            format!(
                "PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for queue 'q' in vhost '/': \
                 {why}"
            )
        );
    }
}

#[test]
fn qarg_15_the_dead_letter_exchange_is_judged_first_and_the_type_second() {
    let wrong_type = ("x-queue-type", Value::LongStr(b"foo"));
    let wrong_ttl = ("x-message-ttl", Value::I32(-1));
    let wrong_exchange = ("x-dead-letter-exchange", Value::I32(1));
    let foreign = ("x-max-age", Value::I32(1));
    assert!(said(&[foreign, wrong_ttl, wrong_type, wrong_exchange]).contains("invalid type"));
    assert!(said(&[foreign, wrong_ttl, wrong_type]).contains("x-queue-type"));
    assert!(said(&[foreign, wrong_ttl]).contains("x-message-ttl"));
}

fn difference(current: &[(&str, Value<'_>)], received: &[(&str, Value<'_>)]) -> Option<String> {
    let current = TableBuf::from_entries(current.iter().copied());
    let received = TableBuf::from_entries(received.iter().copied());
    arguments_inequivalence(current.view(), received.view(), "q", "/")
        .map(|fault| fault.reply_text())
}

#[test]
fn qarg_30_only_arguments_that_the_type_knows_are_compared() {
    let unknown = [("x-colour", Value::I8(1)), ("x-max-age", Value::I8(1))];
    assert_eq!(difference(&[], &unknown), None);
    let locator = [("x-queue-master-locator", Value::LongStr(b"random"))];
    assert!(difference(&[], &locator).is_some());
}

#[test]
fn qarg_32_the_first_difference_is_told() {
    let ttl = |ms| [("x-message-ttl", Value::I32(ms))];
    assert_eq!(
        difference(&ttl(100), &ttl(200)).unwrap(),
        "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': \
         received '200' but current is '100'"
    );
    assert_eq!(difference(&ttl(100), &ttl(100)), None);
}

#[test]
fn qarg_33_quorum_for_a_classic_queue_says_the_type() {
    let quorum = [("x-queue-type", Value::LongStr(b"quorum"))];
    assert!(
        difference(&[], &quorum)
            .unwrap()
            .ends_with("received the value 'quorum' of type 'longstr' but current is none")
    );
}

#[test]
fn qarg_34_classic_and_nothing_are_the_same_type() {
    let classic = [("x-queue-type", Value::LongStr(b"classic"))];
    assert_eq!(difference(&classic, &[]), None);
    assert_eq!(difference(&[], &classic), None);
}

#[test]
fn qarg_36_an_invalid_value_is_merely_different() {
    let difference = difference(&[], &[("x-message-ttl", Value::I32(-1))]).unwrap();
    assert!(difference.contains("inequivalent arg 'x-message-ttl'"));
}

#[test]
fn deduplication_is_judged_only_where_it_is_asked_for() {
    let asked = ("x-message-deduplication", Value::Bool(true));
    refused(
        "x-message-deduplication",
        Value::LongStr(b"yes"),
        "{unacceptable_type,longstr}",
    );
    for key in ["x-cache-size", "x-cache-ttl"] {
        for wrong in [Value::I32(0), Value::Bool(true), Value::LongStr(b"x")] {
            assert!(check(&[(key, wrong)]).is_ok(), "{key} alone means nothing");
            let said = said(&[asked, (key, wrong)]);
            assert!(
                said.contains(&format!("invalid arg '{key}' for queue 'q'")),
                "{said}"
            );
        }
        assert!(check(&[asked, (key, Value::LongStr(b"5")), (key, Value::I64(5))]).is_ok());
    }
    let header = "x-deduplication-header";
    assert!(check(&[asked, (header, Value::LongStr(b"order"))]).is_ok());
    assert!(said(&[asked, (header, Value::I8(1))]).contains(header));
}
