//! Numbers 40 and 85: alarms of memory and disk, and what is counted towards them.

use bytes::{BufMut as _, BytesMut};
use leveret::AlarmResource;
use leveret_protocol::client::write_publish;
use leveret_protocol::method::{basic, confirm, connection};
use leveret_protocol::{MethodId, Properties, TableBuf};

use crate::arena::Arena;
use crate::attacker::{Attacker, FRAME_MAX, frame, publish};
use crate::flow::{consume, flood_until_held_up};
use crate::process::BrokerProcess;

#[tokio::test]
async fn n040_an_alarm_tells_who_reads_and_waits_for_nobody() {
    let mut arena = Arena::new().await;
    let mut deaf = Attacker::on_channel(arena.address).await;
    deaf.declare("alarmed", &TableBuf::new()).await;
    deaf.publish("alarmed", &Properties::default(), b"before")
        .await;
    deaf.goes_on(1).await;
    let mut reader = Attacker::on_channel(arena.address).await;
    arena.broker.raise_alarm(AlarmResource::Memory);
    // The deaf one is told and does not read it; the reader has no part in it.
    deaf.publish("alarmed", &Properties::default(), b"during")
        .await;
    assert_eq!(reader.get("alarmed").await.unwrap(), b"before");
    reader
        .publish("alarmed", &Properties::default(), b"mine")
        .await;
    reader.expect(connection::Blocked::ID).await;
    arena.broker.clear_alarm(AlarmResource::Memory);
    reader.expect(connection::Unblocked::ID).await;
    reader.goes_on(1).await;
    arena.still_serves().await;
    drop(deaf);
    drop(reader);
    arena.ends_empty().await;
}

/// Reads until this is among what was heard.
async fn hear(attacker: &mut Attacker, heard: &mut Vec<MethodId>, id: MethodId) {
    while !heard.contains(&id) {
        let frame = attacker.next().await.unwrap();
        heard.push(frame.method().unwrap().id());
    }
}

#[tokio::test]
async fn n085_an_alarm_that_comes_and_goes_loses_nothing_and_lets_consumers_go_on() {
    let mut arena = Arena::new().await;
    let mut consumer = Attacker::on_channel(arena.address).await;
    consumer.declare("drained", &TableBuf::new()).await;
    consumer
        .call(1, consume("drained", true), basic::ConsumeOk::ID)
        .await;
    let mut bystander = Attacker::on_channel(arena.address).await;
    let mut publisher = Attacker::on_channel(arena.address).await;
    publisher
        .call(1, confirm::Select::default(), confirm::SelectOk::ID)
        .await;
    for round in 0..50_u8 {
        arena.broker.raise_alarm(AlarmResource::Disk);
        publisher
            .publish("drained", &Properties::default(), &[round])
            .await;
        let mut heard: Vec<MethodId> = Vec::new();
        hear(&mut publisher, &mut heard, connection::Blocked::ID).await;
        // Others are served while publishers wait.
        bystander.goes_on(1).await;
        arena.broker.clear_alarm(AlarmResource::Disk);
        hear(&mut publisher, &mut heard, connection::Unblocked::ID).await;
        hear(&mut publisher, &mut heard, basic::Ack::ID).await;
        assert_eq!(heard.len(), 3, "{heard:?}");
        assert_eq!(consumer.message().await.1, [round]);
    }
    arena.still_serves().await;
    drop(bystander);
    drop(consumer);
    drop(publisher);
    arena.ends_empty().await;
}

/// A large body may be kept as a part of the buffer that it was read into, and keeps all of that alive. What
/// is counted must still be near what is held, or the watermark would be no bound.
#[tokio::test]
async fn n085_bodies_hold_little_more_than_they_are_counted_for() {
    const WATERMARK: u64 = 64 << 20;
    let watermark = format!("memory_high_watermark_bytes={WATERMARK}");
    let broker = BrokerProcess::start(&[&watermark]).await;
    let before = broker.memory_peak_bytes();
    let mut attacker = Attacker::on_channel(broker.address).await;
    attacker.declare("held", &TableBuf::new()).await;
    // In each read one body that is just large enough, and much that is gone once it is read.
    let mut flood = BytesMut::new();
    let body = [7; 22_000];
    let nothing = frame(8, 0, &[]).repeat(5_400);
    for _ in 0..16 {
        let properties = Properties::default();
        write_publish(
            1,
            publish("", "held"),
            &properties,
            &body,
            FRAME_MAX,
            &mut flood,
        );
        flood.put_slice(&nothing);
    }
    let is_held_up = flood_until_held_up(&mut attacker, &flood, 2_000).await;
    assert!(is_held_up, "half a gigabyte passes a watermark of 64 MiB");
    let grown = broker.memory_peak_bytes() - before;
    assert!(
        grown < WATERMARK / 4 * 5,
        "{grown} bytes are held where {WATERMARK} are counted"
    );
}
