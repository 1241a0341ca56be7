//! RabbitMQ's HTTP API, as far as tests need it: what a broker shows its operator, and what the operator
//! has done by it.
//!
//! ```text
//!   trial ── orders ──▶ operator ─┐
//!     └───── questions ───────────┴─▶ client ──▶ http://user:password@host:15672/api/…
//! ```
//!
//! What it is not: a test of that API, or a client for anybody else.
//!
//! Invariants: every request has its bound in time, every answer in size, and the threads that serve the
//! tests never wait for one.

mod client;
mod operator;

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::failure::Failure;
use client::Client;

/// Where the address stands.
pub(crate) const MANAGEMENT_VARIABLE: &str = "LEVERET_MANAGEMENT_URL";

/// How long a new connection may take to be listed; RabbitMQ collects them as they come.
const LISTING_PATIENCE: Duration = Duration::from_secs(30);
/// How long a list in which it is missing is left alone.
const LISTING_PAUSE: Duration = Duration::from_millis(100);

/// A broker's HTTP API.
#[derive(Clone, Debug)]
pub struct Management {
    client: Client,
}

/// A connection as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedConnection {
    /// What the broker calls it: the addresses of both ends.
    pub name: String,
    /// What its client calls it; empty if it does not.
    pub user_provided_name: String,
    /// The user who has logged in.
    pub user: String,
    /// The vhost.
    pub vhost: String,
}

impl Management {
    /// The API at an address like `http://guest:guest@127.0.0.1:15672/`, if it answers there.
    ///
    /// # Errors
    /// Nothing that speaks HTTP answers in time, or it does not let the user in.
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        let management = Self {
            client: Client::new(url)?,
        };
        let overview = management.client.get("overview").await;
        overview.map_err(|failure| failure.at("management access"))?;
        Ok(management)
    }

    /// The one whose address is in `LEVERET_MANAGEMENT_URL`.
    ///
    /// # Errors
    /// See [`Management::connect`].
    pub async fn from_environment() -> Result<Option<Self>, Failure> {
        let url = std::env::var(MANAGEMENT_VARIABLE).ok();
        match url.filter(|text| !text.is_empty()) {
            Some(url) => Self::connect(&url).await.map(Some),
            None => Ok(None),
        }
    }

    /// All connections that are listed by now.
    ///
    /// # Errors
    /// The API refuses, or answers something else.
    pub async fn connections(&self) -> Result<Vec<ListedConnection>, Failure> {
        let listed = self.client.get("connections").await?;
        let Value::Array(listed) = listed else {
            return Err(Failure::expected("a list of connections", listed));
        };
        Ok(listed.iter().map(ListedConnection::read).collect())
    }

    /// The connection that its client calls so, once it is listed.
    ///
    /// # Errors
    /// It is not listed in 30 s.
    pub async fn connection(&self, user_provided_name: &str) -> Result<ListedConnection, Failure> {
        let until = Instant::now() + LISTING_PATIENCE;
        loop {
            let mut listed = self.connections().await?.into_iter();
            if let Some(found) = listed.find(|one| one.user_provided_name == user_provided_name) {
                return Ok(found);
            }
            if Instant::now() > until {
                let wanted = format!("a connection called {user_provided_name:?} in the list");
                return Err(Failure::expected(wanted, "none"));
            }
            tokio::time::sleep(LISTING_PAUSE).await;
        }
    }
}

impl ListedConnection {
    fn read(listed: &Value) -> Self {
        let text = |key: &str| listed[key].as_str().unwrap_or_default().to_owned();
        let own_name = text("user_provided_name");
        Self {
            name: text("name"),
            user_provided_name: match own_name.is_empty() {
                true => listed["client_properties"]["connection_name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                false => own_name,
            },
            user: text("user"),
            vhost: text("vhost"),
        }
    }
}
