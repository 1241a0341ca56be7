//! What a published message costs in allocations: the message itself, and nothing else.
//!
//! A broker in this process serves a publisher and a consumer over loopback; an allocator that counts,
//! over all threads, stands below all of them. The clients send bytes that were encoded beforehand and
//! read into one buffer, so every allocation that is counted is the broker's or the runtime's.
//!
//! One test holds all cases: a second one at the same time would be counted too.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::alloc::System;
use std::fmt;

use bytes::{Bytes, BytesMut};
use leveret::Config;
use leveret_protocol::client::{write_method, write_publish};
use leveret_protocol::method::{basic, channel, confirm, queue};
use leveret_protocol::{Properties, ShortStr, TableBuf, Value};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{Client, PATIENCE, start};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Messages of a round; few enough to lie in the sockets' buffers and the broker's together.
const MESSAGES: usize = 1_000;
/// Rounds until buffers have their size and routes are remembered.
const WARM_UP_ROUNDS: usize = 20;
const ROUNDS: usize = 50;
/// Allocations beside the messages, for each message, whatever its size. A queue that falls empty gives the
/// memory of its list back, which grows again in some six steps with the next thousand messages.
const OTHERS_MAX: f64 = 0.02;
/// Allocations for each read of the publisher's socket: what was read is lent to the session and taken
/// back, which is one, and the consumer's connection is rung and lists what it pulls for.
const READ_MAX: f64 = 3.0;
/// What a read brings at least, on average. How much it is depends on who runs when; a read asks for 64
/// KiB.
const READ_BYTES_MIN: f64 = 16_384.0;
/// Bytes beside body, properties and address, for each message: 32 for the message's head and the counters
/// of its allocation, up to 7 of rounding, some 20 for the queue's list, and the share of each read.
const BYTES_MAX: f64 = 96.0;

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    body_bytes: usize,
    properties: bool,
    ack: bool,
    confirm: bool,
}

const PLAIN: Case = Case {
    name: "16 B",
    body_bytes: 16,
    properties: false,
    ack: false,
    confirm: false,
};

const CASES: [Case; 7] = [
    PLAIN,
    Case {
        name: "16 B, acknowledged",
        ack: true,
        ..PLAIN
    },
    Case {
        name: "16 B, properties and headers",
        properties: true,
        ..PLAIN
    },
    Case {
        name: "16 B, confirms",
        confirm: true,
        ..PLAIN
    },
    Case {
        name: "1 KiB",
        body_bytes: 1024,
        ..PLAIN
    },
    Case {
        name: "1 KiB, acknowledged",
        body_bytes: 1024,
        ack: true,
        ..PLAIN
    },
    Case {
        name: "1 KiB, properties, acknowledged, confirms",
        body_bytes: 1024,
        properties: true,
        ack: true,
        confirm: true,
    },
];

/// For each message.
struct Cost {
    allocations: f64,
    reallocations: f64,
    bytes: f64,
    /// Bytes of body, properties and address.
    content_bytes: f64,
    /// Bytes of its frames.
    wire_bytes: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            allocations,
            reallocations,
            bytes,
            content_bytes,
            ..
        } = self;
        write!(
            f,
            "{allocations:.4} allocations, {reallocations:.4} reallocations, {bytes:.1} bytes for \
             {content_bytes}"
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transient_message_is_one_allocation() {
    let mut costs = Vec::new();
    for case in CASES {
        let cost = Pair::open(case).await.measure().await;
        println!("{}: {cost}", case.name);
        costs.push((case, cost));
    }
    for (case, cost) in &costs {
        cost.check(case);
    }
}

/// A publisher and a consumer of one queue.
struct Pair {
    case: Case,
    publisher: Client,
    consumer: Client,
    publishes: Bytes,
    /// Bytes of body, properties and address of one message.
    content_bytes: usize,
    /// How many bytes the deliveries of a round are.
    deliveries_bytes: usize,
    acks: Acks,
    buffer: Vec<u8>,
    last_tag: u64,
}

impl Pair {
    async fn open(case: Case) -> Self {
        let (broker, address) = start(Config::default()).await;
        // The sockets keep it running, and nothing of it is to be freed while others are counted.
        std::mem::forget(broker);
        let mut pair = Self {
            case,
            publisher: Client::open(address).await,
            consumer: Client::open(address).await,
            publishes: Bytes::new(),
            content_bytes: 0,
            deliveries_bytes: 0,
            acks: Acks::new(),
            buffer: vec![0; 1 << 16],
            last_tag: 0,
        };
        pair.encode();
        pair.declare().await;
        pair
    }
}

impl Pair {
    /// Encodes what the publisher sends in a round, and measures what the consumer is sent for it.
    fn encode(&mut self) {
        let publish = basic::Publish {
            routing_key: ShortStr(b"q"),
            ..Default::default()
        };
        let headers = TableBuf::from_entries([
            ("tenant", Value::LongStr(b"north")),
            ("attempt", Value::I32(1)),
        ]);
        let mut properties = Properties::default();
        if self.case.properties {
            properties.content_type = Some(ShortStr(b"application/json"));
            properties.headers = Some(headers.view());
            properties.message_id = Some(ShortStr(b"000000000000001f"));
        }
        let body = vec![7; self.case.body_bytes];
        let mut out = BytesMut::new();
        for _ in 0..MESSAGES {
            write_publish(1, publish, &properties, &body, 131_072, &mut out);
        }
        let content = out.len() / MESSAGES - frame_len(publish);
        let deliver = basic::Deliver {
            consumer_tag: CONSUMER_TAG,
            routing_key: ShortStr(b"q"),
            ..Default::default()
        };
        self.publishes = out.freeze();
        self.content_bytes = body.len() + properties.to_bytes().len() + ADDRESS_BYTES;
        self.deliveries_bytes = (frame_len(deliver) + content) * MESSAGES;
    }

    async fn declare(&mut self) {
        for client in [&mut self.publisher, &mut self.consumer] {
            let open = channel::Open::default();
            client.call(1, open, channel::OpenOk::ID).await;
        }
        let declare = queue::Declare {
            queue: ShortStr(b"q"),
            ..Default::default()
        };
        self.consumer.call(1, declare, queue::DeclareOk::ID).await;
        let consume = basic::Consume {
            queue: ShortStr(b"q"),
            consumer_tag: CONSUMER_TAG,
            no_ack: !self.case.ack,
            ..Default::default()
        };
        self.consumer.call(1, consume, basic::ConsumeOk::ID).await;
        if self.case.confirm {
            let select = confirm::Select::default();
            self.publisher.call(1, select, confirm::SelectOk::ID).await;
        }
    }

    async fn measure(mut self) -> Cost {
        for _ in 0..WARM_UP_ROUNDS {
            self.round().await;
        }
        let region = Region::new(ALLOCATOR);
        for _ in 0..ROUNDS {
            self.round().await;
        }
        let change = region.change();
        let each = |count: usize| count as f64 / (ROUNDS * MESSAGES) as f64;
        Cost {
            allocations: each(change.allocations),
            reallocations: each(change.reallocations),
            bytes: each(change.bytes_allocated),
            content_bytes: self.content_bytes as f64,
            wire_bytes: self.publishes.len() as f64 / MESSAGES as f64,
        }
    }

    /// Publishes, receives, and settles what there is to settle.
    async fn round(&mut self) {
        self.last_tag += MESSAGES as u64;
        let (last_tag, confirm) = (self.last_tag, self.case.confirm);
        let publisher = &mut self.publisher.stream;
        let publishing = async {
            publisher.write_all(&self.publishes).await.unwrap();
            if confirm {
                read_confirms(publisher, last_tag).await;
            }
        };
        let consumer = &mut self.consumer.stream;
        let receiving = async {
            let mut left = self.deliveries_bytes;
            while left > 0 {
                let len = left.min(self.buffer.len());
                left -= consumer.read(&mut self.buffer[..len]).await.unwrap();
            }
        };
        let both = async { tokio::join!(publishing, receiving) };
        timeout(PATIENCE, both).await.unwrap();
        if self.case.ack {
            let acks = self.acks.up_to(last_tag);
            consumer.write_all(acks).await.unwrap();
        }
    }
}

impl Cost {
    fn check(&self, Case { name, .. }: &Case) {
        let others_max = OTHERS_MAX + READ_MAX * self.wire_bytes / READ_BYTES_MIN;
        let others = self.allocations + self.reallocations - 1.0;
        assert!(self.allocations >= 1.0, "{name}: nothing counts: {self}");
        assert!(others <= others_max, "{name}: over {others_max:.4}: {self}");
        let beside = self.bytes - self.content_bytes;
        assert!(beside <= BYTES_MAX, "{name}: {beside:.1} B beside: {self}");
    }
}

const CONSUMER_TAG: ShortStr<'static> = ShortStr(b"c");
/// No exchange and a routing key of one byte, as two short strings.
const ADDRESS_BYTES: usize = 3;
/// A frame with `basic.ack`: head, method, tag, `multiple`, end.
const ACK_FRAME_LEN: usize = 7 + 4 + 8 + 1 + 1;
/// Where the tag begins in it.
const ACK_TAG_AT: usize = 7 + 4;
/// What `basic.ack` begins with after the frame's head.
const ACK_METHOD: [u8; 4] = [0, 60, 0, 80];

fn frame_len<'m>(method: impl Into<leveret_protocol::Method<'m>>) -> usize {
    let mut out = BytesMut::new();
    write_method(1, method, &mut out);
    out.len()
}

/// A round of acknowledgements, in one buffer that is written over.
struct Acks(BytesMut);

impl Acks {
    fn new() -> Self {
        let mut bytes = BytesMut::new();
        for _ in 0..MESSAGES {
            write_method(1, basic::Ack::default(), &mut bytes);
        }
        assert_eq!(bytes.len(), MESSAGES * ACK_FRAME_LEN);
        Self(bytes)
    }

    fn up_to(&mut self, last_tag: u64) -> &[u8] {
        let first = last_tag + 1 - MESSAGES as u64;
        for (tag, frame) in (first..).zip(self.0.chunks_exact_mut(ACK_FRAME_LEN)) {
            frame[ACK_TAG_AT..][..8].copy_from_slice(&tag.to_be_bytes());
        }
        &self.0
    }
}

/// Reads confirms until one has this tag; nothing is refused here.
async fn read_confirms(stream: &mut tokio::net::TcpStream, last_tag: u64) {
    let mut frame = [0; ACK_FRAME_LEN];
    loop {
        stream.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame[7..ACK_TAG_AT], ACK_METHOD);
        let tag = frame[ACK_TAG_AT..][..8].try_into().unwrap();
        if u64::from_be_bytes(tag) == last_tag {
            return;
        }
    }
}
