//! A certificate with its chain and its key, read from PEM files.
//!
//! What it is not: a judge of whom to trust. A server's own certificate that has expired is still shown,
//! with an error in the log: clients that do not look at it go on, the others say so themselves.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::TlsError;

/// What is shown to a client.
pub(super) struct Certificate;

impl Certificate {
    /// Reads a chain and its key, and sees that they belong together.
    pub(super) fn read(
        certfile: &Path,
        keyfile: &Path,
        provider: &CryptoProvider,
    ) -> Result<Arc<CertifiedKey>, TlsError> {
        let chain = read_certificates(certfile)?;
        warn_unless_valid_now(certfile, &chain)?;
        let key = read_key(keyfile)?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| TlsError::Key {
            path: keyfile.to_owned(),
            reason: error.to_string(),
        })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
                Ok(Arc::new(certified))
            }
            Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
                keyfile: keyfile.to_owned(),
                certfile: certfile.to_owned(),
            }),
            Err(error) => Err(broken(certfile, error.to_string())),
        }
    }
}

/// All certificates of a file, at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| not_pem(path, &error))?;
    match certificates.is_empty() {
        true => Err(missing(path, "certificate")),
        false => Ok(certificates),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => missing(path, "private key"),
        error => not_pem(path, &error),
    })
}

/// A file of certificates is a few kilobytes; whatever else the path leads to must not fill the memory.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let read = || {
        let file = std::fs::File::open(path)?;
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        Ok(text)
    };
    read().map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn warn_unless_valid_now(path: &Path, chain: &[CertificateDer<'_>]) -> Result<(), TlsError> {
    for der in chain {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| broken(path, error.to_string()))?;
        let (subject, validity) = (certificate.subject(), certificate.validity());
        let (from, until) = (validity.not_before, validity.not_after);
        match now_s() {
            now if now > until.timestamp() => {
                tracing::error!(file = %path.display(), %subject, %until, "the certificate has expired");
            }
            now if now < from.timestamp() => {
                tracing::error!(file = %path.display(), %subject, %from, "the certificate is not valid yet");
            }
            _ => {}
        }
    }
    Ok(())
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

fn broken(path: &Path, reason: String) -> TlsError {
    TlsError::Certificate {
        path: path.to_owned(),
        reason,
    }
}

fn not_pem(path: &Path, error: &pem::Error) -> TlsError {
    TlsError::Pem {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn missing(path: &Path, what: &'static str) -> TlsError {
    TlsError::Missing {
        path: path.to_owned(),
        what,
    }
}
