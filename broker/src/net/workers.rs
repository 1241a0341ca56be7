//! [`Workers`]: on which runtime a connection is served.
//!
//! Without any, a connection runs where it was accepted, which in a multi-thread runtime means on
//! whichever thread is free. With some, it is dealt to one of them when it is accepted, and stays:
//!
//! ```text
//!   accepted ──▶ the worker with the fewest connections ──▶ served there ──▶ ended: one fewer
//! ```
//!
//! The fewest, and not the next in turn: connections stay for long, so those that have ended would leave
//! a worker with little to do that only chance fills up again. Among equals it is the turn of the one
//! behind the last, so that a publisher and its consumer, which connect one after the other, do not meet
//! on the first.
//!
//! What it is not: an owner of threads. Whoever holds the runtimes ends them, after the broker.
//!
//! Invariant: a worker's count is that of the connections whose tasks it holds, whatever ended the
//! others.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// The runtimes that serve connections. Clones deal to the same ones.
#[derive(Clone, Debug, Default)]
pub struct Workers {
    runtimes: Arc<[Handle]>,
    seats: Arc<Mutex<Seats>>,
}

/// Who sits where.
#[derive(Debug, Default)]
struct Seats {
    taken: Vec<usize>,
    latest: usize,
}

/// A connection's place at a worker; free again when it is dropped.
#[derive(Debug)]
struct Seat {
    worker: usize,
    seats: Arc<Mutex<Seats>>,
}

impl Workers {
    /// Deals connections to these runtimes, which must have I/O and time; usually each has one thread.
    /// Without any, connections are served where they are accepted.
    #[must_use]
    pub fn of(runtimes: Vec<Handle>) -> Self {
        let seats = Seats {
            taken: vec![0; runtimes.len()],
            // So that the first is the first.
            latest: runtimes.len().saturating_sub(1),
        };
        Self {
            runtimes: runtimes.into(),
            seats: Arc::new(Mutex::new(seats)),
        }
    }

    /// How many connections each worker serves.
    #[must_use]
    pub fn connections(&self) -> Vec<usize> {
        lock(&self.seats).taken.clone()
    }

    /// Has a connection served by one of the workers, whose number is returned.
    ///
    /// # Errors
    /// The system does not let the socket go from this runtime.
    pub(crate) fn serve<F>(
        &self,
        stream: TcpStream,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> io::Result<Option<usize>>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(seat) = self.take_seat() else {
            tokio::spawn(serve(stream));
            return Ok(None);
        };
        let worker = seat.worker;
        // A socket belongs to the runtime whose poll tells of it.
        let stream = stream.into_std()?;
        if let Some(runtime) = self.runtimes.get(worker) {
            runtime.spawn(async move {
                let _seat = seat;
                match TcpStream::from_std(stream) {
                    Ok(stream) => serve(stream).await,
                    Err(error) => tracing::warn!(%error, "a connection cannot be served"),
                }
            });
        }
        Ok(Some(worker))
    }

    fn take_seat(&self) -> Option<Seat> {
        let worker = lock(&self.seats).take()?;
        let seats = Arc::clone(&self.seats);
        Some(Seat { worker, seats })
    }
}

impl Seats {
    /// The least taken; among equals the one that comes next after the latest.
    fn take(&mut self) -> Option<usize> {
        let count = self.taken.len();
        let in_turn = (1..=count).map(|step| (self.latest + step) % count);
        let worker = in_turn.min_by_key(|worker| self.taken.get(*worker).copied())?;
        *self.taken.get_mut(worker)? += 1;
        self.latest = worker;
        Some(worker)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(taken) = lock(&self.seats).taken.get_mut(self.worker) {
            *taken -= 1;
        }
    }
}

fn lock(seats: &Mutex<Seats>) -> MutexGuard<'_, Seats> {
    // Counting cannot panic half-way.
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
