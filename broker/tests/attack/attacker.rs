//! [`Attacker`]: a client that may send anything, and what it hears.
//!
//! What it is not: careful. It sends what it is told; only the names of its methods are polite.
//!
//! Invariants: every wait ends with [`PATIENCE`]; a close that is expected is answered, so that the
//! broker is not left waiting for it.

use std::net::SocketAddr;

use bytes::{BufMut as _, BytesMut};
use leveret_protocol::client::{
    Decoder, OwnedFrame, write_method, write_protocol_header, write_publish,
};
use leveret_protocol::method::{FRAME_METHOD, basic, channel, connection, queue};
use leveret_protocol::{LongStr, Method, MethodId, Properties, ShortStr, Table, TableBuf, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::PATIENCE;

/// The largest frame that attackers agree on, which is the broker's own default.
pub(crate) const FRAME_MAX: u32 = 131_072;

/// One connection.
pub(crate) struct Attacker {
    pub(crate) stream: TcpStream,
    decoder: Decoder,
}

/// A close of a channel or a connection.
#[derive(Debug, PartialEq)]
pub(crate) struct Close {
    pub(crate) channel: u16,
    pub(crate) is_connection: bool,
    pub(crate) code: u16,
    pub(crate) text: String,
    pub(crate) culprit: MethodId,
}

/// How an attacker introduces itself.
#[derive(Clone)]
pub(crate) struct Manners {
    pub(crate) user: &'static str,
    pub(crate) tune: connection::TuneOk,
    pub(crate) client_properties: TableBuf,
}

impl Default for Manners {
    fn default() -> Self {
        let yes = Value::Bool(true);
        let capabilities = [
            ("consumer_cancel_notify", yes),
            ("connection.blocked", yes),
            ("authentication_failure_close", Value::Bool(false)),
        ];
        let capabilities = TableBuf::from_entries(capabilities);
        let properties = [("capabilities", Value::Table(capabilities.view()))];
        Self {
            user: "guest",
            tune: connection::TuneOk {
                channel_max: 2047,
                frame_max: FRAME_MAX,
                heartbeat: 0,
            },
            client_properties: TableBuf::from_entries(properties),
        }
    }
}

impl Attacker {
    /// A fresh socket on which nothing was sent.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        // Attacks come in small pieces, and wait for nothing.
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            decoder: Decoder::default(),
        }
    }

    /// Has sent the protocol header and heard `start`.
    pub(crate) async fn greeted(address: SocketAddr) -> Self {
        let mut attacker = Self::connect(address).await;
        let mut out = BytesMut::new();
        write_protocol_header(&mut out);
        attacker.send(&out).await;
        attacker.expect(connection::Start::ID).await;
        attacker
    }

    /// Has logged in and heard `tune`.
    pub(crate) async fn logged_in(address: SocketAddr, manners: &Manners) -> Self {
        let mut attacker = Self::greeted(address).await;
        let response = [
            b"\0",
            manners.user.as_bytes(),
            b"\0",
            manners.user.as_bytes(),
        ]
        .concat();
        let start_ok = connection::StartOk {
            client_properties: manners.client_properties.view(),
            mechanism: ShortStr(b"PLAIN"),
            response: LongStr(&response),
            ..Default::default()
        };
        attacker.method(0, start_ok).await;
        attacker.expect(connection::Tune::ID).await;
        attacker
    }

    /// Has agreed on limits, and not asked for a vhost.
    pub(crate) async fn tuned(address: SocketAddr) -> Self {
        let manners = Manners::default();
        let mut attacker = Self::logged_in(address, &manners).await;
        attacker.method(0, manners.tune).await;
        attacker
    }

    pub(crate) async fn open_with(address: SocketAddr, manners: &Manners) -> Self {
        let mut attacker = Self::logged_in(address, manners).await;
        attacker.method(0, manners.tune).await;
        let open = connection::Open {
            virtual_host: ShortStr(b"/"),
            ..Default::default()
        };
        attacker.call(0, open, connection::OpenOk::ID).await;
        attacker
    }

    /// On the vhost `/`, without a channel.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &Manners::default()).await
    }

    /// With channel 1 open.
    pub(crate) async fn on_channel(address: SocketAddr) -> Self {
        let mut attacker = Self::open(address).await;
        attacker.open_channel(1).await;
        attacker
    }

    pub(crate) async fn open_channel(&mut self, number: u16) {
        self.call(number, channel::Open::default(), channel::OpenOk::ID)
            .await;
    }

    /// Declares a queue with these arguments on channel 1, transient and shared.
    pub(crate) async fn declare(&mut self, name: &str, arguments: &TableBuf) {
        let declare = queue::Declare {
            queue: ShortStr(name.as_bytes()),
            arguments: arguments.view(),
            ..Default::default()
        };
        self.call(1, declare, queue::DeclareOk::ID).await;
    }

    /// Publishes on channel 1 to the default exchange.
    pub(crate) async fn publish(&mut self, key: &str, properties: &Properties<'_>, body: &[u8]) {
        self.publish_to("", key, properties, body).await;
    }

    pub(crate) async fn publish_to(
        &mut self,
        exchange: &str,
        key: &str,
        properties: &Properties<'_>,
        body: &[u8],
    ) {
        let mut out = BytesMut::new();
        let publish = publish(exchange, key);
        write_publish(1, publish, properties, body, FRAME_MAX, &mut out);
        self.send(&out).await;
    }

    /// Publishes a message of which the fields after the body's size are these bytes.
    pub(crate) async fn publish_raw(&mut self, key: &str, properties: &[u8], body: &[u8]) {
        let mut out = BytesMut::new();
        write_method(1, publish("", key), &mut out);
        out.put_slice(&frame(2, 1, &header(60, 0, body.len() as u64, properties)));
        if !body.is_empty() {
            out.put_slice(&frame(3, 1, body));
        }
        self.send(&out).await;
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends to a broker that may have hung up already; says whether it took all of it.
    pub(crate) async fn shout(&mut self, bytes: &[u8]) -> bool {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes)).await;
        matches!(sent, Ok(Ok(())))
    }

    pub(crate) async fn method<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        let mut out = BytesMut::new();
        write_method(channel, method, &mut out);
        self.send(&out).await;
    }

    pub(crate) async fn call<'m>(
        &mut self,
        channel: u16,
        method: impl Into<Method<'m>>,
        reply: MethodId,
    ) {
        self.method(channel, method).await;
        self.expect(reply).await;
    }

    /// The next frame that is no heartbeat; `None` at the end of the connection, be it gentle or not.
    pub(crate) async fn next(&mut self) -> Option<OwnedFrame> {
        loop {
            match self.decoder.next_frame().unwrap() {
                Some(frame) if frame.kind == 8 => {}
                Some(frame) => return Some(frame),
                None if self.read().await == 0 => return None,
                None => {}
            }
        }
    }

    async fn read(&mut self) -> usize {
        let read = self.stream.read_buf(self.decoder.buffer_mut());
        let read = timeout(PATIENCE, read).await;
        // A reset is an end as well.
        read.expect("the broker says nothing").unwrap_or(0)
    }

    /// Everything until the end, for what is no frame.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        while self.read().await > 0 {}
        self.decoder.buffer_mut().to_vec()
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, id: MethodId) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let frame = self.next().await;
            let frame = frame.unwrap_or_else(|| panic!("{at}: the end instead of {id:?}"));
            let method = frame.method().unwrap();
            assert_eq!(method.id(), id, "{at}: {method:?}");
        }
    }

    /// The next message, whichever of deliver, get-ok and return brings it: that method's id and the body.
    pub(crate) async fn message(&mut self) -> (MethodId, Vec<u8>) {
        let head = self.next().await.unwrap();
        let id = head.method().unwrap().id();
        let header = self.next().await.unwrap();
        let size = header.header().unwrap().body_size as usize;
        let mut body = Vec::new();
        while body.len() < size {
            let frame = self.next().await.unwrap();
            assert_eq!(frame.kind, 3);
            body.extend_from_slice(&frame.payload);
        }
        (id, body)
    }

    /// A basic.get on channel 1; the body if there is a message.
    pub(crate) async fn get(&mut self, queue: &str) -> Option<Vec<u8>> {
        let get = basic::Get {
            queue: ShortStr(queue.as_bytes()),
            no_ack: true,
            ..Default::default()
        };
        self.method(1, get).await;
        let head = self.next().await.unwrap();
        if head.method().unwrap().id() == basic::GetEmpty::ID {
            return None;
        }
        let header = self.next().await.unwrap();
        let size = header.header().unwrap().body_size as usize;
        let mut body = Vec::new();
        while body.len() < size {
            body.extend_from_slice(&self.next().await.unwrap().payload);
        }
        Some(body)
    }

    /// What the next frame says, which has to be a close; answers it.
    #[track_caller]
    pub(crate) fn close(&mut self) -> impl Future<Output = Close> {
        let at = std::panic::Location::caller();
        async move {
            let frame = self.next().await;
            let frame = frame.unwrap_or_else(|| panic!("{at}: the end instead of a close"));
            let close = close_in(&frame);
            let close = close.unwrap_or_else(|| panic!("{at}: {frame:?} is no close"));
            let mut out = BytesMut::new();
            match close.is_connection {
                true => write_method(0, connection::CloseOk {}, &mut out),
                false => write_method(close.channel, channel::CloseOk {}, &mut out),
            }
            // Who broke the framing is not read any more.
            self.shout(&out).await;
            close
        }
    }

    /// channel.close, next, with this code, and text that has this in it.
    #[track_caller]
    pub(crate) fn closed_channel(&mut self, code: u16, text: &str) -> impl Future<Output = Close> {
        let at = std::panic::Location::caller();
        async move {
            let close = self.close().await;
            assert!(!close.is_connection, "{at}: {close:?}");
            assert_eq!(close.code, code, "{at}: {close:?}");
            assert!(close.text.contains(text), "{at}: {close:?}");
            close
        }
    }

    /// connection.close, next, with this code and text, and then the end.
    #[track_caller]
    pub(crate) fn closed(&mut self, code: u16, text: &str) -> impl Future<Output = Close> {
        let at = std::panic::Location::caller();
        async move {
            let close = self.close().await;
            assert!(close.is_connection, "{at}: {close:?}");
            assert_eq!(close.code, code, "{at}: {close:?}");
            assert!(close.text.contains(text), "{at}: {close:?}");
            self.dropped().await;
            close
        }
    }

    /// The end, without another word.
    #[track_caller]
    pub(crate) fn dropped(&mut self) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let frame = self.next().await;
            assert!(frame.is_none(), "{at}: {frame:?}");
        }
    }

    /// A round trip on a channel that is open, which shows that the connection goes on.
    pub(crate) async fn goes_on(&mut self, channel: u16) {
        let qos = basic::Qos::default();
        self.call(channel, qos, basic::QosOk::ID).await;
    }
}

fn close_in(frame: &OwnedFrame) -> Option<Close> {
    match frame.method().ok()? {
        Method::Connection(connection::Method::Close(close)) => Some(Close {
            channel: frame.channel,
            is_connection: true,
            code: close.reply_code,
            text: close.reply_text.to_text().into_owned(),
            culprit: MethodId::new(close.class_id, close.method_id),
        }),
        Method::Channel(channel::Method::Close(close)) => Some(Close {
            channel: frame.channel,
            is_connection: false,
            code: close.reply_code,
            text: close.reply_text.to_text().into_owned(),
            culprit: MethodId::new(close.class_id, close.method_id),
        }),
        _ => None,
    }
}

pub(crate) fn publish<'a>(exchange: &'a str, key: &'a str) -> basic::Publish<'a> {
    basic::Publish {
        exchange: ShortStr(exchange.as_bytes()),
        routing_key: ShortStr(key.as_bytes()),
        ..Default::default()
    }
}

/// A frame of any type with any payload.
pub(crate) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    frame_claiming(kind, channel, payload.len() as u32, payload, 0xCE)
}

/// A frame that says it is of one size and is of another, with any end.
pub(crate) fn frame_claiming(
    kind: u8,
    channel: u16,
    size: u32,
    payload: &[u8],
    end: u8,
) -> Vec<u8> {
    let mut out = vec![kind];
    out.put_u16(channel);
    out.put_u32(size);
    out.put_slice(payload);
    out.put_u8(end);
    out
}

/// A method frame with these arguments.
pub(crate) fn method_frame(channel: u16, id: MethodId, arguments: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.put_u16(id.class_id);
    payload.put_u16(id.method_id);
    payload.put_slice(arguments);
    frame(FRAME_METHOD, channel, &payload)
}

/// A content header's payload.
pub(crate) fn header(class_id: u16, weight: u16, body_size: u64, properties: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u16(class_id);
    out.put_u16(weight);
    out.put_u64(body_size);
    out.put_slice(properties);
    out
}

/// A long string, table or array as it stands in a frame: length and bytes.
pub(crate) fn long(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(bytes.len() as u32);
    out.put_slice(bytes);
    out
}

/// Short strings, one behind the other.
pub(crate) fn short(text: &[u8]) -> Vec<u8> {
    [&[text.len() as u8], text].concat()
}

/// Arguments with one entry.
pub(crate) fn one(key: &str, value: Value<'_>) -> TableBuf {
    TableBuf::from_entries([(key, value)])
}

/// The arguments of a start-ok whose client-properties, with their length, are these bytes.
pub(crate) fn start_ok(client_properties: &[u8]) -> Vec<u8> {
    let mut arguments = client_properties.to_vec();
    arguments.put_slice(&short(b"PLAIN"));
    arguments.put_slice(&long(b"\0guest\0guest"));
    arguments.put_slice(&short(b"en_US"));
    method_frame(0, connection::StartOk::ID, &arguments)
}

/// A table of one entry that holds a table of one entry, and so on.
pub(crate) fn nested_tables(levels: usize) -> Vec<u8> {
    nested(levels, |inner| {
        [&[1, b't', b'F'][..], &long(&inner)].concat()
    })
}

/// One entry with an array in an array, and so on: five bytes a level, which is the most levels a frame
/// can hold.
pub(crate) fn nested_arrays(levels: usize) -> Vec<u8> {
    let inside = nested(levels, |inner| [&[b'A'][..], &long(&inner)].concat());
    [&[1, b'a'][..], &inside].concat()
}

fn nested(levels: usize, wrap: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    (0..levels).fold(Vec::new(), |inner, _| wrap(inner))
}

/// What a table says, for those who write tables by hand.
pub(crate) fn parsed(entries: &[u8]) -> Table<'_> {
    Table::parse(entries).unwrap()
}
