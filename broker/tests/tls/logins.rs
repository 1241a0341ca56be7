//! Logins without a password: EXTERNAL by certificate, and ANONYMOUS.

use bytes::BytesMut;
use leveret::Config;
use leveret::config::{AuthMechanism, CertLoginFrom, SanType, TlsVerify, UserConfig};
use leveret_protocol::client::{Decoder, write_method, write_protocol_header};
use leveret_protocol::method::connection::{self, Close, Method as Connection, Tune};
use leveret_protocol::{LongStr, Method, ShortStr, TableBuf, Value};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::authority::Signed;
use crate::bench::{Bench, NAME, any_port};
use crate::support::Client;

/// Offers these, and knows these users, who have no password that anybody knows.
fn config(offered: &[AuthMechanism], users: &[&str]) -> Config {
    let mut config = Config {
        auth_mechanisms: offered.to_vec(),
        failed_login_delay_ms: 0,
        ..Config::default()
    };
    config.users.extend(users.iter().map(|name| UserConfig {
        name: (*name).to_owned(),
        ..UserConfig::guest("/")
    }));
    config
}

/// What came of a login.
#[derive(Debug, PartialEq)]
struct Outcome {
    offered: String,
    /// `None` if the broker went on to tune.
    refused: Option<String>,
}

async fn log_in<S>(stream: S, mechanism: &str, response: &[u8]) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let decoder = Decoder::default();
    let mut client = Client { stream, decoder };
    let mut out = BytesMut::new();
    write_protocol_header(&mut out);
    let told = TableBuf::from_entries([("authentication_failure_close", Value::Bool(true))]);
    let properties = TableBuf::from_entries([("capabilities", Value::Table(told.view()))]);
    let start_ok = connection::StartOk {
        client_properties: properties.view(),
        mechanism: ShortStr(mechanism.as_bytes()),
        response: LongStr(response),
        ..Default::default()
    };
    write_method(0, start_ok, &mut out);
    client.stream.write_all(&out).await.unwrap();
    let offered = client.next(|method| match method {
        Method::Connection(Connection::Start(start)) => {
            String::from_utf8(start.mechanisms.0.to_vec()).unwrap()
        }
        other => panic!("{other:?}"),
    });
    let offered = offered.await.unwrap();
    let answer = client.next(|method| match method {
        Method::Connection(Connection::Close(Close { reply_text, .. })) => {
            Some(String::from_utf8_lossy(reply_text.0).into_owned())
        }
        method if method.id() == Tune::ID => None,
        other => panic!("{other:?}"),
    });
    Outcome {
        offered,
        refused: answer
            .await
            .unwrap_or_else(|| Some("in silence".to_owned())),
    }
}

async fn external(bench: &Bench, shown: Option<Signed>) -> Outcome {
    let client = match shown {
        Some(shown) => bench.trusting().showing(shown),
        None => bench.trusting(),
    };
    let stream = client.dial(bench.address, NAME).await.unwrap();
    log_in(stream, "EXTERNAL", b"").await
}

async fn bench(test: &str, from: CertLoginFrom, users: &[&str]) -> Bench {
    let offered = [AuthMechanism::Plain, AuthMechanism::External];
    Bench::of(test, config(&offered, users), |tls| {
        tls.verify = TlsVerify::VerifyPeer;
        tls.cert_login_from = from;
        tls.cert_login_san_type = SanType::Dns;
        tls.cert_login_san_index = 1;
    })
    .await
}

const REFUSED: &str = "ACCESS_REFUSED - Login was refused using authentication mechanism EXTERNAL. \
                       For details see the broker logfile.";

#[tokio::test]
async fn external_takes_the_name_from_where_it_is_configured() {
    let cases = [
        (CertLoginFrom::CommonName, "common"),
        (CertLoginFrom::DistinguishedName, "CN=common"),
        (CertLoginFrom::SubjectAlternativeName, "second.test"),
    ];
    for (from, name) in cases {
        let bench = bench("external", from, &[name]).await;
        let shown = bench
            .authority
            .sign_all("common", &["first.test", "second.test"]);
        assert_eq!(external(&bench, Some(shown)).await.refused, None, "{name}");
        let other = bench
            .authority
            .sign_all("another", &["second.test.x", "x.second.test"]);
        let refused = external(&bench, Some(other)).await.refused;
        assert_eq!(refused.as_deref(), Some(REFUSED), "{name}");
    }
}

#[tokio::test]
async fn attack_10_external_without_a_certificate_is_refused() {
    let bench = bench("external-none", CertLoginFrom::CommonName, &["common"]).await;
    let without = external(&bench, None).await;
    assert_eq!(without.offered, "PLAIN EXTERNAL");
    assert_eq!(without.refused.as_deref(), Some(REFUSED));
    // What it says of itself vouches for nothing.
    let stream = bench.trusting().dial(bench.address, NAME).await.unwrap();
    assert!(
        log_in(stream, "EXTERNAL", b"common")
            .await
            .refused
            .is_some()
    );
    let plain = bench.broker.listen(any_port()).await.unwrap();
    let stream = tokio::net::TcpStream::connect(plain).await.unwrap();
    let refused = log_in(stream, "EXTERNAL", b"common").await;
    assert_eq!(refused.offered, "PLAIN");
    assert!(refused.refused.is_some());
}

/// A wildcard is a name and no pattern, and a name of a kind that is not there is nobody's.
#[tokio::test]
async fn attack_03_a_wildcard_in_a_certificate_is_nobody_else() {
    let users = ["a.example.org"];
    let bench = bench(
        "external-wild",
        CertLoginFrom::SubjectAlternativeName,
        &users,
    )
    .await;
    for names in [
        &["x", "*.example.org"][..],
        &["guest"],
        &["x", "A.example.org"],
    ] {
        let shown = bench.authority.sign_all("a.example.org", names);
        assert!(external(&bench, Some(shown)).await.refused.is_some());
    }
    let shown = bench.authority.sign_all("*", &["x", "a.example.org"]);
    assert_eq!(external(&bench, Some(shown)).await.refused, None);
}

#[tokio::test]
async fn without_verification_no_certificate_is_a_login() {
    let offered = [AuthMechanism::Plain, AuthMechanism::External];
    let config = config(&offered, &["CN=common"]);
    let bench = Bench::of("external-unverified", config, |_| {}).await;
    let shown = bench.authority.sign("common");
    assert!(external(&bench, Some(shown)).await.refused.is_some());
}

#[tokio::test]
async fn anonymous_is_off_unless_it_is_configured() {
    let cases = [
        (vec![AuthMechanism::Plain], "guest", false),
        (vec![AuthMechanism::Anonymous], "", false),
        (vec![AuthMechanism::Anonymous], "nobody", false),
        (vec![AuthMechanism::Anonymous], "guest", true),
    ];
    for (offered, user, expected) in cases {
        let mut config = config(&offered, &[]);
        config.anonymous_login_user = user.to_owned();
        let (_broker, address) = crate::support::start(config).await;
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let outcome = log_in(stream, "ANONYMOUS", b"me@example.org").await;
        let is_in = outcome.refused.is_none();
        assert_eq!(is_in, expected, "{user:?} with {}", outcome.offered);
    }
}
