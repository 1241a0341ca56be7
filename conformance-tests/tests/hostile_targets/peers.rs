//! What may listen on a port instead of a broker, and a Leveret that may go away.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use leveret::{Broker, Config};
use leveret_protocol::method::connection::Start;
use leveret_protocol::{LongStr, Method, TableBuf, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Every peer listens on a port of the system's choice.
const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
/// Garbage in which a terminal would clear its screen.
const GARBAGE: &[u8] = b"\x1b[2J\xff\xff\xff garbage ";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    /// Accepts and never answers.
    Silent,
    /// Accepts and closes.
    Closing,
    /// Says this, whatever it is asked, and waits.
    Saying(&'static [u8]),
    /// Sends garbage as fast as it is read.
    Endless,
    /// Sends an AMQP start and nothing more.
    Stalling,
}

impl Peer {
    pub(crate) async fn listen(self) -> SocketAddr {
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(self.talk(stream));
            }
        });
        address
    }

    async fn talk(self, mut stream: TcpStream) {
        let said = match self {
            Self::Closing => return,
            Self::Silent => Vec::new(),
            Self::Saying(bytes) => bytes.to_vec(),
            Self::Stalling => start(),
            Self::Endless => {
                let much = GARBAGE.repeat(1000);
                while stream.write_all(&much).await.is_ok() {}
                return;
            }
        };
        let _ = stream.write_all(&said).await;
        // Until the other side has enough of it.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

/// connection.start as a broker sends it.
fn start() -> Vec<u8> {
    let properties = TableBuf::new().with("product", Value::LongStr(b"Stall"));
    let start = Start {
        version_major: 0,
        version_minor: 9,
        server_properties: properties.view(),
        mechanisms: LongStr(b"PLAIN"),
        locales: LongStr(b"en_US"),
    };
    let mut frame = bytes::BytesMut::new();
    Method::from(start).write_frame(0, &mut frame);
    frame.to_vec()
}

/// A port that nobody listens on: it has just been given back.
pub(crate) async fn refusing_port() -> SocketAddr {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    listener.local_addr().unwrap()
}

/// A Leveret in this process, without fixtures.
pub(crate) async fn leveret() -> (SocketAddr, Broker) {
    let broker = Broker::start(Config::default()).unwrap();
    let address = broker.listen(SocketAddr::from(ANY_PORT)).await.unwrap();
    (address, broker)
}

/// How a broker may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its connections end and new ones are refused.
    Dies,
    /// It accepts connections, and no byte goes through any more.
    Hangs,
}

/// Stands before a broker until a number of connections has come, and then is lost.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
}

impl Front {
    pub(crate) async fn before(broker: SocketAddr, loss: Loss, after: usize) -> Self {
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, _) = watch::channel(0);
        tokio::spawn(serve(listener, broker, loss, after, Arc::new(count)));
        Self { address }
    }
}

async fn serve(
    listener: TcpListener,
    broker: SocketAddr,
    loss: Loss,
    after: usize,
    count: Arc<watch::Sender<usize>>,
) {
    let mut is_lost = count.subscribe();
    let lost = is_lost.wait_for(|count| *count > after);
    tokio::pin!(lost);
    let mut forwarded = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = &mut lost => break,
            accepted = listener.accept() => {
                count.send_modify(|count| *count += 1);
                forwarded.spawn(forward(accepted.unwrap().0, broker, loss, after, count.subscribe()));
            }
        }
    }
    if loss == Loss::Hangs {
        hold(listener, forwarded).await;
    }
}

/// Keeps what is there and what still comes, and reads none of it.
async fn hold(listener: TcpListener, _forwarded: tokio::task::JoinSet<()>) {
    let mut held = Vec::new();
    while let Ok(accepted) = listener.accept().await {
        held.push(accepted);
    }
}

async fn forward(
    mut client: TcpStream,
    broker: SocketAddr,
    loss: Loss,
    after: usize,
    mut count: watch::Receiver<usize>,
) {
    let Ok(mut broker) = TcpStream::connect(broker).await else {
        return;
    };
    let is_lost = count.wait_for(|count| *count > after);
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut broker) => return,
        lost = is_lost => drop(lost),
    }
    if loss == Loss::Hangs {
        std::future::pending::<()>().await;
    }
}
