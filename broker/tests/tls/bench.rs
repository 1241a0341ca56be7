//! A broker with a TLS listener, and clients that dial it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use leveret::config::{TlsConfig, TlsVerify};
use leveret::{Broker, Config, Tls, Workers};
use leveret_protocol::Table;
use leveret_protocol::method::connection;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authority::{Authority, Files, Signed};
use crate::support::{Client, PATIENCE};

pub const NAME: &str = "broker.test";

/// A broker with a TLS listener, and the authority that everybody trusts.
pub struct Bench {
    pub authority: Authority,
    pub files: Files,
    pub tls: Tls,
    pub broker: Broker,
    pub address: SocketAddr,
}

impl Bench {
    pub async fn new(test: &str, change: impl FnOnce(&mut TlsConfig, &Authority, &Files)) -> Self {
        let (authority, files) = (Authority::new("authority"), Files::new(test));
        let mut config = config(&authority.sign(NAME), &files);
        config.cacertfile = Some(files.write("ca.pem", &authority.certificate()));
        change(&mut config, &authority, &files);
        Self::serving(Config::default(), config, authority, files).await
    }

    /// As [`Bench::new`], with a broker that needs clients' certificates.
    pub async fn needing_certificates(test: &str) -> Self {
        Self::new(test, |config, _, _| {
            config.verify = TlsVerify::VerifyPeer;
            config.fail_if_no_peer_cert = true;
        })
        .await
    }

    /// As [`Bench::new`], with a broker of this configuration.
    pub async fn of(test: &str, broker: Config, change: impl FnOnce(&mut TlsConfig)) -> Self {
        let (authority, files) = (Authority::new("authority"), Files::new(test));
        let mut config = config(&authority.sign(NAME), &files);
        config.cacertfile = Some(files.write("ca.pem", &authority.certificate()));
        change(&mut config);
        Self::serving(broker, config, authority, files).await
    }

    async fn serving(
        broker: Config,
        config: TlsConfig,
        authority: Authority,
        files: Files,
    ) -> Self {
        let tls = Tls::load(&config).unwrap();
        let broker = Broker::start(broker).unwrap();
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

    pub fn trusting(&self) -> Dialler {
        Dialler::trusting(&self.authority)
    }
}

pub fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

pub fn config(shown: &Signed, files: &Files) -> TlsConfig {
    TlsConfig {
        certfile: Some(files.write("server.pem", &shown.certificate)),
        keyfile: Some(files.write("server.key", &shown.key)),
        ..TlsConfig::default()
    }
}

/// A client's side of TLS.
pub struct Dialler {
    pub roots: RootCertStore,
    pub versions: Vec<&'static SupportedProtocolVersion>,
    pub shows: Option<Signed>,
}

impl Dialler {
    pub fn trusting(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(der(&authority.certificate())).unwrap();
        Self {
            roots,
            versions: rustls::ALL_VERSIONS.to_vec(),
            shows: None,
        }
    }

    pub fn showing(self, shown: Signed) -> Self {
        Self {
            shows: Some(shown),
            ..self
        }
    }

    pub fn speaking(self, version: &'static SupportedProtocolVersion) -> Self {
        Self {
            versions: vec![version],
            ..self
        }
    }

    pub fn config(self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(self.roots);
        Arc::new(match self.shows {
            None => config.with_no_client_auth(),
            Some(shown) => {
                let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
                let chain = CertificateDer::pem_slice_iter(shown.certificate.as_bytes());
                let chain = chain.map(Result::unwrap).collect();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }

    pub async fn dial(self, address: SocketAddr, name: &str) -> io::Result<Stream> {
        dial(&self.config(), address, name).await
    }

    /// Dials and opens an AMQP connection.
    pub async fn open(self, address: SocketAddr, name: &str) -> Client<Stream> {
        open(self.dial(address, name).await.unwrap()).await
    }

    /// As [`Dialler::refused`], where a login is to follow.
    pub async fn refused_at_login(self, address: SocketAddr, name: &str) -> bool {
        let Ok(mut stream) = self.dial(address, name).await else {
            return true;
        };
        let header = b"AMQP\0\0\x09\x01";
        let mut answer = [0];
        stream.write_all(header).await.is_err() || stream.read(&mut answer).await.is_err()
    }

    /// True if the server ends the connection instead of answering. With TLS 1.3 a client has finished
    /// its handshake before the server has seen its certificate.
    pub async fn refused(self, address: SocketAddr, name: &str) -> bool {
        let Ok(mut stream) = self.dial(address, name).await else {
            return true;
        };
        let mut answer = [0];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await;
        read.unwrap().is_err()
    }
}

pub fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

pub type Stream = TlsStream<TcpStream>;

pub async fn dial(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> io::Result<Stream> {
    shake_hands(config, TcpStream::connect(address).await?, name).await
}

/// Shakes hands on any stream of bytes.
pub async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(
    config: &Arc<ClientConfig>,
    stream: S,
    name: &str,
) -> io::Result<TlsStream<S>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect(name, stream).await
}

/// Opens an AMQP connection.
pub async fn open<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Client<S> {
    let mut client = Client::open_over(stream, Table::default()).await;
    client.expect(connection::OpenOk::ID).await;
    client
}
