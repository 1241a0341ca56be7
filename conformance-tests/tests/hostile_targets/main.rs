//! What the command says about a port behind which there is no broker to test, or no longer one. Every
//! case runs the binary as a user would, and within a bound.

#![allow(clippy::unwrap_used)]

mod command;
mod lost;
mod peers;
mod stopped;

use std::time::Duration;

use command::{Ended, run};
use peers::{Peer, refusing_port};

/// How long the command may take to find out that there is no broker: the bound of the handshake, and some
/// time for a busy machine to start a process.
const BOUND: Duration = Duration::from_secs(20);

/// The only line that is printed about a target which is none.
async fn only_line(uri: &str) -> String {
    let Ended { code, out, err } = run(&["--uri", uri], BOUND).await;
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    err
}

/// The line about a peer names its address and has all these words.
async fn expect_told(peer: Peer, words: &[&str]) {
    let address = peer.listen().await;
    let line = only_line(&format!("amqp://guest:secret@{address}/%2f")).await;
    assert!(
        line.contains(&format!("error: {address} is not a broker to test: ")),
        "{line}"
    );
    for word in words {
        assert!(line.contains(word), "{word} is missing from {line}");
    }
    assert!(!line.contains("secret") && !line.contains('\x1b'), "{line}");
}

#[tokio::test]
async fn a_port_that_never_answers() {
    expect_told(Peer::Silent, &["expected", "connection.start", "nothing"]).await;
}

#[tokio::test]
async fn a_port_that_closes_at_once() {
    expect_told(Peer::Closing, &["the end of the connection"]).await;
}

#[tokio::test]
async fn a_port_that_speaks_http() {
    let http = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    expect_told(Peer::Saying(http), &["it speaks HTTP", "48 54 54 50"]).await;
}

#[tokio::test]
async fn a_port_that_speaks_tls() {
    let alert = b"\x15\x03\x01\x00\x02\x02\x46";
    expect_told(Peer::Saying(alert), &["it speaks TLS"]).await;
}

#[tokio::test]
async fn a_port_that_speaks_amqp_1() {
    let header = b"AMQP\x03\x01\x00\x00";
    expect_told(Peer::Saying(header), &["AMQP 1.0", "AMQP 3 1 0 0"]).await;
}

#[tokio::test]
async fn a_port_that_sends_garbage_for_ever() {
    expect_told(Peer::Endless, &["expected", "1b 5b 32 4a"]).await;
}

#[tokio::test]
async fn a_broker_that_stalls_after_its_start() {
    expect_told(
        Peer::Stalling,
        &["log in as \"guest\"", "connection.tune", "nothing"],
    )
    .await;
}

#[tokio::test]
async fn a_port_that_refuses() {
    let address = refusing_port().await;
    let line = only_line(&format!("amqp://{address}")).await;
    let told = format!("{address} is not a broker to test: ");
    assert!(line.contains(&told) && line.contains("refused"), "{line}");
}

#[tokio::test]
async fn a_host_that_nobody_knows() {
    // RFC 2606 keeps this domain for names that never exist.
    let line = only_line("amqp://guest:guest@broker.invalid/%2f").await;
    assert!(
        line.contains("broker.invalid:5672 is not a broker to test: "),
        "{line}"
    );
}

#[tokio::test]
async fn a_uri_that_is_none() {
    let line = only_line("guest:secret@127.0.0.1").await;
    assert!(
        line.contains("not an AMQP URI") && !line.contains("secret"),
        "{line}"
    );
    let line = only_line("amqps://guest:secret@127.0.0.1/%2f").await;
    assert!(
        line.contains("amqps://") && line.contains("TLS is not supported"),
        "{line}"
    );
    assert!(!line.contains("secret"), "{line}");
}

#[tokio::test]
async fn a_broker_that_does_not_let_the_user_in() {
    let (address, broker) = peers::leveret().await;
    let line = only_line(&format!("amqp://guest:wrong@{address}/%2f")).await;
    assert!(
        line.contains("log in as \"guest\"") && line.contains("403 ACCESS_REFUSED"),
        "{line}"
    );
    let line = only_line(&format!("amqp://guest:guest@{address}/nowhere")).await;
    assert!(
        line.contains("open vhost \"nowhere\"") && line.contains("530 NOT_ALLOWED"),
        "{line}"
    );
    broker.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_word_that_means_nothing_is_named_before_anybody_is_asked() {
    for words in [["--only", "QUEUE,QEUE"], ["--skip", "QEUE"]] {
        let mut arguments = vec!["--uri", "amqp://broker.invalid"];
        arguments.extend(words);
        let Ended { code, err, .. } = run(&arguments, BOUND).await;
        assert_eq!(code, Some(2));
        assert!(
            err.contains("\"QEUE\"") && err.lines().count() == 1,
            "{err}"
        );
    }
}
