//! JSON over HTTP, with bounds.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::failure::Failure;

/// How long one request may take; RabbitMQ answers in some milliseconds when it is idle.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer in bytes: the list of some thousands of connections.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How much of a refusal is shown.
const SHOWN_CHARS: usize = 200;

#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: Agent,
    /// Ends in `/api/`.
    base: String,
}

type Answer = Result<Response<Body>, ureq::Error>;

impl Client {
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
        if !url.starts_with("http://") {
            let wanted = "an address like http://guest:guest@127.0.0.1:15672/";
            return Err(Failure::new(format!(
                "management access: {url:?} is not {wanted}"
            )));
        }
        let config = Agent::config_builder()
            .timeout_global(Some(REQUEST_PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None);
        Ok(Self {
            agent: config.build().new_agent(),
            base: format!("{}/api/", url.trim_end_matches('/')),
        })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask("GET", path, |agent, url| agent.get(url).call())
            .await
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Result<(), Failure> {
        let body = body.to_string();
        let put = move |agent: &Agent, url: &str| {
            let request = agent.put(url).content_type("application/json");
            request.send(body)
        };
        self.ask("PUT", path, put).await.map(drop)
    }

    /// Deletes; the reason may be told to whoever is concerned.
    pub(super) async fn delete(&self, path: &str, reason: &str) -> Result<(), Failure> {
        let reason = reason.to_owned();
        let delete = move |agent: &Agent, url: &str| {
            let request = agent.delete(url).header("X-Reason", reason);
            request.call()
        };
        self.ask("DELETE", path, delete).await.map(drop)
    }

    /// On a thread that may wait.
    async fn ask(
        &self,
        verb: &str,
        path: &str,
        ask: impl FnOnce(&Agent, &str) -> Answer + Send + 'static,
    ) -> Result<Value, Failure> {
        let (agent, url) = (self.agent.clone(), format!("{}{path}", self.base));
        let asked = tokio::task::spawn_blocking(move || read(ask(&agent, &url)));
        let answer = asked.await.map_err(|error| error.to_string());
        let answer = answer.and_then(|answer| answer);
        // The address holds a password.
        answer.map_err(|problem| Failure::new(format!("{verb} /api/{path}: {problem}")))
    }
}

/// Nothing counts as null.
fn read(answer: Answer) -> Result<Value, String> {
    let mut answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    let text = body.read_to_string().map_err(|error| error.to_string())?;
    if !status.is_success() {
        let shown: String = text.chars().take(SHOWN_CHARS).collect();
        return Err(format!("expected success, but {status} came: {shown}"));
    }
    match text.is_empty() {
        true => Ok(Value::Null),
        false => {
            serde_json::from_str(&text).map_err(|error| format!("the answer is no JSON: {error}"))
        }
    }
}

/// A name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Asks somebody who gives this answer and hangs up; returns what it was asked, and the outcome.
    async fn asked(answer: &'static str) -> (String, Result<Value, Failure>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let client = Client::new(&format!("http://me:secret@{address}/")).unwrap();
        let path = format!("vhosts/{}", segment("/ ä"));
        let outcome = client.get(&path).await;
        (serving.await.unwrap(), outcome)
    }

    #[tokio::test]
    async fn the_user_is_in_the_header_and_names_are_segments() {
        let (request, outcome) =
            asked("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}").await;
        assert_eq!(outcome.unwrap()["a"], 1);
        assert!(
            request.starts_with("GET /api/vhosts/%2F%20%C3%A4 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request
                .to_ascii_lowercase()
                .contains("authorization: basic "),
            "{request}"
        );
        assert!(request.contains("bWU6c2VjcmV0"), "{request}");
    }

    #[tokio::test]
    async fn a_refusal_is_told_without_the_password() {
        let (_, outcome) = asked("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno").await;
        let text = outcome.unwrap_err().to_string();
        assert_eq!(
            text,
            "GET /api/vhosts/%2F%20%C3%A4: expected success, but 401 Unauthorized came: no"
        );
    }

    #[tokio::test]
    async fn what_is_no_json_or_no_http_is_refused() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n<",
            "AMQP\0\0\u{9}\u{1}",
        ] {
            assert!(asked(answer).await.1.is_err(), "{answer:?}");
        }
        assert!(Client::new("amqp://127.0.0.1/").is_err());
    }
}
