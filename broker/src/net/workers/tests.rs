//! Dealing connections to workers, with runtimes that the test owns.

#![allow(clippy::unwrap_used)]

use std::sync::mpsc::channel;
use std::thread::{JoinHandle, ThreadId, current};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;

/// Longest wait for what takes microseconds.
const PATIENCE: Duration = Duration::from_secs(30);

fn seats(workers: usize) -> Seats {
    Seats {
        taken: vec![0; workers],
        latest: workers.saturating_sub(1),
    }
}

#[test]
fn connections_go_to_whoever_has_the_fewest_and_else_in_turn() {
    let mut seats = seats(3);
    let dealt: Vec<_> = (0..4).filter_map(|_| seats.take()).collect();
    assert_eq!(dealt, [0, 1, 2, 0]);
    // Others come to the first two, and all of the third's end.
    seats.taken = vec![2, 2, 0];
    let dealt: Vec<_> = (0..3).filter_map(|_| seats.take()).collect();
    assert_eq!(dealt, [2, 2, 0]);
    assert_eq!(seats.taken, [3, 2, 2]);
}

#[test]
fn without_workers_there_is_no_seat() {
    assert_eq!(seats(0).take(), None);
    assert!(Workers::default().take_seat().is_none());
}

struct Thread {
    id: ThreadId,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Threads with a runtime each, and the workers on them.
fn threads(count: usize) -> (Vec<Thread>, Workers) {
    let (mut threads, mut handles) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        handles.push(runtime.handle().clone());
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || drop(runtime.block_on(ended)));
        let id = thread.thread().id();
        threads.push(Thread { id, end, thread });
    }
    (threads, Workers::of(handles))
}

/// Both ends of a connection, the first of which is accepted.
async fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let address = listener.local_addr().unwrap();
    let (accepted, client) = tokio::join!(listener.accept(), TcpStream::connect(address));
    (accepted.unwrap().0, client.unwrap())
}

/// Sends back what it reads, and tells of its thread first; the letter `p` makes it panic.
async fn echo(mut stream: TcpStream, told: std::sync::mpsc::Sender<ThreadId>) {
    told.send(current().id()).unwrap();
    let mut letter = [0];
    while stream.read_exact(&mut letter).await.is_ok() {
        assert_ne!(letter, *b"p", "on purpose");
        stream.write_all(&letter).await.unwrap();
    }
}

async fn ask(client: &mut TcpStream, letter: u8) -> Option<u8> {
    client.write_all(&[letter]).await.unwrap();
    let mut answer = [0];
    let read = timeout(PATIENCE, client.read_exact(&mut answer)).await;
    read.unwrap().ok().map(|_| answer[0])
}

#[tokio::test]
async fn a_connection_stays_on_its_thread_and_a_panic_ends_it_alone() {
    let (threads, workers) = threads(2);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (told, ids) = channel();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (accepted, client) = pair(&listener).await;
        let told = told.clone();
        workers
            .serve(accepted, |stream| echo(stream, told))
            .unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(ask(client, b'a').await, Some(b'a'));
    }
    let mut seen: Vec<_> = ids.try_iter().collect();
    seen.sort_by_key(|id| *id == threads[1].id);
    let [first, second] = [threads[0].id, threads[1].id];
    assert_eq!(seen, [first, first, second, second]);

    let last = clients.pop().unwrap();
    let mut panics = last;
    assert_eq!(ask(&mut panics, b'p').await, None, "its connection ends");
    for client in &mut clients {
        assert_eq!(ask(client, b'b').await, Some(b'b'), "nobody else's does");
    }
    // The task is gone before its socket is, but the seat goes after both.
    drop(clients);
    for Thread { end, thread, .. } in threads {
        drop(end);
        thread.join().unwrap();
    }
    assert_eq!(workers.connections(), [0, 0]);
}
