//! Numbers 33 to 37: limits, acknowledgements, consumers, recovering and transactions, used wrongly.

use bytes::BytesMut;
use leveret::Config;
use leveret_protocol::client::write_method;
use leveret_protocol::method::{basic, confirm, connection, queue, tx};
use leveret_protocol::{MethodId, Properties, ShortStr, TableBuf, Value};

use crate::arena::{Arena, impatient};
use crate::attacker::Attacker;
use crate::process::BrokerProcess;

fn qos(prefetch_count: u16, global: bool) -> basic::Qos {
    basic::Qos {
        prefetch_size: 0,
        prefetch_count,
        global,
    }
}

fn ack(delivery_tag: u64, multiple: bool) -> basic::Ack {
    basic::Ack {
        delivery_tag,
        multiple,
    }
}

fn consume<'a>(queue: &'a str, tag: &'a str) -> basic::Consume<'a> {
    basic::Consume {
        queue: ShortStr(queue.as_bytes()),
        consumer_tag: ShortStr(tag.as_bytes()),
        ..Default::default()
    }
}

/// On channel 1, with this many messages in a queue of this name.
async fn with_messages(arena: &Arena, queue: &str, count: usize) -> Attacker {
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.declare(queue, &TableBuf::new()).await;
    for _ in 0..count {
        attacker
            .publish(queue, &Properties::default(), b"body")
            .await;
    }
    attacker
}

/// How many are ready, which is known once everything before it is settled.
async fn ready(attacker: &mut Attacker, name: &str) -> u32 {
    attacker.goes_on(1).await;
    let declare = queue::Declare {
        queue: ShortStr(name.as_bytes()),
        passive: true,
        ..Default::default()
    };
    attacker.method(1, declare).await;
    let frame = attacker.next().await.unwrap();
    match frame.method().unwrap() {
        leveret_protocol::Method::Queue(queue::Method::DeclareOk(ok)) => ok.message_count,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn n033_prefetch_sizes_are_refused_and_counts_are_unsigned() {
    let mut arena = Arena::new().await;
    for prefetch_size in [1, 0x8000_0000, u32::MAX] {
        let mut attacker = Attacker::on_channel(arena.address).await;
        let qos = basic::Qos {
            prefetch_size,
            ..qos(1, false)
        };
        attacker.method(1, qos).await;
        let text = format!("prefetch_size!=0 ({prefetch_size})");
        attacker.closed(540, &text).await;
    }
    // A count that is negative as a signed number is a large one.
    let mut attacker = with_messages(&arena, "many", 100).await;
    for count in [0x8000, u16::MAX] {
        attacker.call(1, qos(count, false), basic::QosOk::ID).await;
        attacker
            .call(1, consume("many", "all"), basic::ConsumeOk::ID)
            .await;
        for _ in 0..100 {
            attacker.message().await;
        }
        attacker
            .call(1, basic::Recover { requeue: true }, basic::RecoverOk::ID)
            .await;
        for _ in 0..100 {
            attacker.message().await;
        }
        let cancel = basic::Cancel {
            consumer_tag: ShortStr(b"all"),
            nowait: false,
        };
        attacker.call(1, cancel, basic::CancelOk::ID).await;
        attacker
            .call(1, basic::Recover { requeue: true }, basic::RecoverOk::ID)
            .await;
    }
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n033_limits_may_change_while_deliveries_are_out() {
    let mut arena = Arena::new().await;
    let mut attacker = with_messages(&arena, "flip", 50).await;
    attacker.call(1, qos(3, false), basic::QosOk::ID).await;
    attacker
        .call(1, consume("flip", "c"), basic::ConsumeOk::ID)
        .await;
    for _ in 0..3 {
        attacker.message().await;
    }
    // Below what is out, of either kind, to and fro; nothing more may come of it.
    for round in 0..200_u16 {
        let limit = qos(1 + round % 3, round % 2 == 0);
        attacker.call(1, limit, basic::QosOk::ID).await;
    }
    assert_eq!(ready(&mut attacker, "flip").await, 47);
    attacker.call(1, qos(0, true), basic::QosOk::ID).await;
    attacker.method(1, ack(0, true)).await;
    for _ in 0..3 {
        assert_eq!(attacker.message().await.0, basic::Deliver::ID);
    }
    assert_eq!(ready(&mut attacker, "flip").await, 44);
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n034_tags_that_are_nobodys() {
    let mut arena = Arena::new().await;
    let nack = |delivery_tag, multiple| basic::Nack {
        delivery_tag,
        multiple,
        requeue: true,
    };
    let mut wrong: Vec<(BytesMut, u64, MethodId)> = Vec::new();
    for tag in [0, 4, 1_000, 1 << 63, u64::MAX] {
        let mut out = BytesMut::new();
        write_method(1, ack(tag, false), &mut out);
        wrong.push((out, tag, basic::Ack::ID));
        let mut out = BytesMut::new();
        write_method(1, nack(tag, false), &mut out);
        wrong.push((out, tag, basic::Nack::ID));
        let reject = basic::Reject {
            delivery_tag: tag,
            requeue: true,
        };
        let mut out = BytesMut::new();
        write_method(1, reject, &mut out);
        wrong.push((out, tag, basic::Reject::ID));
        if tag > 0 {
            let mut out = BytesMut::new();
            write_method(1, ack(tag, true), &mut out);
            wrong.push((out, tag, basic::Ack::ID));
        }
    }
    // Twice, and once more as the last of many.
    let mut out = BytesMut::new();
    write_method(1, ack(2, false), &mut out);
    write_method(1, ack(2, false), &mut out);
    wrong.push((out.clone(), 2, basic::Ack::ID));
    out.truncate(out.len() / 2);
    write_method(1, ack(2, true), &mut out);
    wrong.push((out, 2, basic::Ack::ID));
    for (sent, tag, culprit) in wrong {
        let mut attacker = with_messages(&arena, "tags", 3).await;
        attacker
            .call(1, consume("tags", ""), basic::ConsumeOk::ID)
            .await;
        for _ in 0..3 {
            attacker.message().await;
        }
        attacker.send(&sent).await;
        let close = attacker
            .closed_channel(406, &format!("unknown delivery tag {tag}"))
            .await;
        assert_eq!(close.culprit, culprit);
        // What was not settled is there again, and can be settled by others.
        attacker.open_channel(1).await;
        let purge = queue::Purge {
            queue: ShortStr(b"tags"),
            nowait: false,
            ..Default::default()
        };
        attacker.call(1, purge, queue::PurgeOk::ID).await;
        assert_eq!(ready(&mut attacker, "tags").await, 0);
    }
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n034_tags_of_other_channels_and_of_deliveries_without_acks() {
    let arena = Arena::new().await;
    let mut attacker = with_messages(&arena, "own", 2).await;
    attacker.open_channel(2).await;
    attacker
        .call(1, consume("own", ""), basic::ConsumeOk::ID)
        .await;
    attacker.message().await;
    attacker.message().await;
    attacker.method(2, ack(1, false)).await;
    attacker.closed_channel(406, "unknown delivery tag 1").await;
    attacker.method(1, ack(2, true)).await;
    attacker.goes_on(1).await;
    drop(attacker);
    let mut attacker = with_messages(&arena, "unacked", 1).await;
    let without = basic::Consume {
        no_ack: true,
        ..consume("unacked", "")
    };
    attacker.call(1, without, basic::ConsumeOk::ID).await;
    attacker.message().await;
    attacker.method(1, ack(1, false)).await;
    attacker.closed_channel(406, "unknown delivery tag 1").await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n034_a_flood_of_acks_is_one_error() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    let mut flood = BytesMut::new();
    for tag in 1..=100_000 {
        write_method(1, ack(tag, false), &mut flood);
    }
    attacker.send(&flood).await;
    attacker.closed_channel(406, "unknown delivery tag 1").await;
    attacker.open_channel(1).await;
    attacker.goes_on(1).await;
    arena.still_serves().await;
    // Acks of everything, when there is nothing, are allowed.
    let mut flood = BytesMut::new();
    for _ in 0..100_000 {
        write_method(1, ack(0, true), &mut flood);
    }
    attacker.send(&flood).await;
    attacker.goes_on(1).await;
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n035_other_peoples_queues_and_tags_that_are_taken() {
    let mut arena = Arena::new().await;
    let mut owner = Attacker::on_channel(arena.address).await;
    let declare = queue::Declare {
        queue: ShortStr(b"mine"),
        exclusive: true,
        ..Default::default()
    };
    owner.call(1, declare, queue::DeclareOk::ID).await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.method(1, consume("mine", "")).await;
    attacker.closed_channel(405, "RESOURCE_LOCKED").await;
    attacker.open_channel(1).await;
    owner.declare("alone", &TableBuf::new()).await;
    let exclusive = basic::Consume {
        exclusive: true,
        ..consume("alone", "only")
    };
    owner.call(1, exclusive, basic::ConsumeOk::ID).await;
    attacker.method(1, consume("alone", "")).await;
    attacker.closed_channel(403, "in exclusive use").await;
    attacker.open_channel(1).await;
    attacker.declare("shared", &TableBuf::new()).await;
    attacker
        .call(1, consume("shared", "twice"), basic::ConsumeOk::ID)
        .await;
    attacker.method(1, consume("shared", "twice")).await;
    let close = attacker
        .closed(530, "attempt to reuse consumer tag 'twice'")
        .await;
    assert_eq!(close.culprit, basic::Consume::ID);
    arena.still_serves().await;
    drop(owner);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n035_tags_are_said_back_as_they_came_and_unknown_ones_can_be_cancelled() {
    let arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.declare("q", &TableBuf::new()).await;
    let longest = "t".repeat(255);
    for tag in [
        longest.as_str(),
        "<img src=x onerror=alert(1)>",
        "a\0b",
        "\x1b[31m",
        "🐇",
    ] {
        attacker.method(1, consume("q", tag)).await;
        let frame = attacker.next().await.unwrap();
        match frame.method().unwrap() {
            leveret_protocol::Method::Basic(basic::Method::ConsumeOk(ok)) => {
                assert_eq!(ok.consumer_tag.0, tag.as_bytes());
            }
            other => panic!("{other:?}"),
        }
    }
    for tag in ["", "nobody", &longest[1..]] {
        let cancel = basic::Cancel {
            consumer_tag: ShortStr(tag.as_bytes()),
            nowait: false,
        };
        attacker.call(1, cancel, basic::CancelOk::ID).await;
    }
    drop(attacker);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n035_consumers_are_bounded_on_each_channel() {
    let mut arena = Arena::with(Config {
        consumers_per_channel_max: 1_000,
        ..impatient()
    })
    .await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.declare("crowded", &TableBuf::new()).await;
    let mut flood = BytesMut::new();
    for _ in 0..2_000 {
        write_method(1, consume("crowded", ""), &mut flood);
    }
    attacker.send(&flood).await;
    for _ in 0..1_000 {
        attacker.expect(basic::ConsumeOk::ID).await;
    }
    attacker
        .closed(530, "reached maximum (1000) of consumers per channel")
        .await;
    arena.still_serves().await;
    arena.ends_empty().await;
}

#[tokio::test]
async fn n036_recovering_again_and_again_lets_others_be_served() {
    let mut arena = Arena::new().await;
    let mut attacker = with_messages(&arena, "again", 1_000).await;
    attacker
        .call(1, consume("again", ""), basic::ConsumeOk::ID)
        .await;
    let mut flood = BytesMut::new();
    for _ in 0..50 {
        write_method(1, basic::RecoverAsync { requeue: true }, &mut flood);
    }
    for _ in 0..5 {
        attacker.send(&flood).await;
        arena.still_serves().await;
    }
    for requeue in [false] {
        attacker.method(1, basic::Recover { requeue }).await;
    }
    let close = loop {
        let frame = attacker.next().await.unwrap();
        if frame.channel == 0 {
            break frame;
        }
    };
    match close.method().unwrap() {
        leveret_protocol::Method::Connection(connection::Method::Close(close)) => {
            assert_eq!(close.reply_code, 540);
        }
        other => panic!("{other:?}"),
    }
    drop(attacker);
    let mut reader = Attacker::on_channel(arena.address).await;
    // Nothing was lost by it, once the broker has seen the last of them go.
    let purge = queue::Purge {
        queue: ShortStr(b"again"),
        ..Default::default()
    };
    reader.call(1, purge, queue::PurgeOk::ID).await;
    drop(reader);
    arena.ends_empty().await;
}

#[tokio::test]
async fn n036_poison_messages_end_at_the_limit_of_deliveries() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    let arguments = TableBuf::from_entries([
        ("x-queue-type", Value::LongStr(b"quorum")),
        ("x-delivery-limit", Value::I32(20)),
    ]);
    let declare = queue::Declare {
        queue: ShortStr(b"poisoned"),
        durable: true,
        arguments: arguments.view(),
        ..Default::default()
    };
    attacker.call(1, declare, queue::DeclareOk::ID).await;
    attacker
        .publish("poisoned", &Properties::default(), b"poison")
        .await;
    attacker
        .call(1, consume("poisoned", ""), basic::ConsumeOk::ID)
        .await;
    // The first delivery and twenty more.
    for delivery_tag in 1..=21 {
        attacker.message().await;
        let reject = basic::Reject {
            delivery_tag,
            requeue: true,
        };
        attacker.method(1, reject).await;
    }
    // The next frame is the answer: the message does not come again.
    attacker.goes_on(1).await;
    assert_eq!(ready(&mut attacker, "poisoned").await, 0);
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}

const MIB: usize = 1 << 20;

#[tokio::test]
async fn n037_what_transactions_hold_is_bounded() {
    let broker = BrokerProcess::start(&[]).await;
    let mut attacker = Attacker::on_channel(broker.address).await;
    attacker.declare("later", &TableBuf::new()).await;
    attacker.call(1, tx::Select {}, tx::SelectOk::ID).await;
    let before = broker.memory_peak_bytes();
    // A little more than is allowed in one transaction.
    let body = vec![7; MIB];
    for _ in 0..130 {
        attacker
            .publish("later", &Properties::default(), &body)
            .await;
    }
    attacker.closed(506, "RESOURCE_ERROR").await;
    let grown = broker.memory_peak_bytes() - before;
    assert!(grown < 256 * MIB as u64, "{grown} bytes for a transaction");
    broker.serves().await;
}

#[tokio::test]
async fn n037_rolled_back_transactions_leave_nothing() {
    let broker = BrokerProcess::start(&[]).await;
    let mut attacker = Attacker::on_channel(broker.address).await;
    attacker.declare("never", &TableBuf::new()).await;
    attacker.call(1, tx::Select {}, tx::SelectOk::ID).await;
    let before = broker.memory_peak_bytes();
    let body = vec![7; MIB];
    for _ in 0..100 {
        attacker
            .publish("never", &Properties::default(), &body)
            .await;
        attacker.call(1, tx::Rollback {}, tx::RollbackOk::ID).await;
    }
    assert_eq!(attacker.get("never").await, None);
    let grown = broker.memory_peak_bytes() - before;
    assert!(
        grown < 32 * MIB as u64,
        "{grown} bytes for what was taken back"
    );
    broker.serves().await;
}

#[tokio::test]
async fn n037_modes_are_not_mixed_and_commits_need_one() {
    let mut arena = Arena::new().await;
    let mut attacker = Attacker::on_channel(arena.address).await;
    attacker.method(1, tx::Commit {}).await;
    attacker
        .closed_channel(406, "channel is not transactional")
        .await;
    attacker.open_channel(1).await;
    attacker.method(1, tx::Rollback {}).await;
    attacker
        .closed_channel(406, "channel is not transactional")
        .await;
    attacker.open_channel(1).await;
    attacker.call(1, tx::Select {}, tx::SelectOk::ID).await;
    attacker.method(1, confirm::Select::default()).await;
    attacker
        .closed_channel(406, "cannot switch from tx to confirm mode")
        .await;
    attacker.open_channel(1).await;
    attacker
        .call(1, confirm::Select::default(), confirm::SelectOk::ID)
        .await;
    attacker.method(1, tx::Select {}).await;
    attacker
        .closed_channel(406, "cannot switch from confirm to tx mode")
        .await;
    arena.still_serves().await;
    drop(attacker);
    arena.ends_empty().await;
}
