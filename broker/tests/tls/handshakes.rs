//! Handshakes that come to their end, and those that must not: versions, certificates, names, time.

use std::sync::Arc;
use std::time::Duration;

use leveret::Tls;
use leveret::config::{ServerNameConfig, TlsConfig, TlsVerify, TlsVersion};
use leveret_protocol::ShortStr;
use leveret_protocol::method::channel;
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::authority::{Authority, Files};
use crate::bench::{self, Bench, Dialler, NAME, any_port, config, dial};
use crate::support::{Client, PATIENCE};

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
        let other = authority.sign_all("other", &["other.test", "*.wild.test"]);
        config.server_names = vec![ServerNameConfig {
            names: vec!["Other.Test".to_owned(), "*.wild.test".to_owned()],
            certfile: files.write("other.pem", &other.certificate),
            keyfile: files.write("other.key", &other.key),
        }];
    };
    let bench = Bench::new("names", named).await;
    for name in [NAME, "other.test", "OTHER.TEST", "a.wild.test"] {
        bench.trusting().open(bench.address, name).await;
    }
    for name in ["third.test", "wild.test", "a.b.wild.test"] {
        let unknown = bench.trusting().dial(bench.address, name).await;
        let error = unknown.unwrap_err().to_string();
        assert!(error.contains("not valid for name"), "{name}: {error}");
    }
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
                .refused(address, NAME)
                .await
        );
        let old = bench.authority.sign_expired("client");
        assert!(bench.trusting().showing(old).refused(address, NAME).await);
        bench.broker.shutdown(PATIENCE).await;
    }
}

#[tokio::test]
async fn who_shows_no_certificate_is_refused_where_one_is_needed() {
    let needed = |config: &mut TlsConfig, _: &_, _: &_| {
        config.verify = TlsVerify::VerifyPeer;
        config.fail_if_no_peer_cert = true;
    };
    let bench = Bench::new("none", needed).await;
    for version in rustls::ALL_VERSIONS {
        let silent = bench.trusting().speaking(version);
        assert!(silent.refused(bench.address, NAME).await, "{version:?}");
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
                ..good.clone()
            },
            "both needed",
        ),
        (
            TlsConfig {
                server_names: vec![ServerNameConfig {
                    names: vec!["other.test".to_owned()],
                    certfile: good.certfile.clone().unwrap(),
                    keyfile: good.keyfile.clone().unwrap(),
                }],
                ..good
            },
            "server.pem: the certificate is not valid for \"other.test\"",
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

#[tokio::test]
async fn a_chain_leads_from_the_certificate_to_the_root() {
    let chained = |config: &mut TlsConfig, authority: &Authority, files: &Files| {
        let between = authority.delegate("between");
        let shown = between.sign(NAME);
        let chain = format!("{}{}", shown.certificate, between.certificate());
        config.certfile = Some(files.write("chain.pem", &chain));
        config.keyfile = Some(files.write("chain.key", &shown.key));
    };
    let bench = Bench::new("chain", chained).await;
    bench.trusting().open(bench.address, NAME).await;
}

#[tokio::test]
async fn a_client_may_show_a_chain() {
    let bench = Bench::needing_certificates("client-chain").await;
    let between = bench.authority.delegate("between");
    let own = between.sign("client");
    let alone = bench.trusting().showing(between.sign("client"));
    assert!(
        alone.refused(bench.address, NAME).await,
        "a link is missing"
    );
    let chain = own.followed_by(&between.certificate());
    bench
        .trusting()
        .showing(chain)
        .open(bench.address, NAME)
        .await;
}

#[tokio::test]
async fn a_session_is_resumed_unless_certificates_are_looked_at() {
    let plain = Bench::new("resumed", |_, _, _| {}).await;
    let asking = Bench::needing_certificates("not-resumed").await;
    for version in rustls::ALL_VERSIONS {
        let client = plain.trusting().speaking(version).config();
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            assert_eq!(kind(&plain, &client).await, expected, "{version:?}");
        }
        let shown = asking.authority.sign("client");
        let client = asking.trusting().speaking(version).showing(shown).config();
        for _ in 0..2 {
            assert_eq!(kind(&asking, &client).await, HandshakeKind::Full);
        }
    }
}

async fn kind(bench: &Bench, config: &Arc<ClientConfig>) -> HandshakeKind {
    let stream = dial(config, bench.address, NAME).await.unwrap();
    // Reads the tickets as well.
    let client = bench::open(stream).await;
    client.stream.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn plain_and_tls_listeners_stand_side_by_side() {
    let bench = Bench::new("both", |_, _, _| {}).await;
    let plain = bench.broker.listen(any_port()).await.unwrap();
    Client::open(plain).await;
    bench.trusting().open(bench.address, NAME).await;
}

#[tokio::test]
async fn the_end_of_a_connection_is_told() {
    for version in rustls::ALL_VERSIONS {
        let bench = Bench::new("end", |_, _, _| {}).await;
        let client = bench.trusting().speaking(version);
        let mut client = client.open(bench.address, NAME).await;
        let close = leveret_protocol::method::connection::Close::default();
        let closed = leveret_protocol::method::connection::CloseOk::ID;
        client.call(0, close, closed).await;
        client.stream.shutdown().await.unwrap();
        // Without close_notify this is an error.
        assert_eq!(client.stream.read(&mut [0]).await.unwrap(), 0);
    }
}
