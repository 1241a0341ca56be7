//! Frames written out by hand from the specification, octet by octet.
//!
//! Round trips would not notice a method number or a bit that is wrong both ways; these do.

use bytes::BytesMut;
use leveret_protocol::client::{write_heartbeat, write_protocol_header, write_publish};
use leveret_protocol::framer::{self, Cut};
use leveret_protocol::method::{access, basic, channel, confirm, connection, exchange, queue, tx};
use leveret_protocol::{LongStr, Method, Properties, ShortStr, TableBuf, Value};

use crate::hex;

/// The method is these bytes on channel 1 (the connection class: 0), and these bytes are the method.
fn is<'a>(method: impl Into<Method<'a>>, digits: &str) {
    let method = method.into();
    let bytes = hex(digits);
    let channel = u16::from(!matches!(method, Method::Connection(_)));
    let mut out = BytesMut::new();
    method.write_frame(channel, &mut out);
    assert_eq!(
        out.escape_ascii().to_string(),
        bytes.escape_ascii().to_string(),
        "{method:?}"
    );
    let Ok(Cut::Frame(frame)) = framer::cut(&bytes, bytes.len()) else {
        panic!("no frame: {digits}");
    };
    assert_eq!((frame.kind, frame.channel), (1, channel));
    assert_eq!(Method::parse(frame.payload), Ok(method));
}

fn text(text: &str) -> ShortStr<'_> {
    ShortStr(text.as_bytes())
}

#[test]
fn the_handshake() {
    let properties = TableBuf::new().with("product", Value::LongStr(b"x"));
    is(
        connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: properties.view(),
            mechanisms: LongStr(b"PLAIN"),
            locales: LongStr(b"en_US"),
        },
        "01 0000 0000002a 000a 000a  00 09  0000000e 07 70726f64756374 53 00000001 78
         00000005 504c41494e  00000005 656e5f5553  ce",
    );
    is(
        connection::StartOk {
            mechanism: text("PLAIN"),
            response: LongStr(b"\0guest\0guest"),
            locale: text("en_US"),
            ..Default::default()
        },
        "01 0000 00000024 000a 000b  00000000  05 504c41494e
         0000000c 00 6775657374 00 6775657374  05 656e5f5553  ce",
    );
    is(
        connection::Tune {
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat: 60,
        },
        "01 0000 0000000c 000a 001e  07ff 00020000 003c  ce",
    );
    is(
        connection::Open {
            virtual_host: text("/"),
            ..Default::default()
        },
        "01 0000 00000008 000a 0028  01 2f  00  00  ce",
    );
    is(
        connection::OpenOk::default(),
        "01 0000 00000005 000a 0029  00  ce",
    );
}

#[test]
fn the_connection() {
    is(
        connection::Close {
            reply_code: 320,
            reply_text: text("bye"),
            class_id: 0,
            method_id: 0,
        },
        "01 0000 0000000e 000a 0032  0140  03 627965  0000 0000  ce",
    );
    is(connection::CloseOk {}, "01 0000 00000004 000a 0033 ce");
    is(
        connection::Blocked {
            reason: text("low"),
        },
        "01 0000 00000008 000a 003c  03 6c6f77  ce",
    );
    is(connection::Unblocked {}, "01 0000 00000004 000a 003d ce");
}

#[test]
fn channels() {
    is(
        channel::Open::default(),
        "01 0001 00000005 0014 000a  00  ce",
    );
    is(
        channel::OpenOk::default(),
        "01 0001 00000008 0014 000b  00000000  ce",
    );
    is(
        channel::Flow { active: true },
        "01 0001 00000005 0014 0014  01  ce",
    );
    is(
        channel::FlowOk { active: false },
        "01 0001 00000005 0014 0015  00  ce",
    );
    is(
        channel::Close {
            reply_code: 404,
            reply_text: text("no"),
            class_id: 50,
            method_id: 10,
        },
        "01 0001 0000000d 0014 0028  0194  02 6e6f  0032 000a  ce",
    );
    is(channel::CloseOk {}, "01 0001 00000004 0014 0029 ce");
}

#[test]
fn access() {
    let request = access::Request {
        realm: text("/data"),
        active: true,
        read: true,
        ..Default::default()
    };
    is(request, "01 0001 0000000b 001e 000a  05 2f64617461  14  ce");
    is(
        access::RequestOk { ticket: 1 },
        "01 0001 00000006 001e 000b  0001  ce",
    );
}

#[test]
fn exchanges() {
    is(
        exchange::Declare {
            exchange: text("e"),
            kind: text("fanout"),
            durable: true,
            internal: true,
            ..Default::default()
        },
        "01 0001 00000014 0028 000a  0000  01 65  06 66616e6f7574  0a  00000000  ce",
    );
    is(
        exchange::Delete {
            exchange: text("e"),
            if_unused: true,
            ..Default::default()
        },
        "01 0001 00000009 0028 0014  0000  01 65  01  ce",
    );
    is(
        exchange::Unbind {
            destination: text("d"),
            source: text("s"),
            routing_key: text("k"),
            nowait: true,
            ..Default::default()
        },
        "01 0001 00000011 0028 0028  0000  01 64  01 73  01 6b  01  00000000  ce",
    );
    is(exchange::BindOk {}, "01 0001 00000004 0028 001f ce");
    is(exchange::UnbindOk {}, "01 0001 00000004 0028 0033 ce");
}

#[test]
fn queue_declare_packs_its_five_bits_lowest_first() {
    for (bit, octet) in ["01", "02", "04", "08", "10"].into_iter().enumerate() {
        let declare = queue::Declare {
            passive: bit == 0,
            durable: bit == 1,
            exclusive: bit == 2,
            auto_delete: bit == 3,
            nowait: bit == 4,
            ..Default::default()
        };
        let frame = format!("01 0001 0000000c 0032 000a  0000  00  {octet}  00000000  ce");
        is(declare, &frame);
    }
}

#[test]
fn queues() {
    let arguments = TableBuf::new().with("x-max-length", Value::I32(10));
    is(
        queue::Declare {
            queue: text("q"),
            durable: true,
            auto_delete: true,
            arguments: arguments.view(),
            ..Default::default()
        },
        "01 0001 0000001f 0032 000a  0000  01 71  0a
         00000012 0c 782d6d61782d6c656e677468 49 0000000a  ce",
    );
    is(
        queue::DeclareOk {
            queue: text("q"),
            message_count: 3,
            consumer_count: 2,
        },
        "01 0001 0000000e 0032 000b  01 71  00000003  00000002  ce",
    );
    is(
        queue::Delete {
            queue: text("q"),
            if_empty: true,
            nowait: true,
            ..Default::default()
        },
        "01 0001 00000009 0032 0028  0000  01 71  06  ce",
    );
    is(
        queue::Unbind {
            queue: text("q"),
            exchange: text("e"),
            routing_key: text("k"),
            ..Default::default()
        },
        "01 0001 00000010 0032 0032  0000  01 71  01 65  01 6b  00000000  ce",
    );
    is(queue::UnbindOk {}, "01 0001 00000004 0032 0033 ce");
    is(
        queue::PurgeOk { message_count: 256 },
        "01 0001 00000008 0032 001f  00000100  ce",
    );
}

#[test]
fn consuming() {
    is(
        basic::Qos {
            prefetch_size: 0,
            prefetch_count: 10,
            global: true,
        },
        "01 0001 0000000b 003c 000a  00000000  000a  01  ce",
    );
    is(
        basic::Consume {
            queue: text("q"),
            consumer_tag: text("t"),
            no_ack: true,
            exclusive: true,
            ..Default::default()
        },
        "01 0001 0000000f 003c 0014  0000  01 71  01 74  06  00000000  ce",
    );
    is(
        basic::Deliver {
            consumer_tag: text("t"),
            delivery_tag: 7,
            redelivered: true,
            exchange: text(""),
            routing_key: text("q"),
        },
        "01 0001 00000012 003c 003c  01 74  0000000000000007  01  00  01 71  ce",
    );
    is(
        basic::GetOk {
            delivery_tag: 7,
            redelivered: false,
            exchange: text("e"),
            routing_key: text("k"),
            message_count: 5,
        },
        "01 0001 00000015 003c 0047  0000000000000007  00  01 65  01 6b  00000005  ce",
    );
    is(
        basic::GetEmpty::default(),
        "01 0001 00000005 003c 0048  00  ce",
    );
}

#[test]
fn settling() {
    let delivery_tag = 256;
    let ack = basic::Ack {
        delivery_tag,
        multiple: true,
    };
    is(ack, "01 0001 0000000d 003c 0050  0000000000000100  01  ce");
    let reject = basic::Reject {
        delivery_tag,
        requeue: true,
    };
    is(
        reject,
        "01 0001 0000000d 003c 005a  0000000000000100  01  ce",
    );
    let multiple = basic::Nack {
        delivery_tag,
        multiple: true,
        requeue: false,
    };
    is(
        multiple,
        "01 0001 0000000d 003c 0078  0000000000000100  01  ce",
    );
    let requeue = basic::Nack {
        delivery_tag,
        multiple: false,
        requeue: true,
    };
    is(
        requeue,
        "01 0001 0000000d 003c 0078  0000000000000100  02  ce",
    );
    is(
        basic::RecoverAsync { requeue: true },
        "01 0001 00000005 003c 0064  01  ce",
    );
    is(
        basic::Recover { requeue: true },
        "01 0001 00000005 003c 006e  01  ce",
    );
    is(basic::RecoverOk {}, "01 0001 00000004 003c 006f ce");
}

#[test]
fn returning() {
    is(
        basic::Return {
            reply_code: 312,
            reply_text: text("NO_ROUTE"),
            exchange: text(""),
            routing_key: text("q"),
        },
        "01 0001 00000012 003c 0032  0138  08 4e4f5f524f555445  00  01 71  ce",
    );
}

#[test]
fn confirms_and_transactions() {
    is(
        confirm::Select { nowait: true },
        "01 0001 00000005 0055 000a  01  ce",
    );
    is(confirm::SelectOk {}, "01 0001 00000004 0055 000b ce");
    is(tx::Select {}, "01 0001 00000004 005a 000a ce");
    is(tx::SelectOk {}, "01 0001 00000004 005a 000b ce");
    is(tx::Commit {}, "01 0001 00000004 005a 0014 ce");
    is(tx::CommitOk {}, "01 0001 00000004 005a 0015 ce");
    is(tx::Rollback {}, "01 0001 00000004 005a 001e ce");
    is(tx::RollbackOk {}, "01 0001 00000004 005a 001f ce");
}

#[test]
fn a_published_message() {
    let publish = basic::Publish {
        routing_key: text("q"),
        mandatory: true,
        ..Default::default()
    };
    let properties = Properties {
        content_type: Some(text("text/plain")),
        delivery_mode: Some(2),
        ..Default::default()
    };
    let mut out = BytesMut::new();
    write_publish(1, publish, &properties, b"hello", 4096, &mut out);
    let expected = hex("01 0001 0000000a 003c 0028  0000  00  01 71  01  ce
         02 0001 0000001a 003c 0000 0000000000000005 9000  0a 746578742f706c61696e  02  ce
         03 0001 00000005 68656c6c6f ce");
    assert_eq!(
        out.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

#[test]
fn heartbeat_and_protocol_header() {
    let mut out = BytesMut::new();
    write_heartbeat(&mut out);
    write_protocol_header(&mut out);
    assert_eq!(out, hex("08 0000 00000000 ce  41 4d 51 50 00 00 09 01"));
}
