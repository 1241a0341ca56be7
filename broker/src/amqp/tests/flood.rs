//! A peer that sends without pause, polled by hand.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BytesMut;
use futures_lite::future::poll_once;
use leveret_protocol::ShortStr;
use leveret_protocol::client::{write_method, write_protocol_header};
use leveret_protocol::method::connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::amqp::connection::serve;
use crate::config::{AuthMechanism, Config};
use crate::net::peer::Peer;
use crate::node::Node;

const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 0xce];

/// A handshake and then heartbeats for ever; takes whatever it is sent.
struct Flood {
    handshake: BytesMut,
    /// Where in a heartbeat the last read has ended.
    at: usize,
    reads: Arc<AtomicUsize>,
}

impl Flood {
    fn new(reads: &Arc<AtomicUsize>) -> Self {
        let mut handshake = BytesMut::new();
        write_protocol_header(&mut handshake);
        let start_ok = connection::StartOk {
            mechanism: ShortStr(b"ANONYMOUS"),
            ..Default::default()
        };
        write_method(0, start_ok, &mut handshake);
        let tune_ok = connection::TuneOk {
            channel_max: 10,
            frame_max: 131_072,
            heartbeat: 0,
        };
        write_method(0, tune_ok, &mut handshake);
        let open = connection::Open {
            virtual_host: ShortStr(b"/"),
            ..Default::default()
        };
        write_method(0, open, &mut handshake);
        Self {
            handshake,
            at: 0,
            reads: Arc::clone(reads),
        }
    }
}

impl AsyncRead for Flood {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let handshake = self.handshake.split();
        out.put_slice(&handshake);
        while handshake.is_empty() && out.remaining() > 0 {
            out.put_slice(&HEARTBEAT[self.at..=self.at]);
            self.at = (self.at + 1) % HEARTBEAT.len();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn who_sends_without_pause_lets_others_run_after_each_full_read() {
    // No password is looked at, which would take as long as it takes.
    let config = Config {
        auth_mechanisms: vec![AuthMechanism::Anonymous],
        anonymous_login_user: "guest".to_owned(),
        ..Config::default()
    };
    let node = Arc::new(Node::new(config).unwrap());
    let reads = Arc::default();
    let mut task = pin!(serve(
        node,
        Flood::new(&reads),
        Peer::default(),
        Instant::now()
    ));
    // Reads are small at first and grow.
    for _ in 0..8 {
        assert!(poll_once(task.as_mut()).await.is_none());
    }
    for _ in 0..3 {
        let before = reads.load(Ordering::Relaxed);
        assert!(poll_once(task.as_mut()).await.is_none());
        assert_eq!(reads.load(Ordering::Relaxed) - before, 1);
    }
}
