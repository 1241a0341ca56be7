//! A connection that one thread reads and writes, with waits of any length.
//!
//! ```text
//!   wait (readable? writable?) ──▶ write · flush ──▶ read ──▶ next, next, ... ──▶ wait ...
//! ```
//!
//! What it is not: a client; see [`Link`](super::super::link::Link), which opens the connection.
//!
//! Invariants: nothing but `wait` blocks, and that at most as long as it is told; a write that fails
//! because the broker closed the connection is told as the close.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use leveret_protocol::client::write_method;
use leveret_protocol::method::connection;
use leveret_protocol::{Method, ShortStr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::super::PerfError;
use super::super::link::{CHANNEL, Parts};
use super::super::notices::Notices;
use super::inbox::{Arrival, Inbox};

/// No wait is longer, so that every thread soon sees that it is to stop.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// A connection of one thread.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    inbox: Inbox,
    /// Methods that are to be written. Whoever appends keeps it bounded.
    out: BytesMut,
    notices: Notices,
}

/// What a socket is ready for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) readable: bool,
    pub(super) writable: bool,
}

impl Socket {
    /// Takes over a connection; `room` is how much is read at once.
    pub(super) fn new(parts: Parts, room: usize) -> Self {
        let room = room.max(2 * parts.frame_max as usize);
        Self {
            stream: parts.stream,
            inbox: Inbox::new(room, &parts.received),
            out: parts.unsent,
            notices: parts.notices,
        }
    }

    /// What the broker said about the connection.
    pub(super) fn notices(&self) -> &Notices {
        &self.notices
    }

    /// Appends a method of the channel to what is to be written.
    pub(super) fn send<'m>(&mut self, method: impl Into<Method<'m>>) {
        write_method(CHANNEL, method, &mut self.out);
    }

    /// How many bytes wait to be written.
    pub(super) fn unsent(&self) -> usize {
        self.out.len()
    }

    /// Waits until the socket can be read, or written if something is to be written.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn wait(&self, to_write: bool, longest: Duration) -> Result<Ready, PerfError> {
        let mut interest = PollFlags::IN;
        interest.set(PollFlags::OUT, to_write || !self.out.is_empty());
        self.poll(interest, longest)
    }

    /// Waits until the socket can be written, whatever comes.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn wait_writable(&self) -> Result<Ready, PerfError> {
        self.poll(PollFlags::OUT, TICK)
    }

    fn poll(&self, interest: PollFlags, longest: Duration) -> Result<Ready, PerfError> {
        let mut polled = [PollFd::new(&self.stream, interest)];
        let longest = longest.min(TICK);
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: longest.subsec_nanos().into(),
        };
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(self.notices.broken(error.into())),
        }
        let came = polled.first().map_or(PollFlags::empty(), PollFd::revents);
        let ended = PollFlags::HUP | PollFlags::ERR;
        Ok(Ready {
            readable: came.intersects(PollFlags::IN | ended),
            writable: came.intersects(PollFlags::OUT | ended),
        })
    }

    /// Writes as much as the system takes at once and says how much that is.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, PerfError> {
        match self.stream.write(bytes) {
            Ok(written) => Ok(written),
            Err(error) if is_for_later(&error) => Ok(0),
            Err(error) => Err(self.last_words(error)),
        }
    }

    /// Writes of the appended methods as much as the system takes at once.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn flush(&mut self) -> Result<(), PerfError> {
        let out = std::mem::take(&mut self.out);
        let written = self.write(&out);
        self.out = out;
        self.out.advance(written?);
        Ok(())
    }

    /// Reads once.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn read(&mut self) -> Result<(), PerfError> {
        match self.stream.read(self.inbox.space()) {
            Ok(0) => Err(self.notices.ended("the next frame")),
            Ok(count) => {
                self.inbox.filled(count);
                Ok(())
            }
            Err(error) if is_for_later(&error) => Ok(()),
            Err(error) => Err(self.notices.broken(error)),
        }
    }

    /// The next thing that has arrived whole.
    ///
    /// # Errors
    /// The bytes are no frames, or the broker closed the connection or the channel.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Arrival>, PerfError> {
        self.inbox.next(&mut self.notices)
    }

    /// Why the broker ended the connection, if it said so before it did.
    fn last_words(&mut self, error: io::Error) -> PerfError {
        let closed = self.read().and_then(|()| {
            loop {
                match self.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break Ok(()),
                    Err(closed) => break Err(closed),
                }
            }
        });
        match closed {
            Err(closed @ PerfError::Closed { .. }) => closed,
            _ => self.notices.broken(error),
        }
    }

    /// Writes the rest of a message and closes the connection in order, so that all that was sent has
    /// been taken in; whatever else comes is dropped. It ends without that when `give_up` says so.
    ///
    /// # Errors
    /// The connection is gone, or the broker closes it with a reason of its own.
    pub(super) fn close(
        &mut self,
        rest: &[u8],
        give_up: impl Fn() -> bool,
    ) -> Result<(), PerfError> {
        let methods = std::mem::replace(&mut self.out, BytesMut::from(rest));
        self.out.extend_from_slice(&methods);
        let close = connection::Close {
            reply_code: 200,
            reply_text: ShortStr(b"done"),
            ..Default::default()
        };
        write_method(0, close, &mut self.out);
        while !give_up() {
            let ready = self.wait(false, TICK)?;
            if ready.writable && !self.out.is_empty() {
                self.flush()?;
            }
            if ready.readable {
                self.read()?;
            }
            while let Some(arrival) = self.next()? {
                if arrival == Arrival::CloseOk {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Closes the connection when nobody waits for it any more: shortly, and whatever comes of it.
    pub(super) fn leave(&mut self, rest: &[u8]) {
        let deadline = Instant::now() + LEAVE_MAX;
        let _ = self.close(rest, || Instant::now() >= deadline);
    }
}

/// How long a close may take after the run has ended.
const LEAVE_MAX: Duration = Duration::from_secs(5);

fn is_for_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
