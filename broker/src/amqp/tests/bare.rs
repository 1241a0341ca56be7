//! [`Bare`]: a connection without socket and task, whose turns and time are the test's.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use leveret_protocol::client::{
    Decoder, OwnedFrame, write_method, write_protocol_header, write_publish,
};
use leveret_protocol::method::{basic, channel, connection};
use leveret_protocol::{LongStr, Method, MethodId, Properties, ShortStr};

use super::FRAME_MAX;
use crate::amqp::session::Session;
use crate::net::peer::Peer;
use crate::node::Node;

/// One client's side of a session.
pub(super) struct Bare {
    pub(super) session: Session,
    pub(super) opened: Instant,
    decoder: Decoder,
}

/// Counts how often it is woken.
#[derive(Default)]
pub(super) struct Woken(std::sync::atomic::AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Woken {
    pub(super) fn times(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Bare {
    /// A connection with channels 1 and 2 open.
    pub(super) fn open(node: &Arc<Node>) -> Self {
        let opened = Instant::now();
        let mut bare = Self {
            session: Session::new(Arc::clone(node), Peer::default(), opened),
            opened,
            decoder: Decoder::default(),
        };
        bare.send(handshake());
        assert_eq!(bare.received().len(), 5);
        bare
    }

    /// The connection sees these bytes and has a turn.
    pub(super) fn send(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let (mut used, _) = self.session.on_bytes(&bytes, bytes.len());
        if let Some(work) = self.session.login_work.take() {
            work.run();
            self.turn();
            used += self.session.on_bytes(&bytes.slice(used..), bytes.len()).0;
        }
        // On a slow machine ways may be long to find.
        while self.session.has_had_its_turn {
            self.turn();
            self.session.set_time(self.session.now);
            used += self.session.on_bytes(&bytes.slice(used..), bytes.len()).0;
        }
        assert_eq!(used, bytes.len());
        self.session.finish_input();
        self.turn();
    }

    pub(super) fn ask<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        let mut out = BytesMut::new();
        write_method(channel, method, &mut out);
        self.send(out);
    }

    /// Asks and reads the answer, before which nothing may have come.
    pub(super) fn call<'m>(
        &mut self,
        channel: u16,
        method: impl Into<Method<'m>>,
        answer: MethodId,
    ) -> OwnedFrame {
        self.ask(channel, method);
        let frame = self.received().remove(0);
        assert_eq!(frame.method().unwrap().id(), answer);
        frame
    }

    pub(super) fn publish(
        &mut self,
        channel: u16,
        key: &str,
        properties: &Properties<'_>,
        body: &[u8],
    ) {
        let mut out = BytesMut::new();
        let publish = basic::Publish {
            routing_key: ShortStr::from(key),
            ..Default::default()
        };
        write_publish(channel, publish, properties, body, FRAME_MAX, &mut out);
        self.send(out);
    }

    /// What others have left for the connection is looked at.
    pub(super) fn turn(&mut self) {
        self.turn_for(Waker::noop());
    }

    pub(super) fn turn_for(&mut self, waker: &Waker) {
        let session = &mut self.session;
        let notices = session.mailbox.take(&mut session.rung, waker);
        if let Some(is_right) = notices.verdict {
            session.on_verdict(is_right);
        }
        session.replies_wait = notices.replies_wait;
        session.deliver_replies();
        session.pull_for_rung();
    }

    /// So long after it was opened the connection has a turn.
    pub(super) fn turn_at(&mut self, ms: u64) {
        let now = self.opened + Duration::from_millis(ms);
        self.session.set_time(now);
        self.session.look_at_deliveries();
        self.turn();
    }

    /// Reads all that was sent.
    pub(super) fn received(&mut self) -> Vec<OwnedFrame> {
        let outbox = &mut self.session.outbox;
        let bytes = outbox.copy_to_bytes(outbox.remaining());
        self.decoder.buffer_mut().extend_from_slice(&bytes);
        std::iter::from_fn(|| self.decoder.next_frame().unwrap()).collect()
    }
}

/// All that a client says until its channels 1 and 2 are open.
fn handshake() -> BytesMut {
    let mut out = BytesMut::new();
    write_protocol_header(&mut out);
    let start_ok = connection::StartOk {
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(b"\0guest\0guest"),
        ..Default::default()
    };
    write_method(0, start_ok, &mut out);
    let tune_ok = connection::TuneOk {
        channel_max: 10,
        frame_max: FRAME_MAX,
        heartbeat: 0,
    };
    write_method(0, tune_ok, &mut out);
    let open = connection::Open {
        virtual_host: ShortStr(b"/"),
        ..Default::default()
    };
    write_method(0, open, &mut out);
    for number in [1, 2] {
        write_method(number, channel::Open::default(), &mut out);
    }
    out
}
