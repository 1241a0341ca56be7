//! The server's connection machine against any bytes, with a broker that decides by flags.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use leveret_protocol::client::{self, DecodeError, Decoder};
use leveret_protocol::content::{Body, FRAME_HEADER};
use leveret_protocol::framer::{self, Cut};
use leveret_protocol::heartbeat::Traffic;
use leveret_protocol::method::connection::{Open, StartOk, TuneOk};
use leveret_protocol::server::content::Publish;
use leveret_protocol::server::{Connection, Event, Failure, Input, ServerOptions};
use leveret_protocol::{ContentHeader, Fault, LongStr, PROTOCOL_HEADER, ReplyCode, ShortStr};

/// The input's stream begins behind a completed handshake.
const AFTER_HANDSHAKE: u8 = 0x80;
/// Every login is refused.
const REFUSE_LOGIN: u8 = 0x01;
/// A login gets a challenge first.
const CHALLENGE: u8 = 0x02;
/// Messages may have no more than four bytes.
const TINY_MESSAGES: u8 = 0x04;
/// Every other method fails with 404, which closes its channel.
const FAIL_METHODS: u8 = 0x08;
/// Every vhost is refused.
const REFUSE_VHOST: u8 = 0x10;

/// Few, so that the limit is reached.
const CHANNEL_MAX: u16 = 3;
/// The least that may be agreed.
const FRAME_MAX: u32 = 4096;
/// Longer than any deadline of the machine, so that after it every close is over.
const LONG_AFTER: Duration = Duration::from_secs(3600);

/// What the broker saw and what the client gets.
#[derive(Debug, PartialEq)]
struct Record {
    events: Vec<String>,
    /// Channel and length of every message.
    messages: Vec<(u16, u64)>,
    sent: BytesMut,
    over: bool,
}

/// The connection yields the same events and answers however its bytes are split; names only open
/// channels, gives only messages as long as announced, answers in whole frames, and ends when its
/// time is up.
///
/// The first octet is flags (see the constants), the second seeds the split, the rest is the stream.
pub fn connection(data: &[u8]) {
    let [flags, seed, stream @ ..] = data else {
        return;
    };
    let mut bytes = BytesMut::new();
    if flags & AFTER_HANDSHAKE != 0 {
        write_handshake(&mut bytes);
    }
    bytes.extend_from_slice(stream);
    let whole = Driver::new(*flags).run(&[&bytes]);
    messages_were_announced(&whole.messages, &bytes);
    let pieces = super::split(&bytes, *seed);
    assert_eq!(Driver::new(*flags).run(&pieces), whole);
    answers_are_whole_frames(&whole.sent);
}

fn write_handshake(out: &mut BytesMut) {
    client::write_protocol_header(out);
    let start_ok = StartOk {
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(b"\0guest\0guest"),
        ..Default::default()
    };
    client::write_method(0, start_ok, out);
    let tune_ok = TuneOk {
        channel_max: CHANNEL_MAX,
        frame_max: FRAME_MAX,
        heartbeat: 0,
    };
    client::write_method(0, tune_ok, out);
    client::write_method(0, Open::default(), out);
}

fn options(flags: u8) -> ServerOptions {
    ServerOptions {
        channel_max: CHANNEL_MAX,
        frame_max: FRAME_MAX,
        message_size_max_bytes: if flags & TINY_MESSAGES != 0 { 4 } else { 64 },
        borrowed_body_max_bytes: 16,
        ..ServerOptions::default()
    }
}

/// The shell and the broker around one connection.
struct Driver {
    connection: Connection,
    flags: u8,
    now: Instant,
    challenged: bool,
    open_channels: HashSet<u16>,
    record: Record,
}

impl Driver {
    fn new(flags: u8) -> Self {
        let now = Instant::now();
        Self {
            connection: Connection::new(Arc::new(options(flags)), now),
            flags,
            now,
            challenged: false,
            open_channels: HashSet::new(),
            record: Record {
                events: Vec::new(),
                messages: Vec::new(),
                sent: BytesMut::new(),
                over: false,
            },
        }
    }

    /// Offers the pieces one after the other, as soon as the machine wants to see more.
    fn run(mut self, pieces: &[&[u8]]) -> Record {
        let mut held = Vec::new();
        let mut wanted = 0;
        for piece in pieces {
            held.extend_from_slice(piece);
            if held.len() >= wanted {
                wanted = self.offer(&mut held);
            }
        }
        self.record.over = self.connection.is_over();
        self.ends_in_time();
        self.record
    }

    /// Takes every event out of the bytes; returns how many bytes there must be next time.
    fn offer(&mut self, held: &mut Vec<u8>) -> usize {
        let buffer = Bytes::copy_from_slice(held);
        let mut input = Input::new(&buffer);
        while self.step(&mut input) {}
        held.drain(..input.consumed());
        let wanted = input.wanted();
        let done = held.is_empty() || self.connection.is_over();
        assert!(
            done || wanted > held.len(),
            "bytes are neither used nor waited for"
        );
        wanted
    }

    fn step<'a>(&mut self, input: &mut Input<'a>) -> bool {
        let before = input.consumed();
        let sent = &mut self.record.sent;
        match self.connection.next_event(input, self.now, sent) {
            Ok(None) => return false,
            Ok(Some(event)) => self.on_event(event),
            Err(failure) => self.on_failure(failure),
        }
        // A broken frame is not used up, but after it the stream is not read any more.
        assert!(input.consumed() > before || !self.connection.is_running());
        true
    }

    fn on_event(&mut self, event: Event<'_>) {
        self.record.events.push(describe(&event));
        self.check_channel(&event);
        let sent = &mut self.record.sent;
        match event {
            Event::Login(login) => self.on_login(login.mechanism),
            Event::SecureOk { .. } => self.on_login("PLAIN"),
            Event::Open { .. } if self.flags & REFUSE_VHOST != 0 => {
                self.on_failure(failure(0, ReplyCode::NotAllowed));
            }
            Event::Open { .. } => self.connection.accept_open(sent),
            Event::UpdateSecret { .. } => self.connection.accept_secret(sent),
            Event::OpenChannel { channel } => {
                self.open_channels.insert(channel);
                self.connection.accept_channel(channel, sent);
            }
            Event::CloseChannel { channel } => {
                self.open_channels.remove(&channel);
                self.connection.release_channel(channel, sent);
            }
            Event::Method { channel, .. } | Event::Ack { channel, .. }
                if self.flags & FAIL_METHODS != 0 =>
            {
                self.on_failure(failure(channel, ReplyCode::NotFound));
            }
            Event::Method { .. } | Event::Ack { .. } => {}
            Event::Publish { channel, publish } => {
                let len = publish.body().len() as u64;
                self.record.messages.push((channel, len));
            }
            Event::Close => self.connection.accept_close(self.now, sent),
        }
    }

    fn on_login(&mut self, mechanism: &str) {
        let sent = &mut self.record.sent;
        if self.flags & REFUSE_LOGIN != 0 {
            self.connection.refuse_login(mechanism, self.now, sent);
        } else if self.flags & CHALLENGE != 0 && !self.challenged {
            self.challenged = true;
            self.connection.challenge(b"more", sent);
        } else {
            self.connection.accept_login(sent);
        }
    }

    fn on_failure(&mut self, failure: Failure) {
        self.record.events.push(format!("{failure:?}"));
        self.open_channels.remove(&failure.channel);
        let sent = &mut self.record.sent;
        self.connection.fail(&failure, self.now, sent);
    }

    /// Channels are opened once, and only open ones are heard of.
    fn check_channel(&self, event: &Event<'_>) {
        match event {
            Event::OpenChannel { channel } => {
                assert!(!self.open_channels.contains(channel));
                assert!(self.open_channels.len() < usize::from(CHANNEL_MAX));
            }
            Event::CloseChannel { channel }
            | Event::Method { channel, .. }
            | Event::Ack { channel, .. } => {
                assert!(self.open_channels.contains(channel));
            }
            Event::Publish { channel, publish } => {
                assert!(self.open_channels.contains(channel));
                let max = options(self.flags).message_size_max_bytes;
                assert!(
                    publish.body().len() as u64 <= max,
                    "larger than any message may be"
                );
            }
            _ => {}
        }
    }

    /// Unless it runs, or is over already, the connection has a deadline and ends by it.
    fn ends_in_time(&mut self) {
        if self.connection.is_running() || self.connection.is_over() {
            return;
        }
        assert!(self.connection.deadline().is_some());
        let traffic = Traffic::default();
        let mut sent = BytesMut::new();
        self.connection
            .on_time(self.now + LONG_AFTER, traffic, true, &mut sent);
        assert!(self.connection.is_over());
    }
}

fn failure(channel: u16, code: ReplyCode) -> Failure {
    Failure {
        channel,
        fault: Fault::new(code, "so the flags say"),
    }
}

/// The event as text; a message reads the same whether borrowed or put together.
fn describe(event: &Event<'_>) -> String {
    match event {
        Event::Publish { channel, publish } => format!("{channel}: {}", describe_publish(publish)),
        event => format!("{event:?}"),
    }
}

fn describe_publish(publish: &Publish<'_>) -> String {
    let body = match &publish.body() {
        Body::Whole(bytes) => bytes.to_vec(),
        Body::Parts(parts) => parts.concat(),
    };
    let (exchange, key) = (publish.exchange(), publish.routing_key());
    let (mandatory, immediate) = (publish.mandatory, publish.immediate);
    let properties = publish.properties();
    format!("{exchange:?} {key:?} {mandatory} {immediate} {properties:?} {body:?}")
}

/// Every message is as long as a content header on its channel says.
fn messages_were_announced(messages: &[(u16, u64)], stream: &[u8]) {
    let mut rest = stream.get(PROTOCOL_HEADER.len()..).unwrap_or_default();
    let mut announced = HashSet::new();
    while let Ok(Cut::Frame(frame)) = framer::cut(rest, FRAME_MAX as usize) {
        if let (FRAME_HEADER, Ok(header)) = (frame.kind, ContentHeader::parse(frame.payload)) {
            announced.insert((frame.channel, header.body_size));
        }
        rest = &rest[frame.wire_len()..];
    }
    assert!(messages.iter().all(|message| announced.contains(message)));
}

/// Frames to the last byte, or the protocol header alone.
fn answers_are_whole_frames(sent: &[u8]) {
    let mut decoder = Decoder::default();
    decoder.feed(sent);
    loop {
        match decoder.next_frame() {
            Ok(Some(frame)) => assert!(frame.method().is_ok(), "{frame:?}"),
            Ok(None) => break,
            Err(DecodeError::ProtocolHeader(_)) => return assert_eq!(sent.len(), 8),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(decoder.buffer_mut().is_empty(), "half a frame was sent");
}
