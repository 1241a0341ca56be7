//! Attack number 18: vhosts that cannot be opened.
//!
//! Unlike the list, which asks for one text, an unknown vhost and one without permission have two: RabbitMQ tells
//! them apart, and clients look at it (CONN-18, CONN-19). Only who has logged in hears of it.

use std::net::SocketAddr;

use bytes::BytesMut;
use leveret::Config;
use leveret_protocol::client::write_method;
use leveret_protocol::method::connection;
use leveret_protocol::{ReplyCode, ShortStr};
use tokio::io::AsyncWriteExt as _;

use crate::dialogue::{Answer, answer, begin};
use crate::support::{Client, Close, start};

async fn asked_for(address: SocketAddr, vhost: &[u8]) -> Client {
    let mut client = begin(address, "PLAIN", b"\0ada\0hush").await;
    client.expect(connection::Start::ID).await;
    assert_eq!(answer(&mut client).await, Answer::LoggedIn);
    let mut out = BytesMut::new();
    let tune_ok = connection::TuneOk {
        channel_max: 1,
        frame_max: 131_072,
        heartbeat: 0,
    };
    write_method(0, tune_ok, &mut out);
    let open = connection::Open {
        virtual_host: ShortStr(vhost),
        ..Default::default()
    };
    write_method(0, open, &mut out);
    client.stream.write_all(&out).await.unwrap();
    client
}

#[tokio::test]
async fn attack_018_no_vhost_opens_but_one_with_a_permission() {
    let text = "vhosts = [{ name = 'closed' }]
                users = [{ name = 'ada', password = 'hush' }]";
    let (_broker, address) = start(Config::from_toml(text).unwrap()).await;
    let long = "v".repeat(255);
    for (vhost, text) in [
        ("nowhere", "NOT_ALLOWED - vhost nowhere not found"),
        ("", "NOT_ALLOWED - vhost  not found"),
        (
            "closed",
            "NOT_ALLOWED - access to vhost 'closed' refused for user 'ada'",
        ),
        ("/closed", "NOT_ALLOWED - vhost /closed not found"),
        ("closed\0", "NOT_ALLOWED - vhost closed\0 not found"),
        (
            "a\n\u{1b}[31m",
            "NOT_ALLOWED - vhost a\n\u{1b}[31m not found",
        ),
    ] {
        let close = asked_for(address, vhost.as_bytes())
            .await
            .expect_close()
            .await;
        let expected = Close {
            code: ReplyCode::NotAllowed.number(),
            text: text.to_owned(),
            culprit: connection::Open::ID,
        };
        assert_eq!(close, expected, "{vhost:?}");
    }
    let close = asked_for(address, long.as_bytes())
        .await
        .expect_close()
        .await;
    assert!(
        close.text.starts_with("NOT_ALLOWED - vhost vvv"),
        "{close:?}"
    );
    assert!(close.text.len() <= 255);
    // A name that is no text is nobody's, whatever the words for it are.
    let mut client = asked_for(address, b"\xff\xfe").await;
    let closed = client
        .next(|method| method.id() == connection::OpenOk::ID)
        .await;
    assert_ne!(closed, Some(true));
}
