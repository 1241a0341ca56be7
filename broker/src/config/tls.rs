//! The keys about TLS, under the names that RabbitMQ gives them in `ssl_options`.
//!
//! What it is not: it opens no file; [`crate::tls`] does.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The table `[tls]`. Without `listeners` nothing of it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Addresses to accept AMQP over TLS on, usually with port 5671.
    #[serde(deserialize_with = "super::listeners")]
    pub listeners: Vec<SocketAddr>,
    /// PEM file with the server's certificate and the chain up to, and without, its root.
    #[serde(with = "super::storage::directory_or_file")]
    pub certfile: Option<PathBuf>,
    /// PEM file with the private key of that certificate (PKCS#8, PKCS#1 or SEC1, not encrypted).
    #[serde(with = "super::storage::directory_or_file")]
    pub keyfile: Option<PathBuf>,
    /// PEM file with the roots that clients' certificates are held against.
    #[serde(with = "super::storage::directory_or_file")]
    pub cacertfile: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    pub verify: TlsVerify,
    /// Whether a client without a certificate is refused; needs `verify = "verify_peer"`.
    pub fail_if_no_peer_cert: bool,
    /// What EXTERNAL takes from a client's certificate for the name of a user.
    pub cert_login_from: CertLoginFrom,
    /// With `cert_login_from = "subject_alternative_name"`: names of this kind.
    pub cert_login_san_type: SanType,
    /// Which of several, from 0 on.
    pub cert_login_san_index: u32,
    /// The versions that are spoken.
    pub versions: Vec<TlsVersion>,
    /// Time in milliseconds a client has from being accepted to the end of the TLS handshake.
    pub handshake_timeout_ms: u64,
    /// TLS handshakes under way at once; whoever comes beyond that waits, unread, within its time. Each
    /// may hold some 100 KiB of a certificate chain that is not known to be good.
    pub handshakes_max: u32,
    /// Further certificates, by the names that clients ask for (SNI). Whoever asks for none of them is
    /// shown `certfile`.
    pub server_names: Vec<ServerNameConfig>,
}

/// One certificate for some server names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerNameConfig {
    /// DNS names; `*.example.org` stands for all with one label more than `example.org`.
    pub names: Vec<String>,
    /// As [`TlsConfig::certfile`].
    pub certfile: PathBuf,
    /// As [`TlsConfig::keyfile`].
    pub keyfile: PathBuf,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsVerify {
    /// They are not asked.
    #[default]
    VerifyNone,
    /// They are asked, and one that is shown has to be good.
    VerifyPeer,
}

/// Where a certificate has a user's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertLoginFrom {
    /// The whole subject, for instance `CN=client,O=Example` (RFC 4514).
    #[default]
    DistinguishedName,
    /// The subject's first common name.
    CommonName,
    /// One of the further names.
    SubjectAlternativeName,
}

/// A kind of further name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SanType {
    /// `client.example.org`
    #[default]
    Dns,
    /// `192.0.2.1`
    Ip,
    /// `client@example.org`
    Email,
    /// `spiffe://example.org/client`
    Uri,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// 1.2 (RFC 5246).
    #[serde(rename = "tlsv1.2")]
    V1_2,
    /// 1.3 (RFC 8446).
    #[serde(rename = "tlsv1.3")]
    V1_3,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            certfile: None,
            keyfile: None,
            cacertfile: None,
            verify: TlsVerify::default(),
            fail_if_no_peer_cert: false,
            cert_login_from: CertLoginFrom::default(),
            cert_login_san_type: SanType::default(),
            cert_login_san_index: 0,
            versions: vec![TlsVersion::V1_3, TlsVersion::V1_2],
            // The reference's ssl_handshake_timeout.
            handshake_timeout_ms: 5_000,
            handshakes_max: 1_024,
            server_names: Vec::new(),
        }
    }
}
