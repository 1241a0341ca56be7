//! From a TCP connection to an open vhost, in one go or step by step.

use leveret_protocol::method::connection::{self, Method as Connection};
use leveret_protocol::{LongStr, Method, PROTOCOL_HEADER, ShortStr, TableBuf, Value};

use super::socket::{OwnedMethod, RawConnection};
use crate::failure::Failure;

/// The frame size that bodies are split by where no limit was agreed.
const FRAME_MAX_WHEN_UNLIMITED: u32 = 131_072;

/// What a client says in the handshake. Start from [`super::super::Trial::handshake`] and change
/// what the test is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
    /// The vhost to open.
    pub vhost: String,
    /// `tune-ok.channel-max`; `None` takes what the server offers.
    pub channel_max: Option<u16>,
    /// `tune-ok.frame-max` in bytes; `None` takes what the server offers.
    pub frame_max: Option<u32>,
    /// `tune-ok.heartbeat` in seconds; none unless the test is about it.
    pub heartbeat_s: u16,
    /// The capabilities that the client declares; all that are known unless changed.
    pub capabilities: Vec<(&'static str, bool)>,
    /// `connection_name`, by which operators know the connection.
    pub connection_name: Option<String>,
}

/// What the server says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerStart {
    /// The protocol's major version.
    pub version_major: u8,
    /// The protocol's minor version.
    pub version_minor: u8,
    /// Who the server is.
    pub properties: TableBuf,
    /// The login mechanisms, separated by spaces.
    pub mechanisms: String,
    /// The locales, separated by spaces.
    pub locales: String,
}

impl Handshake {
    /// The default handshake of this user, into the vhost `/`.
    #[must_use]
    pub fn login(user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            vhost: "/".to_owned(),
            channel_max: None,
            frame_max: None,
            heartbeat_s: 0,
            capabilities: vec![
                ("publisher_confirms", true),
                ("exchange_exchange_bindings", true),
                ("basic.nack", true),
                ("consumer_cancel_notify", true),
                ("connection.blocked", true),
                ("authentication_failure_close", true),
            ],
            connection_name: None,
        }
    }

    /// The same with one capability set or withdrawn.
    #[must_use]
    pub fn capability(mut self, name: &'static str, value: bool) -> Self {
        self.capabilities.retain(|(known, _)| *known != name);
        self.capabilities.push((name, value));
        self
    }

    /// `start-ok.client-properties`.
    #[must_use]
    pub fn client_properties(&self) -> TableBuf {
        let capabilities = self
            .capabilities
            .iter()
            .map(|(name, value)| (*name, Value::Bool(*value)));
        let capabilities = TableBuf::from_entries(capabilities);
        let properties = TableBuf::new()
            .with("product", Value::LongStr(b"leveret-conformance"))
            .with("capabilities", Value::Table(capabilities.view()));
        match &self.connection_name {
            Some(name) => properties.with("connection_name", Value::LongStr(name.as_bytes())),
            None => properties,
        }
    }

    /// The PLAIN response: NUL user NUL password.
    #[must_use]
    pub fn plain_response(&self) -> Vec<u8> {
        format!("\0{}\0{}", self.user, self.password).into_bytes()
    }

    /// What is answered to the server's tune.
    #[must_use]
    pub fn tune_ok(&self, offered: connection::Tune) -> connection::TuneOk {
        connection::TuneOk {
            channel_max: self.channel_max.unwrap_or(offered.channel_max),
            frame_max: self.frame_max.unwrap_or(offered.frame_max),
            heartbeat: self.heartbeat_s,
        }
    }
}

impl ServerStart {
    /// What stands in a connection.start.
    pub(crate) fn read(method: &OwnedMethod) -> Result<Self, Failure> {
        method.read(|method| match method {
            Method::Connection(Connection::Start(start)) => Some(Self {
                version_major: start.version_major,
                version_minor: start.version_minor,
                properties: start.server_properties.to_owned(),
                mechanisms: String::from_utf8_lossy(start.mechanisms.0).into_owned(),
                locales: String::from_utf8_lossy(start.locales.0).into_owned(),
            }),
            _ => None,
        })
    }

    /// A text among the properties; empty when it is absent.
    #[must_use]
    pub fn text(&self, key: &str) -> String {
        let value = self.properties.view().get(key);
        let bytes = value.and_then(|value| value.as_long_str());
        String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
    }
}

impl RawConnection {
    /// Connects and does the whole handshake.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn open(address: &str, handshake: &Handshake) -> Result<Self, Failure> {
        let mut raw = Self::connect(address).await?;
        raw.begin().await?;
        raw.finish_handshake(handshake).await?;
        Ok(raw)
    }

    /// Sends a protocol header.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_header(&mut self, header: [u8; 8]) -> Result<(), Failure> {
        self.send_bytes(&header).await
    }

    /// Sends the protocol header and reads the server's start.
    ///
    /// # Errors
    /// Something else comes.
    pub async fn begin(&mut self) -> Result<ServerStart, Failure> {
        self.send_header(PROTOCOL_HEADER).await?;
        self.expect_start().await
    }

    /// Reads the server's start.
    ///
    /// # Errors
    /// Something else comes.
    pub async fn expect_start(&mut self) -> Result<ServerStart, Failure> {
        let method = self.expect(0, connection::Start::ID).await?;
        ServerStart::read(&method)
    }

    /// Everything after the server's start.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn finish_handshake(&mut self, handshake: &Handshake) -> Result<(), Failure> {
        let offered = self.log_in(handshake).await?;
        self.tune(handshake, offered).await?;
        self.open_vhost(&handshake.vhost).await
    }

    /// Sends start-ok with a PLAIN login.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_start_ok(&mut self, handshake: &Handshake) -> Result<(), Failure> {
        let properties = handshake.client_properties();
        let response = handshake.plain_response();
        let start_ok = connection::StartOk {
            client_properties: properties.view(),
            mechanism: ShortStr(b"PLAIN"),
            response: LongStr(&response),
            locale: ShortStr(b"en_US"),
        };
        self.send_method(0, start_ok).await
    }

    /// Logs in and reads the server's tune.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn log_in(&mut self, handshake: &Handshake) -> Result<connection::Tune, Failure> {
        self.send_start_ok(handshake).await?;
        self.expect_tune().await
    }

    /// Reads the server's tune.
    ///
    /// # Errors
    /// Something else comes.
    pub async fn expect_tune(&mut self) -> Result<connection::Tune, Failure> {
        let method = self.expect(0, connection::Tune::ID).await?;
        method.read(|method| match method {
            Method::Connection(Connection::Tune(tune)) => Some(tune),
            _ => None,
        })
    }

    /// Answers the tune; there is no reply to it.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn tune(
        &mut self,
        handshake: &Handshake,
        offered: connection::Tune,
    ) -> Result<(), Failure> {
        let tune_ok = handshake.tune_ok(offered);
        self.frame_max = match tune_ok.frame_max {
            0 => FRAME_MAX_WHEN_UNLIMITED,
            agreed => agreed,
        };
        self.send_method(0, tune_ok).await
    }

    /// Opens the vhost and waits for open-ok.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn open_vhost(&mut self, vhost: &str) -> Result<(), Failure> {
        self.send_open(vhost).await?;
        self.expect(0, connection::OpenOk::ID).await.map(drop)
    }

    /// Sends connection.open and reads nothing.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_open(&mut self, vhost: &str) -> Result<(), Failure> {
        let open = connection::Open {
            virtual_host: vhost.into(),
            ..Default::default()
        };
        self.send_method(0, open).await
    }

    /// Ends the connection in order: close, close-ok. Frames that are still under way are dropped.
    ///
    /// # Errors
    /// The broker does not answer the close.
    pub async fn close(mut self) -> Result<(), Failure> {
        let close = connection::Close {
            reply_code: 200,
            ..Default::default()
        };
        self.send_method(0, close).await?;
        self.await_method(0, connection::CloseOk::ID)
            .await
            .map(drop)
    }
}
