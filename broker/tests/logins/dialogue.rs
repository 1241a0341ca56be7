//! A client that says in its login what a test wants it to say.

use std::net::SocketAddr;

use bytes::BytesMut;
use leveret_protocol::client::{write_method, write_protocol_header};
use leveret_protocol::method::connection::{self, Method as Connection};
use leveret_protocol::{LongStr, Method, ReplyCode, ShortStr, TableBuf, Value};
use tokio::io::AsyncWriteExt as _;

use crate::support::Client;

/// How a login ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With tune.
    LoggedIn,
    /// With a close, and this text.
    Refused(String),
    /// Without a word.
    Silence,
    /// With another step.
    Challenged(Vec<u8>),
}

/// The text of a refusal, which is the same whatever the reason (CONN-11).
pub fn refused(mechanism: &str) -> Answer {
    Answer::Refused(format!(
        "ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. For details see the \
         broker logfile."
    ))
}

/// Sends header and start-ok of a client that wants to be told of a refusal.
pub async fn begin(address: SocketAddr, mechanism: &str, response: &[u8]) -> Client {
    let mut client = Client::connect(address).await;
    let capabilities =
        TableBuf::from_entries([("authentication_failure_close", Value::Bool(true))]);
    let properties = TableBuf::from_entries([("capabilities", Value::Table(capabilities.view()))]);
    let mut out = BytesMut::new();
    write_protocol_header(&mut out);
    let start_ok = connection::StartOk {
        client_properties: properties.view(),
        mechanism: ShortStr(mechanism.as_bytes()),
        response: LongStr(response),
        ..Default::default()
    };
    write_method(0, start_ok, &mut out);
    client.stream.write_all(&out).await.unwrap();
    client
}

pub async fn answer(client: &mut Client) -> Answer {
    let answer = client.next(|method| match method {
        Method::Connection(Connection::Tune(_)) => Answer::LoggedIn,
        Method::Connection(Connection::Secure(secure)) => {
            Answer::Challenged(secure.challenge.0.to_vec())
        }
        Method::Connection(Connection::Close(close)) => {
            assert_eq!(close.reply_code, ReplyCode::AccessRefused.number());
            Answer::Refused(close.reply_text.to_text().into_owned())
        }
        other => panic!("{other:?}"),
    });
    answer.await.unwrap_or(Answer::Silence)
}

pub async fn log_in(address: SocketAddr, mechanism: &str, response: &[u8]) -> Answer {
    let mut client = begin(address, mechanism, response).await;
    client.expect(connection::Start::ID).await;
    answer(&mut client).await
}

pub async fn plain(address: SocketAddr, user: &str, password: &str) -> Answer {
    let response = format!("\0{user}\0{password}");
    log_in(address, "PLAIN", response.as_bytes()).await
}

pub async fn send_secure_ok(client: &mut Client, response: &[u8]) {
    let mut out = BytesMut::new();
    let response = LongStr(response);
    write_method(0, connection::SecureOk { response }, &mut out);
    client.stream.write_all(&out).await.unwrap();
}
