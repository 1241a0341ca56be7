//! What attackers do before and with a handshake: attack number 3, and 1 and 2 on ports with TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use leveret::Config;
use leveret::config::ProxyProtocolConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::authority::Authority;
use crate::bench::{self, Bench, NAME, any_port, shake_hands};
use crate::support::{Client, PATIENCE};

/// Sends each byte by itself.
struct ByteByByte(TcpStream);

impl AsyncRead for ByteByByte {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for ByteByByte {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let one = bytes.get(..1).unwrap_or_default();
        Pin::new(&mut self.0).poll_write(cx, one)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Everything that comes up to the end.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .unwrap();
    rest
}

/// A record of type handshake with the first bytes of a ClientHello that announces so many.
fn hello(record_bytes: u16, announced: u32) -> Vec<u8> {
    let [_, a, b, c] = announced.to_be_bytes();
    let [high, low] = record_bytes.to_be_bytes();
    vec![0x16, 3, 1, high, low, 1, a, b, c, 3, 3]
}

#[tokio::test]
async fn attack_03_a_handshake_may_come_byte_by_byte() {
    let bench = Bench::needing_certificates("bytes").await;
    for version in rustls::ALL_VERSIONS {
        let shown = bench.authority.sign("client");
        let config = bench.trusting().speaking(version).showing(shown).config();
        let slow = ByteByByte(connect(bench.address).await);
        let stream = shake_hands(&config, slow, NAME).await.unwrap();
        bench::open(stream).await;
    }
}

#[tokio::test]
async fn attack_01_and_03_who_does_not_finish_a_hello_is_not_waited_for() {
    let bench = Bench::new("partial", |config, _, _| {
        config.handshake_timeout_ms = 200;
    })
    .await;
    for part in [&b""[..], &[0x16], &hello(512, 508), &hello(16_384, 65_531)] {
        let mut stream = connect(bench.address).await;
        stream.write_all(part).await.unwrap();
        assert_eq!(rest(&mut stream).await, b"");
    }
}

#[tokio::test]
async fn attack_02_and_03_what_is_no_hello_ends_with_an_alert_at_most() {
    let bench = Bench::new("garbage", |_, _, _| {}).await;
    let endless_hello = [hello(16_384, 0xFF_FFFF), vec![0; 1 << 20]].concat();
    let too_long_record = [&[0x16, 3, 1, 0xFF, 0xFF][..], &[0; 70_000]].concat();
    let empty_records = [0x16, 3, 1, 0, 0].repeat(10_000);
    for sent in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        b"AMQP\0\0\x09\x01",
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n",
        &endless_hello,
        &too_long_record,
        &empty_records,
        // Application data, an alert and a change of cipher before any hello.
        &[0x17, 3, 3, 0, 1, 0],
        &[0x15, 3, 3, 0, 2, 2, 0],
        &[0x14, 3, 3, 0, 1, 1],
    ] {
        let mut stream = connect(bench.address).await;
        // Whoever is refused early may be cut off while it sends.
        let _ = stream.write_all(sent).await;
        let _ = stream.shutdown().await;
        let answer = rest(&mut stream).await;
        assert!(
            answer.is_empty() || answer.starts_with(&[0x15, 3]),
            "{answer:?}"
        );
        assert!(answer.len() <= 7, "one alert: {answer:?}");
    }
    bench.trusting().open(bench.address, NAME).await;
}

#[tokio::test]
async fn attack_02_a_hello_on_the_plain_port_is_answered_with_our_header() {
    let bench = Bench::new("hello", |_, _, _| {}).await;
    let plain = bench.broker.listen(any_port()).await.unwrap();
    let mut stream = connect(plain).await;
    stream.write_all(&hello(512, 508)).await.unwrap();
    assert_eq!(rest(&mut stream).await, b"AMQP\0\0\x09\x01");
}

#[tokio::test]
async fn attack_03_a_flood_of_key_updates_ends_its_connection_alone() {
    let bench = Bench::new("key-updates", |_, _, _| {}).await;
    let mut staying = bench.trusting().open(bench.address, NAME).await;
    let client = bench.trusting().speaking(&rustls::version::TLS13);
    let mut flooding = client.open(bench.address, NAME).await;
    let flood = async {
        let mut sent = Ok(());
        while sent.is_ok() {
            let (_, session) = flooding.stream.get_mut();
            session.refresh_traffic_keys().unwrap();
            sent = flooding.stream.flush().await;
        }
    };
    timeout(PATIENCE, flood).await.unwrap();
    let open = leveret_protocol::method::channel::Open::default();
    let opened = leveret_protocol::method::channel::OpenOk::ID;
    staying.call(1, open, opened).await;
}

#[tokio::test]
async fn attack_03_a_chain_longer_than_a_handshake_may_be_is_refused() {
    let bench = Bench::needing_certificates("long-chain").await;
    let (own, other) = (bench.authority.sign("client"), Authority::new("other"));
    let link = other.certificate();
    // Some 400 bytes each: more than 64 KiB together, which a handshake may not have.
    let long = own.followed_by(&link.repeat(250));
    assert!(
        bench
            .trusting()
            .showing(long)
            .refused(bench.address, NAME)
            .await
    );
    // What fits is looked at, as far as it is of use.
    let fits = bench
        .authority
        .sign("client")
        .followed_by(&link.repeat(100));
    bench
        .trusting()
        .showing(fits)
        .open(bench.address, NAME)
        .await;
}

#[tokio::test]
async fn attack_03_an_authority_signs_only_for_the_names_it_has() {
    let bench = Bench::needing_certificates("constraints").await;
    let within = bench
        .authority
        .delegate_within("between", Some("good.test"));
    for (name, is_good) in [
        ("good.test", true),
        ("a.good.test", true),
        ("*.good.test", true),
        ("evil.test", false),
        ("*.test", false),
        ("*.evil.test", false),
        ("notgood.test", false),
    ] {
        let shown = within.sign_all("client", &[name]);
        let shown = shown.followed_by(&within.certificate());
        let client = bench.trusting().showing(shown);
        let refused = client.refused_at_login(bench.address, NAME).await;
        assert_eq!(!refused, is_good, "{name}");
    }
}

/// Who has not been served for so long waits.
const WAITS: Duration = Duration::from_millis(300);
/// Clients that may be served before a slow one has been read.
const CLIENTS_BEFORE_MAX: usize = 20;

#[tokio::test]
async fn handshakes_under_way_are_limited_and_silence_is_none() {
    let bench = Bench::new("limited", |config, _, _| {
        config.handshakes_max = 1;
        config.handshake_timeout_ms = 3_600_000;
    })
    .await;
    let _silent = [connect(bench.address).await, connect(bench.address).await];
    bench.trusting().open(bench.address, NAME).await;
    let mut slow = connect(bench.address).await;
    slow.write_all(&hello(512, 508)).await.unwrap();
    // A client that comes once the slow one has been read waits for it; those before it do not.
    let mut waits = None;
    for _ in 0..CLIENTS_BEFORE_MAX {
        let mut dialled = Box::pin(bench.trusting().dial(bench.address, NAME));
        if timeout(WAITS, &mut dialled).await.is_err() {
            waits = Some(dialled);
            break;
        }
    }
    let waits = waits.expect("nobody had to wait");
    drop(slow);
    timeout(PATIENCE, waits).await.unwrap().unwrap();
}

#[tokio::test]
async fn attack_16_a_header_comes_before_tls() {
    let config = Config {
        proxy_protocol: ProxyProtocolConfig {
            trusted_networks: vec!["127.0.0.1".parse().unwrap()],
            ..ProxyProtocolConfig::default()
        },
        ..Config::default()
    };
    let bench = Bench::of("proxied", config, |_| {}).await;
    let client = bench.trusting().config();
    let mut stream = connect(bench.address).await;
    stream
        .write_all(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n")
        .await
        .unwrap();
    bench::open(shake_hands(&client, stream, NAME).await.unwrap()).await;
    // guest may not come from elsewhere.
    let mut stream = connect(bench.address).await;
    stream
        .write_all(b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n")
        .await
        .unwrap();
    let stream = shake_hands(&client, stream, NAME).await.unwrap();
    let (decoder, mut sent) = (Default::default(), bytes::BytesMut::new());
    leveret_protocol::client::write_protocol_header(&mut sent);
    let start_ok = leveret_protocol::method::connection::StartOk {
        mechanism: leveret_protocol::ShortStr(b"PLAIN"),
        response: leveret_protocol::LongStr(b"\0guest\0guest"),
        ..Default::default()
    };
    leveret_protocol::client::write_method(0, start_ok, &mut sent);
    let mut client = Client { stream, decoder };
    client.stream.write_all(&sent).await.unwrap();
    let start = leveret_protocol::method::connection::Start::ID;
    client.expect(start).await;
    assert_eq!(client.next(|method| method.id()).await, None);
    let without = bench.trusting().dial(bench.address, NAME).await;
    assert!(without.is_err());
}

/// Of what idle connections take, the greater part is what TLS keeps for them.
#[tokio::test]
async fn what_tls_keeps_counts_towards_the_reserve() {
    let bench = Bench::new("reserve", |_, _, _| {}).await;
    let plain = bench.broker.listen(any_port()).await.unwrap();
    let nobody = bench.broker.reserved_bytes();
    let _one = Client::open(plain).await;
    let one = bench.broker.reserved_bytes();
    let _two = bench.trusting().open(bench.address, NAME).await;
    let two = bench.broker.reserved_bytes();
    assert!(two - one > 2 * (one - nobody), "{nobody}, {one}, {two}");
}
