//! The loader's thread with a queue that only counts.

#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;
use crate::core::queue::LoadedMessage;
use crate::core::topology::tests::{Counting, ME, allow, counting, queue};
use crate::core::{Message, MessageParts};
use leveret_protocol::content::Body;

/// So that a broken loader fails a test instead of holding it up.
const PATIENCE: Duration = Duration::from_secs(30);

fn members() -> (Arc<Vhost>, Arc<QueueHandle>) {
    let vhost = Arc::new(Vhost::new("/", counting()));
    let (queue, _) = vhost.declare_queue(&queue("q"), &mut allow).unwrap();
    (vhost, queue)
}

fn first() -> Load {
    Load {
        first: 0,
        last: Counting::LOADED_MAX,
        messages_max: 1,
        bytes_max: 1,
    }
}

/// A loader that finds one message at every position, and what it was asked to read.
fn loader() -> (Arc<Loads>, Loader, Timers, Receiver<Load>) {
    loader_refused(0)
}

/// One that first is told so many times to ask again.
fn loader_refused(times: u64) -> (Arc<Loads>, Loader, Timers, Receiver<Load>) {
    let refusals = AtomicU64::new(times);
    let loads = Arc::new(Loads::default());
    let timers = Timers::with_store(Arc::default(), Arc::clone(&loads));
    let (send, asked) = channel();
    let read = Box::new(move |_: &QueueHandle, load: Load| {
        let _ = send.send(load);
        let one_less = |left: u64| left.checked_sub(1);
        let refused = refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        if refused.is_ok() {
            return None;
        }
        Some(Loaded {
            messages: vec![message_at(load.first)],
            through: load.first,
            unreadable: Vec::new(),
        })
    });
    let clock = Clock::start();
    let loader = Loader::start(Arc::clone(&loads), read, timers.clone(), clock).unwrap();
    (loads, loader, timers, asked)
}

fn message_at(position: u64) -> LoadedMessage {
    let parts = MessageParts {
        exchange: b"",
        routing_key: b"q",
        properties: &[0, 0],
        body: Body::Whole(b"x"),
        persistent: true,
        priority: 0,
        expiration_ms: None,
    };
    LoadedMessage {
        position,
        return_count: 0,
        redelivered: false,
        expires_at: None,
        message: Message::new(parts, &mut Vec::new()),
    }
}

#[test]
fn a_queue_gets_part_after_part_as_long_as_it_asks() {
    let (loads, loader, _timers, asked) = loader();
    let (vhost, queue) = members();
    loads.ask(first(), &queue, &vhost);
    for position in 0..Counting::LOADED_MAX {
        assert_eq!(asked.recv_timeout(PATIENCE).unwrap().first, position);
    }
    drop(loader);
    assert_eq!(queue.body().status().ready, Counting::LOADED_MAX);
    assert!(asked.recv().is_err(), "the thread is gone");
}

#[test]
fn a_read_that_cannot_be_begun_is_asked_for_again() {
    let (loads, loader, _timers, asked) = loader_refused(2);
    let (vhost, queue) = members();
    loads.ask(first(), &queue, &vhost);
    let asked_for: Vec<_> = (0..4)
        .map(|_| asked.recv_timeout(PATIENCE).unwrap().first)
        .collect();
    assert_eq!(asked_for, [0, 0, 0, 1]);
    drop(loader);
    let (loads, loader, _timers, asked) = loader_refused(u64::MAX);
    loads.ask(first(), &queue, &vhost);
    asked.recv_timeout(PATIENCE).unwrap();
    drop(loader);
}

#[test]
fn nothing_is_read_for_a_queue_that_is_gone() {
    let (loads, loader, _timers, asked) = loader();
    let (vhost, gone) = members();
    let (_, kept) = members();
    let deleted = vhost.delete_queue("q", ME, Default::default(), &mut allow);
    deleted.unwrap();
    loads.ask(first(), &gone, &vhost);
    loads.ask(
        Load {
            first: 2,
            ..first()
        },
        &kept,
        &vhost,
    );
    assert_eq!(asked.recv_timeout(PATIENCE).unwrap().first, 2);
    drop(loader);
    assert!(asked.recv().is_err());
}

#[test]
fn once_ended_nothing_is_taken_on() {
    let (loads, mut loader, _timers, asked) = loader();
    let (vhost, queue) = members();
    loader.end();
    loads.ask(first(), &queue, &vhost);
    assert!(loads.next().is_none());
    assert!(asked.recv().is_err());
}
