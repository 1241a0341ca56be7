//! [`serve`]: one connection's task: the socket, the turns, the clock.
//!
//! ```text
//!            ┌──────────────────────────── a turn ────────────────────────────┐
//!   wake ──▶ │ read once ─▶ handle all of it ─▶ hand over ─▶ take the mailbox │──▶ wait for: bytes to
//!            │            ─▶ pull for the rung ─▶ confirm ─▶ write once       │    read, room to write,
//!            └──────────────▲──────────────── something happened ────┘        │    the mailbox, a time
//!                           └─────────────────────────────────────────────────┘
//! ```
//!
//! The task reads when the outbox has room for answers, so a peer that never reads is held up and
//! nobody else is; deliveries stop earlier, at the outbox's high-water mark. It does not read what
//! publishes far ahead of the store. While an answer is parked, it reads what its buffer holds, which
//! shows whether the peer is still there, and handles it later; while a password is looked at, it reads
//! nothing. After a few turns in a row, or one in which it has read much or the way of messages was long to find,
//! it lets other connections run.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf as _, BufMut as _, Bytes};
use leveret_protocol::Fault;
use leveret_protocol::heartbeat::Traffic;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::RuntimeFlavor;
use tokio::time::Sleep;
use tokio_util::io::{poll_read_buf, poll_write_buf};

use crate::amqp::lockstep::Lockstep;
use crate::amqp::session::Session;
use crate::limits::{
    IDLE_BUFFER_BYTES_MAX, OUTBOX_READ_STOP_BYTES, READ_BEFORE_OTHERS_BYTES, READ_BUFFER_BYTES_MIN,
    READ_TURN_BYTES_MAX, TURNS_IN_A_ROW_MAX,
};
use crate::net::peer::{Peer, Place};
use crate::node::Node;

/// Serves one client until its connection ends. The stream is any stream of bytes: a socket, TLS, or
/// a pipe within the process. The time for its handshake counts from when it was accepted.
///
/// The task is made before the future, which would otherwise hold the stream twice: as what it is given,
/// and in the task.
pub(crate) fn serve<S>(
    node: Arc<Node>,
    stream: S,
    peer: Peer,
    accepted_at: Instant,
) -> impl Future<Output = ()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let has_address = peer.place != Place::InProcess;
    let session = Session::new(node, peer, accepted_at);
    let mut task = ConnectionTask {
        stream,
        session,
        received: Vec::new(),
        wanted: 0,
        read_size: READ_BUFFER_BYTES_MIN,
        read_last: 0,
        traffic: Traffic::default(),
        timer: Box::pin(tokio::time::sleep_until(accepted_at.into())),
        reading_stopped: false,
        listening: true,
        unhandled: false,
        lockstep: Lockstep::default(),
        flushed: true,
        // Only tasks that the listener started are known not to be inside somebody's own task.
        may_block: has_address && may_block(),
    };
    async move {
        match (&mut task).await {
            Ok(()) => end(&mut task.stream).await,
            Err(error) => {
                tracing::debug!(%error, connection = task.session.id.0, "connection lost");
            }
        }
    }
}

/// Says that nothing more comes, which TLS does in words of its own: without them, the other side could
/// not tell the end from a connection that was cut. It is sent if the socket takes it now.
async fn end(stream: &mut (impl AsyncWrite + Unpin)) {
    let ended = poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_shutdown(cx)));
    if let Poll::Ready(Err(error)) = ended.await {
        tracing::trace!(%error, "gone before the end");
    }
}

struct ConnectionTask<S> {
    stream: S,
    session: Session,
    /// Its capacity is what is allocated, which is what it holds of the reserve.
    received: Vec<u8>,
    /// How many received bytes there must be before they are worth looking at.
    wanted: usize,
    /// How much room the next read gets; grows while reads fill it.
    read_size: usize,
    /// How many bytes the last turn has read.
    read_last: usize,
    traffic: Traffic,
    timer: Pin<Box<Sleep>>,
    /// True while the peer does not take its answers, so that no more is asked of us.
    reading_stopped: bool,
    /// False while we do not read for a reason of our own; then silence is no sign (HB-08).
    listening: bool,
    /// True when received bytes wait, or have waited, for a parked answer or for the end of an alarm.
    unhandled: bool,
    lockstep: Lockstep,
    /// False while the stream has taken what it has not sent yet, as TLS does.
    flushed: bool,
    /// Whether a thread of this runtime may block while others take its place.
    may_block: bool,
}

/// Whether a step of a turn did something or has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Did,
    Waits,
    /// The connection has ended.
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Future for ConnectionTask<S> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..TURNS_IN_A_ROW_MAX {
            match self.turn(cx)? {
                Step::Did if self.read_last >= READ_BEFORE_OTHERS_BYTES => break,
                Step::Did if self.session.has_had_its_turn => break,
                Step::Did => {}
                Step::Waits => return Poll::Pending,
                Step::End => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ConnectionTask<S> {
    fn turn(&mut self, cx: &mut Context<'_>) -> io::Result<Step> {
        self.session.set_time(Instant::now());
        let read = self.read(cx)?;
        if read == Step::End {
            return Ok(Step::End);
        }
        if self.on_time(cx) {
            // Whoever let its time pass is sent what its socket takes now, and not waited for.
            let _ = self.write(cx);
            return Ok(Step::End);
        }
        let notices = self
            .session
            .mailbox
            .take(&mut self.session.rung, cx.waker());
        if notices.alarm_changed {
            self.session.on_alarm();
        }
        if notices.committed {
            self.session.on_commit();
        }
        if let Some(is_right) = notices.verdict {
            self.session.on_verdict(is_right);
        }
        self.session.get_if_rung();
        self.session.replies_wait = notices.replies_wait;
        if let Some(fault) = notices.close {
            self.close_at_once(&fault);
        }
        let resumed = self.resume();
        self.session.deliver_replies();
        self.session.pull_for_rung();
        let written = self.write(cx)?;
        let all_sent = self.session.outbox.is_empty() && self.flushed;
        if self.session.machine.is_over() && (all_sent || written == Step::End) {
            return Ok(Step::End);
        }
        let freed = written == Step::Did && self.has_work();
        let told = notices.alarm_changed || notices.committed || notices.verdict.is_some();
        self.session.account(self.received.capacity());
        let did = read == Step::Did || freed || told || resumed;
        Ok(if did { Step::Did } else { Step::Waits })
    }

    /// After the socket took something there may be room for consumers that had stalled, or for
    /// reading.
    fn has_work(&self) -> bool {
        let outbox = &self.session.outbox;
        let is_held_up = !self.session.stalled.is_empty() || self.session.replies_wait;
        let consumers_go_on = outbox.is_empty() && is_held_up;
        let reading_goes_on = self.reading_stopped && outbox.len() < OUTBOX_READ_STOP_BYTES;
        consumers_go_on || reading_goes_on
    }

    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<Step> {
        self.read_last = 0;
        self.session.block_if_alarmed();
        self.reading_stopped = self.session.outbox.len() >= OUTBOX_READ_STOP_BYTES;
        let parked = self.session.parked.is_some();
        // A stranger is not read further until it is known who it is.
        let is_buffer_full =
            parked && (self.session.awaits_verdict() || self.received.len() >= READ_TURN_BYTES_MAX);
        let waits_for_store = is_buffer_full || self.session.must_wait_for_commit();
        // What was received and could not be handled comes first.
        let is_behind = self.unhandled && !parked;
        self.listening = !self.session.blocked && !waits_for_store && !is_behind;
        if !self.listening || self.reading_stopped {
            return Ok(Step::Waits);
        }
        let room = self.room();
        self.received.reserve_exact(room);
        let mut buffer = (&mut self.received).limit(room);
        let read = match poll_read_buf(Pin::new(&mut self.stream), cx, &mut buffer) {
            Poll::Pending => {
                self.lockstep.on_silence();
                return Ok(Step::Waits);
            }
            Poll::Ready(read) => read?,
        };
        if read == 0 {
            return Ok(Step::End);
        }
        self.traffic.received += read as u64;
        self.read_last = read;
        self.lockstep.on_bytes(self.session.awaits_commit());
        if read >= self.read_size && self.read_size < READ_TURN_BYTES_MAX {
            self.read_size *= 2;
        }
        if parked {
            self.unhandled = true;
        } else if self.received.len() >= self.wanted {
            self.process();
        }
        Ok(Step::Did)
    }

    /// How much is read at once. Of a frame that is larger than that no more than the rest is: its buffer
    /// ends with it, so that its body can stay where it is and keeps nothing else alive.
    fn room(&self) -> usize {
        let missing = self.wanted.saturating_sub(self.received.len());
        if missing > 0 && self.wanted > READ_TURN_BYTES_MAX {
            return missing.min(READ_TURN_BYTES_MAX);
        }
        self.read_size.max(self.wanted.min(READ_TURN_BYTES_MAX))
    }

    /// Goes on with what was received while input was held.
    fn resume(&mut self) -> bool {
        let resumes = self.unhandled && !self.session.holds_input();
        if resumes {
            self.process();
        }
        resumes
    }

    /// Lends the received bytes to the session. A large body may keep the buffer; otherwise it comes back
    /// and is used again.
    fn process(&mut self) {
        let allocated = self.received.capacity();
        let mut received = Bytes::from(std::mem::take(&mut self.received));
        let (consumed, wanted) = self.handle(&received, allocated);
        self.wanted = wanted;
        received.advance(consumed);
        self.received = Vec::from(received);
    }

    /// Has the session handle what was received. For a client that waits for every commit, it is made here:
    /// the runtime gives the other tasks of this thread to another one meanwhile.
    fn handle(&mut self, received: &Bytes, allocated: usize) -> (usize, usize) {
        let is_in_step = self.may_block && self.lockstep.is_in_step();
        let node =
            (is_in_step && self.session.only_publishes()).then(|| Arc::clone(&self.session.node));
        let held = node.as_ref().and_then(|node| node.hold_commits());
        let used = self.session.on_bytes(received, allocated);
        if let Some(work) = self.session.login_work.take() {
            tokio::task::spawn_blocking(|| work.run());
        }
        // Before the commit, which may be all that the rest of the input waits for.
        self.unhandled = self.session.holds_input();
        let was_asked = self.session.commit_asked;
        match held {
            Some(held) => self.session.finish_input_in_step(held, |commit| {
                tokio::task::block_in_place(|| commit.run());
                self.lockstep.on_wait();
                self.lockstep.on_answer();
            }),
            None => self.session.finish_input(),
        }
        if self.session.awaits_commit() && !was_asked {
            self.lockstep.on_wait();
        }
        used
    }

    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<Step> {
        let mut step = Step::Waits;
        while !self.session.outbox.is_empty() {
            let stream = Pin::new(&mut self.stream);
            match poll_write_buf(stream, cx, &mut self.session.outbox) {
                Poll::Pending => return Ok(step),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => self.note_written(written as u64),
                // The other side may be gone before it has read our close; nothing is lost by that.
                Poll::Ready(Err(_)) if self.session.machine.is_over() => return Ok(Step::End),
                Poll::Ready(Err(error)) => return Err(error),
            }
            step = Step::Did;
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.flushed = flushed.is_ready();
        match flushed {
            Poll::Ready(Err(_)) if self.session.machine.is_over() => Ok(Step::End),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(step),
        }
    }

    /// A peer that is not read can only show that it lives by taking what it is sent (HB-08).
    fn note_written(&mut self, written: u64) {
        self.traffic.sent += written;
        if self.reading_stopped {
            self.traffic.received += written;
        }
    }

    /// Sets the timer to the next deadline and does what is due; true if that ended the connection.
    fn on_time(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let now = self.session.now;
            let Some(deadline) = self.deadline() else {
                return false;
            };
            if deadline > now {
                if self.timer.deadline() != deadline.into() {
                    self.timer.as_mut().reset(deadline.into());
                }
                if self.timer.as_mut().poll(cx).is_ready() {
                    // It passed between reading the clock and now: come back at once.
                    cx.waker().wake_by_ref();
                }
                return false;
            }
            let watching = self.listening;
            let out = self.session.outbox.buffer();
            self.session
                .machine
                .on_time(now, self.traffic, watching, out);
            self.session.look_at_deliveries();
            self.give_back_buffers();
            if self.session.machine.is_over() {
                return true;
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let look_at = self.session.look_at_deliveries_at;
        let look_at = look_at.map(|at| self.session.node.clock.instant(at));
        let deadlines = [self.session.machine.deadline(), look_at];
        deadlines.into_iter().flatten().min()
    }

    fn close_at_once(&mut self, fault: &Fault) {
        self.session.release_all();
        self.session
            .machine
            .close_at_once(fault, self.session.outbox.buffer());
    }

    /// Gives back what a burst has taken. Only done when a timer fires, which is every half heartbeat:
    /// a busy connection would take it again at once.
    fn give_back_buffers(&mut self) {
        self.session.outbox.shrink();
        if self.received.is_empty() && self.received.capacity() > IDLE_BUFFER_BYTES_MAX {
            self.received = Vec::new();
            self.read_size = READ_BUFFER_BYTES_MIN;
        }
    }
}

/// False where the connections share one thread.
fn may_block() -> bool {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}
