//! Which certificate a client is shown: by the name it asks for (SNI, RFC 6066), by the wildcard that
//! stands for it, or else the usual one.
//!
//! Invariant: a certificate is valid for every name that it is shown for, but for the usual one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{DnsName, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsError;
use super::certificate::Certificate;
use crate::config::ServerNameConfig;

/// The certificates of one state of the files. Names are kept in lower case.
#[derive(Debug)]
pub(super) struct ServerNames {
    usual: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl ServerNames {
    pub(super) fn read(
        usual: Arc<CertifiedKey>,
        others: &[ServerNameConfig],
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let mut by_name = HashMap::new();
        for other in others {
            let certificate = Certificate::read(&other.certfile, &other.keyfile, provider)?;
            for name in &other.names {
                let lower = dns_name(name)?;
                check_name(&certificate, &lower, &other.certfile)?;
                by_name.insert(lower, Arc::clone(&certificate));
            }
        }
        Ok(Self { usual, by_name })
    }

    fn of(&self, asked: Option<&str>) -> Arc<CertifiedKey> {
        let named = asked.and_then(|name| self.named(&name.to_ascii_lowercase()));
        Arc::clone(named.unwrap_or(&self.usual))
    }

    fn named(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        self.by_name.get(name).or_else(|| {
            let (_, rest) = name.split_once('.')?;
            self.by_name.get(&format!("{WILDCARD}{rest}"))
        })
    }
}

impl ResolvesServerCert for ServerNames {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.of(hello.server_name()))
    }
}

const WILDCARD: &str = "*.";

/// A certificate with a wildcard is valid for any one label in its place, so one stands for all.
fn check_name(certificate: &CertifiedKey, name: &str, certfile: &Path) -> Result<(), TlsError> {
    let asked = match name.strip_prefix(WILDCARD) {
        Some(rest) => format!("any.{rest}"),
        None => name.to_owned(),
    };
    let is_valid = certificate.end_entity_cert().and_then(|own| {
        let own = ParsedCertificate::try_from(own)?;
        let asked = ServerName::try_from(asked).map_err(|_| CertificateError::NotValidForName)?;
        verify_server_name(&own, &asked)
    });
    is_valid.map_err(|_| TlsError::NotForName {
        path: certfile.to_owned(),
        name: name.to_owned(),
    })
}

fn dns_name(name: &str) -> Result<String, TlsError> {
    let lower = name.to_ascii_lowercase();
    match DnsName::try_from(lower.strip_prefix(WILDCARD).unwrap_or(&lower)) {
        Ok(_) => Ok(lower),
        Err(_) => Err(TlsError::ServerName {
            name: name.to_owned(),
        }),
    }
}
