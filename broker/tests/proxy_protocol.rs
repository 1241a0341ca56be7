//! Connections through a proxy that tells whom it speaks for: attack number 16, and 15 as far as it goes
//! through a proxy.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use leveret::config::{ProxyProtocolConfig, UserConfig};
use leveret::{Broker, Config};
use leveret_protocol::client::{Decoder, write_method, write_protocol_header};
use leveret_protocol::method::connection::{self, OpenOk, Start};
use leveret_protocol::{LongStr, ShortStr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use support::{Client, PATIENCE, start};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.9 40000 5672\r\n";
const LOCAL_LINE: &[u8] = b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 5672\r\n";
const OUR_HEADER: &[u8] = b"AMQP\0\0\x09\x01";
/// May log in from anywhere, unlike `guest`.
const TRAVELLER: &str = "ada";

/// A broker that trusts these networks, and whatever else is changed.
async fn broker(trusted: &str, change: impl FnOnce(&mut Config)) -> (Broker, SocketAddr) {
    let mut config = Config {
        proxy_protocol: ProxyProtocolConfig {
            trusted_networks: vec![trusted.parse().unwrap()],
            ..ProxyProtocolConfig::default()
        },
        failed_login_delay_ms: 0,
        ..Config::default()
    };
    config.users.push(UserConfig::guest("/"));
    config.users.push(UserConfig {
        name: TRAVELLER.to_owned(),
        ..UserConfig::guest("/")
    });
    change(&mut config);
    start(config).await
}

async fn behind_proxy() -> (Broker, SocketAddr) {
    broker("127.0.0.0/8", |_| {}).await
}

/// A header of version 2.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    let fixed = [command, family, length[0], length[1]];
    [SIGNATURE, &fixed, block].concat()
}

fn ipv4(source: [u8; 4]) -> Vec<u8> {
    [&source[..], &[192, 0, 2, 9], &[0x9C, 0x40], &[0x16, 0x28]].concat()
}

/// What a client sends to log in and open a vhost, all at once.
fn opening(user: &str) -> BytesMut {
    let mut out = BytesMut::new();
    write_protocol_header(&mut out);
    let response = format!("\0{user}\0guest");
    let start_ok = connection::StartOk {
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(response.as_bytes()),
        ..Default::default()
    };
    write_method(0, start_ok, &mut out);
    let tune_ok = connection::TuneOk {
        channel_max: 10,
        frame_max: 131_072,
        heartbeat: 0,
    };
    write_method(0, tune_ok, &mut out);
    let open = connection::Open {
        virtual_host: ShortStr(b"/"),
        ..Default::default()
    };
    write_method(0, open, &mut out);
    out
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Whether somebody with this header may log in.
async fn may_log_in(address: SocketAddr, header: &[u8], user: &str) -> bool {
    let mut stream = connect(address).await;
    let sent = [header, &opening(user)].concat();
    stream.write_all(&sent).await.unwrap();
    is_open(stream).await
}

async fn is_open(stream: TcpStream) -> bool {
    let decoder = Decoder::default();
    let mut client = Client { stream, decoder };
    client.expect(Start::ID).await;
    let mut last = Start::ID;
    while last != OpenOk::ID {
        match client.next(|method| method.id()).await {
            Some(id) => last = id,
            None => return false,
        }
    }
    true
}

/// All that is answered to these bytes, up to the end of the connection.
async fn answer(address: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let mut stream = connect(address).await;
    // Whoever is refused early may be cut off while it sends.
    let _ = stream.write_all(sent).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    answer
}

#[tokio::test]
async fn attack_16_the_real_address_decides_who_is_local() {
    let (broker, address) = behind_proxy().await;
    let unix = [b'/'; 216];
    let cases = [
        (LINE.to_vec(), false),
        (LOCAL_LINE.to_vec(), true),
        (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(), false),
        (b"PROXY TCP6 ::ffff:127.0.0.1 ::1 1 2\r\n".to_vec(), true),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".to_vec(), false),
        (b"PROXY UNKNOWN\r\n".to_vec(), false),
        (binary(0x21, 0x11, &ipv4([192, 0, 2, 1])), false),
        (binary(0x21, 0x11, &ipv4([127, 0, 0, 9])), true),
        // AF_UNSPEC and AF_UNIX tell no address; LOCAL speaks for the proxy itself.
        (binary(0x21, 0x00, &[]), false),
        (binary(0x21, 0x31, &unix), false),
        (binary(0x20, 0x00, &[]), true),
        (binary(0x20, 0x11, &ipv4([192, 0, 2, 1])), true),
    ];
    for (header, is_local) in cases {
        let guest = may_log_in(address, &header, "guest").await;
        assert_eq!(guest, is_local, "{header:?}");
        assert!(may_log_in(address, &header, TRAVELLER).await, "{header:?}");
    }
    broker.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn attack_16_a_header_that_nobody_trusts_is_garbage() {
    let (_other, elsewhere) = broker("192.0.2.0/24", |_| {}).await;
    let (_off, without) = start(Config::default()).await;
    for address in [elsewhere, without] {
        for header in [LOCAL_LINE, &binary(0x21, 0x11, &ipv4([127, 0, 0, 1]))] {
            let sent = [header, &opening("guest")].concat();
            assert_eq!(answer(address, &sent).await, OUR_HEADER);
        }
        assert!(may_log_in(address, &[], "guest").await);
    }
}

#[tokio::test]
async fn attack_16_a_header_is_needed_unless_it_is_not() {
    let (_broker, address) = behind_proxy().await;
    for sent in [
        &opening("guest")[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 3, 1],
    ] {
        assert_eq!(answer(address, sent).await, b"", "not a word");
    }
    let optional = |config: &mut Config| config.proxy_protocol.required = false;
    let (_broker, address) = broker("127.0.0.1", optional).await;
    assert!(may_log_in(address, &[], "guest").await);
    assert!(!may_log_in(address, LINE, "guest").await);
    assert!(may_log_in(address, LOCAL_LINE, "guest").await);
    // What begins like one has to be one.
    assert_eq!(answer(address, b"PROXIMITY").await, b"");
    assert_eq!(answer(address, b"GET / HTTP/1.1\r\n\r\n").await, OUR_HEADER);
}

#[tokio::test]
async fn attack_16_broken_headers_end_their_connection_alone() {
    let (broker, address) = behind_proxy().await;
    let (_staying, mut writer) = open_behind(address).await;
    let mut announces_too_much = binary(0x21, 0x11, &[]);
    announces_too_much[14..].copy_from_slice(&[0xFF, 0xFF]);
    let overrunning = [&ipv4([192, 0, 2, 1])[..], &[4, 0xFF, 0xFF, 1]].concat();
    let cases = [
        // No end of the line, ever.
        [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 65_536]].concat(),
        b"PROXY TCP4 192.0.2.1\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.999 192.0.2.9 1 2\r\n".to_vec(),
        announces_too_much,
        binary(0x21, 0x11, &overrunning),
        binary(0x21, 0x11, &[1, 2, 3]),
        binary(0x21, 0xFF, &ipv4([192, 0, 2, 1])),
        binary(0x2F, 0x11, &ipv4([192, 0, 2, 1])),
        binary(0x11, 0x11, &ipv4([192, 0, 2, 1])),
    ];
    for sent in cases {
        let sent = [&sent[..], &opening("guest")].concat();
        assert_eq!(answer(address, &sent).await, b"", "{:?}", &sent[..16]);
    }
    assert!(may_log_in(address, LOCAL_LINE, "guest").await);
    writer
        .write_all(&[8, 0, 0, 0, 0, 0, 0, 0xCE])
        .await
        .unwrap();
    broker.shutdown(PATIENCE).await;
}

async fn open_behind(
    address: SocketAddr,
) -> (
    Client<tokio::io::ReadHalf<TcpStream>>,
    tokio::io::WriteHalf<TcpStream>,
) {
    let mut stream = connect(address).await;
    stream.write_all(LOCAL_LINE).await.unwrap();
    let client = Client::open_over(stream, leveret_protocol::Table::default()).await;
    client.split()
}

#[tokio::test]
async fn attack_16_a_header_may_come_in_any_parts() {
    let (_broker, address) = behind_proxy().await;
    let extended = [&ipv4([127, 0, 0, 1])[..], &[4, 0, 1, 7]].concat();
    for header in [LOCAL_LINE, &binary(0x21, 0x11, &extended)] {
        let mut stream = connect(address).await;
        let sent = [header, &opening("guest")].concat();
        for byte in sent {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(is_open(stream).await);
    }
}

#[tokio::test]
async fn attack_16_a_second_header_is_garbage() {
    let (_broker, address) = behind_proxy().await;
    let binary = binary(0x21, 0x11, &ipv4([127, 0, 0, 1]));
    for (first, second) in [
        (LINE, LOCAL_LINE),
        (LINE, &binary),
        (&binary, LOCAL_LINE),
        (&binary, &binary),
    ] {
        let sent = [first, second, &opening("guest")].concat();
        assert_eq!(answer(address, &sent).await, OUR_HEADER);
    }
}

#[tokio::test]
async fn attack_16_who_does_not_finish_its_header_is_not_waited_for() {
    let soon = |config: &mut Config| config.handshake_timeout_ms = 200;
    let (_broker, address) = broker("127.0.0.1", soon).await;
    for part in [b"".as_slice(), b"PROXY TCP4", SIGNATURE] {
        let mut stream = connect(address).await;
        stream.write_all(part).await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert_eq!((ended.unwrap().unwrap(), answer), (0, Vec::new()));
    }
}

/// The time for the AMQP handshake does not begin anew behind the header.
#[tokio::test]
async fn attack_01_a_slow_header_leaves_less_time_for_the_rest() {
    let soon = |config: &mut Config| config.handshake_timeout_ms = 3_000;
    let (_broker, address) = broker("127.0.0.1", soon).await;
    let began = std::time::Instant::now();
    let mut stream = connect(address).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    stream.write_all(LOCAL_LINE).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(began.elapsed() < Duration::from_millis(5_400));
}

#[tokio::test]
async fn a_shutdown_waits_for_no_header() {
    let (broker, address) = broker("127.0.0.1", |config| {
        config.handshake_timeout_ms = 3_600_000;
    })
    .await;
    let mut silent = connect(address).await;
    // Accepted before this one is served.
    assert!(may_log_in(address, LOCAL_LINE, "guest").await);
    timeout(PATIENCE, broker.shutdown(Duration::from_secs(3_600)))
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = silent.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}
