//! What threads cost each other in the routing core: no sockets, no runtime, one thread per CPU as far
//! as there are CPUs.
//!
//! ```sh
//! cargo bench -p leveret --features bench-parts --bench contention
//! LEVERET_BENCH_MS=2000 cargo bench -p leveret --features bench-parts --bench contention -- hot
//! ```
//!
//! A word after `--` runs only the cases whose names contain it. With more threads than CPUs the figures
//! say what happens when holders of locks are preempted, not what more CPUs would bring.
//!
//! | case | what each of T threads does |
//! |---|---|
//! | `own queue` | publishes to a queue of its own and consumes from it |
//! | `neighbour` | publishes to its own queue and consumes from its neighbour's |
//! | `hot queue` | half of them publish to one queue, half consume from it |
//! | `hot, small` | the same in batches of 8 instead of 128 |
//! | `topic, cached` | routes through one topic exchange, a binding changes 100 times a second |
//! | `topic, missed` | the same with more keys than the route cache holds |
//! | `headers` | routes through one headers exchange, which is never cached |

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use leveret::bench_parts::contention::{self, Counts};
use leveret::core::exchange::Routing;
use leveret::core::queue::{
    Bell, ClassicOptions, ClassicQueue, Effects, Port, Pulled, Room, SlotId, SlotKind, SlotSpec,
};
use leveret::core::queue_handle::{ConnectionId, QueueHandle};
use leveret::core::route_cache::{ENTRIES_MAX, RouteCache};
use leveret::core::topology::{BindRequest, BindTo, QueueDeclare};
use leveret::core::vhost::Vhost;
use leveret::core::{Message, Moment, Usual};
use leveret_protocol::content::Body;
use leveret_protocol::value::{Table, TableBuf, Value};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// As a connection's stage and its pulls.
const BATCH: usize = 128;
const PULL: u32 = 256;
const SMALL_BATCH: usize = 8;
/// A publisher waits when it is this far ahead of its consumer, so that no backlog is measured.
const AHEAD_MAX: u64 = 4 * BATCH as u64;
const NOW: Moment = Moment::from_unix_ms(0);
const NO_PROPERTIES: [u8; 2] = [0, 0];
const BODY: [u8; 16] = [7; 16];

fn main() {
    let wanted = std::env::args()
        .skip(1)
        .find(|word| !word.starts_with("--"));
    let run_ms = std::env::var("LEVERET_BENCH_MS").ok();
    let run = Duration::from_millis(run_ms.and_then(|ms| ms.parse().ok()).unwrap_or(500));
    let cpus = allowed_cpus();
    println!(
        "{} CPUs; {} ms a line; more threads than CPUs: *",
        cpus.len(),
        run.as_millis()
    );
    let cases: [(&str, Case); 7] = [
        ("own queue", |site| site.own_queue()),
        ("neighbour", |site| site.neighbour()),
        ("hot queue", |site| site.hot_queue(BATCH)),
        ("hot, small", |site| site.hot_queue(SMALL_BATCH)),
        ("topic, cached", |site| site.route("t", 1)),
        ("topic, missed", |site| site.route("t", 2 * ENTRIES_MAX)),
        ("headers", |site| site.route("h", 1)),
    ];
    for (name, case) in cases {
        if wanted
            .as_ref()
            .is_some_and(|wanted| !name.contains(wanted.as_str()))
        {
            continue;
        }
        println!("\n{HEAD}");
        for threads in THREADS {
            let shared = Arc::new(Shared::new(threads, cpus.clone(), run));
            let figures = case(&Site { shared });
            println!("{name:<14} {}", figures.line(threads, cpus.len()));
        }
    }
}

type Case = fn(&Site) -> Figures;

const HEAD: &str = "case           threads   M ops/s   CPU ns/op   locks/op   \
                    found taken   waiting/CPU   held ns/op";

/// What one run has come to.
#[derive(Clone, Copy, Default)]
struct Figures {
    operations: u64,
    cpu: Duration,
    wall: Duration,
    locks: Counts,
}

impl Figures {
    fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.cpu += other.cpu;
        self.wall = self.wall.max(other.wall);
        self.locks = self.locks.plus(other.locks);
    }

    fn line(&self, threads: usize, cpus: usize) -> String {
        let operations = self.operations.max(1) as f64;
        let share = |part: f64, whole: f64| {
            if whole > 0.0 {
                100.0 * part / whole
            } else {
                0.0
            }
        };
        let waiting = self.locks.waited.as_secs_f64();
        let thread_time = self.wall.as_secs_f64() * threads as f64;
        format!(
            "{threads:>6}{} {:>9.2} {:>11.1} {:>10.4} {:>11.1} % {:>11.1} % {:>12.1}",
            if threads > cpus { '*' } else { ' ' },
            operations / self.wall.as_secs_f64() / 1e6,
            self.cpu.as_nanos() as f64 / operations,
            self.locks.taken as f64 / operations,
            share(self.locks.contended as f64, self.locks.taken as f64),
            share(waiting, thread_time),
            self.locks.held.as_nanos() as f64 / operations,
        )
    }
}

/// What the threads of one run share.
struct Shared {
    vhost: Arc<Vhost>,
    threads: usize,
    cpus: Vec<usize>,
    run: Duration,
    start: Barrier,
    stop: AtomicBool,
}

impl Shared {
    fn new(threads: usize, cpus: Vec<usize>, run: Duration) -> Self {
        let make = |_: &_, _: &_| -> Box<dyn leveret::core::queue::Queue> {
            Box::new(ClassicQueue::new(ClassicOptions::default()))
        };
        Self {
            vhost: Arc::new(Vhost::new("/", Arc::new(make))),
            threads,
            cpus,
            run,
            start: Barrier::new(threads),
            stop: AtomicBool::new(false),
        }
    }

    fn queue(&self, name: &str) -> Arc<QueueHandle> {
        let request = QueueDeclare {
            name,
            generated_name: "",
            durable: false,
            exclusive: false,
            auto_delete: false,
            arguments: Table::default(),
            connection: ConnectionId(1),
            queues_max: None,
        };
        let declared = self.vhost.declare_queue(&request, &mut |_, _| Ok(()));
        declared.unwrap().0
    }

    fn bind(&self, bind: bool, source: &str, queue: &str, key: &str, arguments: &TableBuf) {
        let request = BindRequest {
            source,
            destination: BindTo::Queue(queue),
            routing_key: key.as_bytes(),
            arguments: arguments.view(),
            connection: ConnectionId(1),
        };
        let changed = match bind {
            true => self.vhost.bind(&request, &mut |_, _| Ok(())),
            false => self.vhost.unbind(&request, &mut |_, _| Ok(())),
        };
        changed.unwrap();
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// One run.
struct Site {
    shared: Arc<Shared>,
}

impl Site {
    /// Runs `work` in each thread until the time is over; it returns its operations.
    fn in_threads<W>(&self, mut work: impl FnMut(usize) -> W) -> Figures
    where
        W: FnOnce(&Shared) -> u64 + Send + 'static,
    {
        let started = (0..self.shared.threads).map(|number| {
            let (shared, work) = (Arc::clone(&self.shared), work(number));
            thread::spawn(move || {
                if let Some(cpu) = shared.cpus.get(number % shared.cpus.len().max(1)) {
                    bind_to(*cpu);
                }
                shared.start.wait();
                let (cpu, start) = (cpu_time(), Instant::now());
                let _ = contention::take();
                let operations = work(&shared);
                Figures {
                    operations,
                    cpu: cpu_time().saturating_sub(cpu),
                    wall: start.elapsed(),
                    locks: contention::take(),
                }
            })
        });
        let started: Vec<_> = started.collect();
        thread::sleep(self.shared.run);
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Figures::default();
        for thread in started {
            all.add(thread.join().unwrap());
        }
        all
    }

    fn own_queue(&self) -> Figures {
        self.in_threads(|number| {
            move |shared: &Shared| {
                let name = format!("q{number}");
                let mut publisher = Publisher::new(shared, &name);
                let mut consumer = Consumer::new(shared, &name);
                while !shared.is_over() {
                    publisher.publish(BATCH);
                    consumer.take_all();
                }
                consumer.taken
            }
        })
    }

    /// Every message passes from one thread to the next.
    fn neighbour(&self) -> Figures {
        let threads = self.shared.threads;
        let progress = Progress::of(threads);
        self.in_threads(|number| {
            let progress = Arc::clone(&progress);
            move |shared: &Shared| {
                let next = (number + 1) % threads;
                let mut publisher = Publisher::new(shared, &format!("q{number}"));
                let mut consumer = Consumer::new(shared, &format!("q{next}"));
                while !shared.is_over() {
                    if publisher.published < progress.of_queue(number) + AHEAD_MAX {
                        publisher.publish(BATCH);
                    } else {
                        thread::yield_now();
                    }
                    consumer.take_all();
                    progress.set(next, consumer.taken);
                }
                consumer.taken
            }
        })
    }

    fn hot_queue(&self, batch: usize) -> Figures {
        let pairs = self.shared.threads / 2;
        if pairs == 0 {
            return self.own_queue();
        }
        let progress = Progress::of(pairs);
        self.in_threads(|number| {
            let progress = Arc::clone(&progress);
            let pair = number / 2;
            move |shared: &Shared| match number % 2 {
                0 => {
                    let mut publisher = Publisher::new(shared, "hot");
                    while !shared.is_over() {
                        if publisher.published < progress.of_queue(pair) + AHEAD_MAX {
                            publisher.publish(batch);
                        } else {
                            thread::yield_now();
                        }
                    }
                    0
                }
                _ => {
                    let mut consumer = Consumer::new(shared, "hot");
                    while !shared.is_over() {
                        consumer.wait();
                        consumer.take_all();
                        progress.set(pair, consumer.taken);
                    }
                    consumer.taken
                }
            }
        })
    }

    /// Finds the way for messages and goes none.
    fn route(&self, exchange: &'static str, keys: usize) -> Figures {
        self.declare_routes(exchange);
        let changer = Arc::clone(&self.shared);
        let changer = thread::spawn(move || {
            // Fits no message, in whichever way it is matched.
            let arguments = TableBuf::new().with("number", Value::I32(-1));
            while !changer.is_over() {
                for bind in [true, false] {
                    thread::sleep(Duration::from_millis(5));
                    changer.bind(bind, source(exchange), "q0", "rare", &arguments);
                }
            }
        });
        let figures = self.in_threads(|number| {
            move |shared: &Shared| route_all(shared, source(exchange), number, keys)
        });
        changer.join().unwrap();
        figures
    }

    /// A queue for each thread, bound by its number.
    fn declare_routes(&self, exchange: &str) {
        for number in 0..self.shared.threads {
            let (queue, number) = (format!("q{number}"), number as i32);
            self.shared.queue(&queue);
            let matching = TableBuf::new().with("number", Value::I32(number));
            self.shared.bind(
                true,
                source(exchange),
                &queue,
                &format!("k.{number}.*"),
                &matching,
            );
        }
    }
}

fn source(exchange: &str) -> &'static str {
    match exchange {
        "h" => "amq.headers",
        _ => "amq.topic",
    }
}

fn route_all(shared: &Shared, exchange: &str, number: usize, keys: usize) -> u64 {
    let headers = TableBuf::new().with("number", Value::I32(number as i32));
    let addresses = (0..keys).map(|key| address(exchange, &format!("k.{number}.{key}")));
    let addresses: Vec<_> = addresses.collect();
    let (mut cache, mut routed) = (RouteCache::new(), 0);
    while !shared.is_over() {
        for turn in 0..BATCH {
            let address = &addresses[(routed as usize + turn) % keys];
            if cache.find(address).is_some() {
                continue;
            }
            let key = &address[exchange.len() + 2..];
            let routing = Routing {
                routing_keys: &[key],
                headers: Some(headers.view()),
                ..Routing::default()
            };
            let targets = shared.vhost.route_publish(exchange.as_bytes(), &routing);
            let targets = targets.unwrap();
            assert!(!targets.is_empty());
            cache.keep(address, targets);
        }
        routed += BATCH as u64;
    }
    routed
}

/// Exchange and key as a publish has them.
fn address(exchange: &str, key: &str) -> Vec<u8> {
    let (exchange, key) = (exchange.as_bytes(), key.as_bytes());
    [&[exchange.len() as u8], exchange, &[key.len() as u8], key].concat()
}

/// A publisher's connection, as far as the core sees it.
struct Publisher<'s> {
    shared: &'s Shared,
    name: String,
    address: Vec<u8>,
    routes: RouteCache,
    queue: Arc<QueueHandle>,
    batch: Vec<Message>,
    scratch: Vec<u8>,
    effects: Effects,
    published: u64,
}

impl<'s> Publisher<'s> {
    fn new(shared: &'s Shared, name: &str) -> Self {
        Self {
            shared,
            name: name.to_owned(),
            address: address("", name),
            routes: RouteCache::new(),
            queue: shared.queue(name),
            batch: Vec::new(),
            scratch: Vec::new(),
            effects: Effects::default(),
            published: 0,
        }
    }

    fn publish(&mut self, count: usize) {
        for _ in 0..count {
            self.find_way();
            let (address, scratch) = (&self.address, &mut self.scratch);
            let message = Message::plain(
                address,
                &NO_PROPERTIES,
                Body::Whole(&BODY),
                Usual::default(),
                scratch,
            );
            self.batch.push(message);
        }
        let body = self.queue.body();
        body.offer(&mut self.batch, NOW, &mut self.effects);
        self.published += count as u64;
    }

    fn find_way(&mut self) {
        if self.routes.find(&self.address).is_none() {
            let routing = Routing {
                routing_keys: &[self.name.as_bytes()],
                headers: None,
                ..Routing::default()
            };
            let targets = self.shared.vhost.route_publish(b"", &routing).unwrap();
            self.routes.keep(&self.address, targets);
        }
    }
}

/// A consumer's connection, as far as the core sees it.
struct Consumer {
    queue: Arc<QueueHandle>,
    slot: SlotId,
    bell: Arc<ThreadBell>,
    out: Vec<leveret::core::queue::Delivery>,
    effects: Effects,
    taken: u64,
}

impl Consumer {
    fn new(shared: &Shared, name: &str) -> Self {
        let queue = shared.queue(name);
        let bell = Arc::new(ThreadBell::new());
        let port = Port {
            bell: Arc::clone(&bell) as Arc<dyn Bell>,
            token: 0,
        };
        let kind = SlotKind::Consumer {
            exclusive: false,
            prefetch: 0,
            pull_only: false,
            priority: 0,
        };
        let spec = SlotSpec { kind, no_ack: true };
        let mut effects = Effects::default();
        let attached = queue.body().attach(spec, port, NOW, &mut effects);
        Self {
            slot: attached.unwrap(),
            queue,
            bell,
            out: Vec::new(),
            effects,
            taken: 0,
        }
    }

    /// Waits for the bell, as long as it takes to see that the run is over.
    fn wait(&self) {
        if !self.bell.rung.swap(false, Ordering::Acquire) {
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn take_all(&mut self) {
        let room = Room {
            messages: PULL,
            bytes: usize::MAX,
        };
        loop {
            // A session holds the queue for the time of a pull, too.
            let queue = Arc::clone(&self.queue);
            let pulled = queue
                .body()
                .pull(self.slot, room, NOW, &mut self.out, &mut self.effects);
            self.taken += self.out.len() as u64;
            self.out.clear();
            if pulled != Pulled::More {
                return;
            }
        }
    }
}

/// Wakes a thread.
struct ThreadBell {
    rung: AtomicBool,
    thread: Thread,
}

impl ThreadBell {
    fn new() -> Self {
        Self {
            rung: AtomicBool::new(true),
            thread: thread::current(),
        }
    }
}

impl Bell for ThreadBell {
    fn ring(&self, _token: u64) {
        if !self.rung.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

/// How much was consumed of what each publisher sent, each on lines of memory of its own.
struct Progress(Vec<Line>);

#[repr(align(128))]
struct Line(AtomicU64);

impl Progress {
    fn of(count: usize) -> Arc<Self> {
        let lines = (0..count).map(|_| Line(AtomicU64::new(0)));
        Arc::new(Self(lines.collect()))
    }

    fn of_queue(&self, queue: usize) -> u64 {
        self.0[queue].0.load(Ordering::Relaxed)
    }

    fn set(&self, queue: usize, taken: u64) {
        self.0[queue].0.store(taken, Ordering::Relaxed);
    }
}

/// The CPU time of this thread.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or_default())
}

#[cfg(target_os = "linux")]
fn allowed_cpus() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

#[cfg(target_os = "linux")]
fn bind_to(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).unwrap();
}

#[cfg(not(target_os = "linux"))]
fn allowed_cpus() -> Vec<usize> {
    (0..thread::available_parallelism().unwrap().get()).collect()
}

#[cfg(not(target_os = "linux"))]
fn bind_to(_cpu: usize) {}
