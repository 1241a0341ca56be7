//! A broker that is wrong in one way: a proxy in front of a right one.
//!
//! ```text
//!   client ──▶ frames ──▶ mutation ──▶ broker
//!          ◀── mutation ◀── frames ◀──
//! ```
//!
//! What cannot be cut into frames goes through as it is, and so does all that follows it: a broken frame is
//! for the broker to answer. So does the client's protocol header.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes, BytesMut};
use leveret_protocol::framer::{Cut, cut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;

use crate::wire::{Frame, From, Wire};

/// What a mutation does with each frame.
pub type Change = fn(&mut Wire, &Frame);

/// Larger frames are none: no test agrees on a larger limit.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// The client's protocol header.
const PROTOCOL_HEADER_BYTES: usize = 8;

/// A proxy that listens until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    next: Arc<Mutex<Next>>,
    accepting: JoinHandle<()>,
}

/// What the next connection is given.
#[derive(Clone, Copy, Debug)]
struct Next {
    broker: SocketAddr,
    change: Change,
}

impl Proxy {
    pub async fn start(broker: SocketAddr, change: Change) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let next = Arc::new(Mutex::new(Next { broker, change }));
        let accepting = tokio::spawn(accept_all(listener, Arc::clone(&next)));
        Ok(Self {
            address,
            next,
            accepting,
        })
    }

    /// The broker is elsewhere from now on.
    pub fn moved(&self, broker: SocketAddr) {
        lock(&self.next).broker = broker;
    }

    /// Connections from now on are changed so.
    pub fn turn(&self, change: Change) {
        lock(&self.next).change = change;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept_all(listener: TcpListener, next: Arc<Mutex<Next>>) {
    while let Ok((client, _)) = listener.accept().await {
        let Next { broker, change } = *lock(&next);
        tokio::spawn(async move {
            // A connection that cannot be made ends the client's, as a broker that is gone would.
            if let Ok(broker) = TcpStream::connect(broker).await {
                let _ = client.set_nodelay(true);
                let _ = broker.set_nodelay(true);
                connect(client, broker, change).await;
            }
        });
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both ends, and what is on its way to them.
struct Connection {
    wire: Mutex<Wire>,
    change: Change,
    /// Taken for as long as bytes of the wire are written, so that they keep their order.
    to_broker: AsyncMutex<OwnedWriteHalf>,
    to_client: AsyncMutex<OwnedWriteHalf>,
}

async fn connect(client: TcpStream, broker: TcpStream, change: Change) {
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    let connection = Arc::new(Connection {
        wire: Mutex::default(),
        change,
        to_broker: AsyncMutex::new(to_broker),
        to_client: AsyncMutex::new(to_client),
    });
    let back = tokio::spawn({
        let connection = Arc::clone(&connection);
        async move { connection.carry(from_broker, From::Broker).await }
    });
    connection.carry(from_client, From::Client).await;
    let _ = back.await;
}

impl Connection {
    /// Carries what one side sends until it ends, and then tells the other.
    async fn carry(&self, mut from: OwnedReadHalf, side: From) {
        let mut received = BytesMut::new();
        let mut headers_left = match side {
            From::Client => PROTOCOL_HEADER_BYTES,
            From::Broker => 0,
        };
        let mut is_blind = false;
        while matches!(from.read_buf(&mut received).await, Ok(1..)) {
            let header = received.split_to(headers_left.min(received.len())).freeze();
            headers_left -= header.len();
            self.push(side, &header);
            while let Some(frame) = next_frame(&mut received, side, &mut is_blind) {
                let mut wire = lock(&self.wire);
                (self.change)(&mut wire, &frame);
            }
            if is_blind {
                self.push(side, &received.split().freeze());
            }
            if self.write().await.is_err() {
                break;
            }
        }
        let end = match side {
            From::Client => &self.to_broker,
            From::Broker => &self.to_client,
        };
        let _ = end.lock().await.shutdown().await;
    }

    fn push(&self, side: From, bytes: &Bytes) {
        let mut wire = lock(&self.wire);
        match side {
            From::Client => wire.to_broker.extend_from_slice(bytes),
            From::Broker => wire.to_client.extend_from_slice(bytes),
        }
    }

    async fn write(&self) -> std::io::Result<()> {
        let mut broker = self.to_broker.lock().await;
        let bytes = self.take(|wire| &mut wire.to_broker);
        let to_broker = broker.write_all(&bytes).await;
        drop(broker);
        let mut client = self.to_client.lock().await;
        let bytes = self.take(|wire| &mut wire.to_client);
        // Whoever has hung up may still have said something that the other side is to hear.
        let _ = client.write_all(&bytes).await;
        to_broker
    }

    fn take(&self, way: fn(&mut Wire) -> &mut BytesMut) -> BytesMut {
        let mut wire = lock(&self.wire);
        way(&mut wire).split()
    }
}

fn next_frame(received: &mut BytesMut, from: From, is_blind: &mut bool) -> Option<Frame> {
    if *is_blind {
        return None;
    }
    match cut(received, PAYLOAD_BYTES_MAX) {
        Ok(Cut::Incomplete { .. }) => None,
        Err(_) => {
            *is_blind = true;
            None
        }
        Ok(Cut::Frame(frame)) => {
            let whole = frame.wire_len();
            let frame = Frame {
                from,
                kind: frame.kind,
                channel: frame.channel,
                payload: Bytes::copy_from_slice(frame.payload),
            };
            received.advance(whole);
            Some(frame)
        }
    }
}
