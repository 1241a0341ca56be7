//! AMQP over TLS as a client sees it: versions, certificates by name, client certificates, files that are
//! read again, and what keeps a handshake from lasting.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

mod authority;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leveret::config::{ServerNameConfig, TlsConfig, TlsVerify, TlsVersion};
use leveret::{Broker, Config, Tls, Workers};
use leveret_protocol::method::{channel, connection};
use leveret_protocol::{ShortStr, Table};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use authority::{Authority, Files, Signed};
use support::{Client, PATIENCE};

const NAME: &str = "broker.test";

/// A broker with a TLS listener, and the authority that everybody trusts.
struct Bench {
    authority: Authority,
    files: Files,
    tls: Tls,
    broker: Broker,
    address: SocketAddr,
}

impl Bench {
    async fn new(test: &str, change: impl FnOnce(&mut TlsConfig, &Authority, &Files)) -> Self {
        let (authority, files) = (Authority::new("authority"), Files::new(test));
        let mut config = config(&authority.sign(NAME), &files);
        config.cacertfile = Some(files.write("ca.pem", &authority.certificate()));
        change(&mut config, &authority, &files);
        let tls = Tls::load(&config).unwrap();
        let broker = Broker::start(Config::default()).unwrap();
        let workers = Workers::default();
        let address = broker.listen_tls(any_port(), &tls, &workers).await.unwrap();
        Self {
            address,
            authority,
            files,
            tls,
            broker,
        }
    }

    fn trusting(&self) -> Dialler {
        Dialler::trusting(&self.authority)
    }
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn config(shown: &Signed, files: &Files) -> TlsConfig {
    TlsConfig {
        certfile: Some(files.write("server.pem", &shown.certificate)),
        keyfile: Some(files.write("server.key", &shown.key)),
        ..TlsConfig::default()
    }
}

/// A client's side of TLS.
struct Dialler {
    roots: RootCertStore,
    versions: Vec<&'static SupportedProtocolVersion>,
    shows: Option<Signed>,
}

impl Dialler {
    fn trusting(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(der(&authority.certificate())).unwrap();
        Self {
            roots,
            versions: rustls::ALL_VERSIONS.to_vec(),
            shows: None,
        }
    }

    fn showing(self, shown: Signed) -> Self {
        Self {
            shows: Some(shown),
            ..self
        }
    }

    fn speaking(self, version: &'static SupportedProtocolVersion) -> Self {
        Self {
            versions: vec![version],
            ..self
        }
    }

    async fn dial(self, address: SocketAddr, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(self.roots);
        let config = match self.shows {
            None => config.with_no_client_auth(),
            Some(shown) => {
                let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
                let chain = vec![der(&shown.certificate)];
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// Dials and opens an AMQP connection.
    async fn open(self, address: SocketAddr, name: &str) -> Client<TlsStream<TcpStream>> {
        let stream = self.dial(address, name).await.unwrap();
        let mut client = Client::open_over(stream, Table::default()).await;
        client.expect(connection::OpenOk::ID).await;
        client
    }

    /// True if the server ends the connection instead of answering. With TLS 1.3 a client has finished
    /// its handshake before the server has seen its certificate.
    async fn finds_no_way_in(self, address: SocketAddr, name: &str) -> bool {
        let Ok(mut stream) = self.dial(address, name).await else {
            return true;
        };
        let mut answer = [0];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await;
        read.unwrap().is_err()
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

async fn open_channel(client: &mut Client<TlsStream<TcpStream>>) {
    let open = channel::Open {
        out_of_band: ShortStr(b""),
    };
    client.call(1, open, channel::OpenOk::ID).await;
}

#[tokio::test]
async fn both_versions_are_spoken_unless_one_is_taken_away() {
    let both = Bench::new("versions", |_, _, _| {}).await;
    for version in rustls::ALL_VERSIONS {
        let client = both.trusting().speaking(version);
        let client = client.open(both.address, NAME).await;
        assert_eq!(
            client.stream.get_ref().1.protocol_version(),
            Some(version.version)
        );
    }
    let only_new = |config: &mut TlsConfig, _: &_, _: &_| config.versions = vec![TlsVersion::V1_3];
    let newest = Bench::new("newest", only_new).await;
    let old = newest.trusting().speaking(&rustls::version::TLS12);
    assert!(old.dial(newest.address, NAME).await.is_err());
    newest.trusting().open(newest.address, NAME).await;
}

#[tokio::test]
async fn a_client_that_trusts_another_authority_goes_away() {
    let bench = Bench::new("stranger", |_, _, _| {}).await;
    let stranger = Dialler::trusting(&Authority::new("another"));
    let error = stranger.dial(bench.address, NAME).await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn a_name_has_its_own_certificate() {
    let named = |config: &mut TlsConfig, authority: &Authority, files: &Files| {
        let other = authority.sign("other.test");
        config.server_names = vec![ServerNameConfig {
            names: vec!["Other.Test".to_owned()],
            certfile: files.write("other.pem", &other.certificate),
            keyfile: files.write("other.key", &other.key),
        }];
    };
    let bench = Bench::new("names", named).await;
    for name in [NAME, "other.test", "OTHER.TEST"] {
        bench.trusting().open(bench.address, name).await;
    }
    let unknown = bench.trusting().dial(bench.address, "third.test").await;
    assert!(
        unknown
            .unwrap_err()
            .to_string()
            .contains("not valid for name")
    );
}

#[tokio::test]
async fn a_certificate_may_be_asked_for_and_may_be_needed() {
    let asked = |config: &mut TlsConfig, _: &_, _: &_| config.verify = TlsVerify::VerifyPeer;
    let asking = Bench::new("asking", asked).await;
    asking.trusting().open(asking.address, NAME).await;
    let needed = |config: &mut TlsConfig, _: &_, _: &_| {
        config.verify = TlsVerify::VerifyPeer;
        config.fail_if_no_peer_cert = true;
    };
    let needing = Bench::new("needing", needed).await;
    for bench in [asking, needing] {
        let (good, address) = (bench.authority.sign("client"), bench.address);
        bench.trusting().showing(good).open(address, NAME).await;
        let strange = Authority::new("another").sign("client");
        assert!(
            bench
                .trusting()
                .showing(strange)
                .finds_no_way_in(address, NAME)
                .await
        );
        let old = bench.authority.sign_expired("client");
        assert!(
            bench
                .trusting()
                .showing(old)
                .finds_no_way_in(address, NAME)
                .await
        );
        bench.broker.shutdown(PATIENCE).await;
    }
}

#[tokio::test]
async fn who_shows_no_certificate_finds_no_way_in_where_one_is_needed() {
    let needed = |config: &mut TlsConfig, _: &_, _: &_| {
        config.verify = TlsVerify::VerifyPeer;
        config.fail_if_no_peer_cert = true;
    };
    let bench = Bench::new("none", needed).await;
    for version in rustls::ALL_VERSIONS {
        let silent = bench.trusting().speaking(version);
        assert!(
            silent.finds_no_way_in(bench.address, NAME).await,
            "{version:?}"
        );
    }
}

#[tokio::test]
async fn files_are_read_again_and_nobody_is_disturbed() {
    let bench = Bench::new("reload", |_, _, _| {}).await;
    let mut before = bench.trusting().open(bench.address, NAME).await;
    let next = Authority::new("next");
    let shown = next.sign(NAME);
    bench.files.write("server.pem", &shown.certificate);
    let error = bench.tls.reload().unwrap_err().to_string();
    assert!(
        error.contains("server.key: this key does not belong"),
        "{error}"
    );
    bench.trusting().open(bench.address, NAME).await;
    bench.files.write("server.key", &shown.key);
    bench.tls.reload().unwrap();
    Dialler::trusting(&next).open(bench.address, NAME).await;
    assert!(bench.trusting().dial(bench.address, NAME).await.is_err());
    open_channel(&mut before).await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let (files, authority) = (Files::new("bad"), Authority::new("authority"));
    let good = config(&authority.sign(NAME), &files);
    let gone = Some(files.write("x", "").with_file_name("gone.pem"));
    let empty = Some(files.write("empty.pem", ""));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = Some(files.write("broken.pem", broken));
    let other = Some(files.write("other.key", &authority.sign(NAME).key));
    let cases = [
        (
            TlsConfig {
                certfile: gone,
                ..good.clone()
            },
            "gone.pem: cannot be read",
        ),
        (
            TlsConfig {
                certfile: empty.clone(),
                ..good.clone()
            },
            "empty.pem: no certificate",
        ),
        (
            TlsConfig {
                keyfile: empty,
                ..good.clone()
            },
            "empty.pem: no private key",
        ),
        (
            TlsConfig {
                certfile: broken,
                ..good.clone()
            },
            "broken.pem: the certificate cannot be used",
        ),
        (
            TlsConfig {
                keyfile: other,
                ..good.clone()
            },
            "other.key: this key does not belong",
        ),
        (
            TlsConfig {
                verify: TlsVerify::VerifyPeer,
                ..good.clone()
            },
            "needs tls.cacertfile",
        ),
        (
            TlsConfig {
                keyfile: None,
                ..good
            },
            "both needed",
        ),
    ];
    for (config, expected) in cases {
        let error = Tls::load(&config).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn who_does_not_shake_hands_is_not_waited_for() {
    let soon = |config: &mut TlsConfig, _: &_, _: &_| config.handshake_timeout_ms = 100;
    let bench = Bench::new("slow", soon).await;
    let mut silent = TcpStream::connect(bench.address).await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut answer)).await;
    assert_eq!(ended.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_shutdown_waits_for_no_handshake() {
    let long = |config: &mut TlsConfig, _: &_, _: &_| config.handshake_timeout_ms = 3_600_000;
    let bench = Bench::new("shutdown", long).await;
    let mut silent = TcpStream::connect(bench.address).await.unwrap();
    // Accepted before this one is served.
    bench.trusting().open(bench.address, NAME).await;
    let shutdown = bench.broker.shutdown(Duration::from_secs(3_600));
    tokio::time::timeout(PATIENCE, shutdown).await.unwrap();
    let mut answer = Vec::new();
    let _ = silent.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}

#[tokio::test]
async fn who_speaks_amqp_without_tls_is_not_understood() {
    let bench = Bench::new("plain", |_, _, _| {}).await;
    let mut plain = TcpStream::connect(bench.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"AMQP\0\0\x09\x01")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(!answer.starts_with(b"AMQP"), "an alert, and no more");
}
