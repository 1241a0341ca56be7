//! Why files cannot be used for TLS.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// What stands against serving TLS. Each names the file whose fault it is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// There is nothing to show to clients.
    #[error("tls.certfile and tls.keyfile are both needed")]
    Incomplete,
    /// Clients are to be verified, and nothing says against what.
    #[error("tls.verify = \"verify_peer\" needs tls.cacertfile")]
    NoRoots,
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is not PEM, or what stands in it is broken.
    #[error("{}: not a PEM file: {reason}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file has nothing of the kind.
    #[error("{}: no {what} in it", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// A certificate cannot be decoded, or must not be used.
    #[error("{}: the certificate cannot be used: {reason}", path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The key is of a kind that nobody here knows, or broken.
    #[error("{}: the private key cannot be used: {reason}", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The key belongs to another certificate.
    #[error("{}: this key does not belong to the certificate in {}", keyfile.display(), certfile.display())]
    Mismatch {
        /// The key's file.
        keyfile: PathBuf,
        /// The certificate's file.
        certfile: PathBuf,
    },
    /// A certificate is to be shown for a name that it does not have.
    #[error("{}: the certificate is not valid for {name:?}", path.display())]
    NotForName {
        /// Which.
        path: PathBuf,
        /// The name in `tls.server_names`.
        name: String,
    },
    /// A server name that no client could ask for.
    #[error("tls.server_names: {name:?} is not a DNS name")]
    ServerName {
        /// The name.
        name: String,
    },
    /// No allowed version works with what there is.
    #[error("tls.versions: {0}")]
    Versions(#[source] rustls::Error),
}
