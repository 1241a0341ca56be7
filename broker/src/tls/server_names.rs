//! Which certificate a client is shown: by the name it asks for (SNI, RFC 6066), or else the usual one.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::DnsName;
use rustls::server::{ClientHello, ResolvesServerCert};
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
                by_name.insert(dns_name(name)?, Arc::clone(&certificate));
            }
        }
        Ok(Self { usual, by_name })
    }

    fn of(&self, asked: Option<&str>) -> Arc<CertifiedKey> {
        let named = asked.and_then(|name| self.by_name.get(&name.to_ascii_lowercase()));
        Arc::clone(named.unwrap_or(&self.usual))
    }
}

impl ResolvesServerCert for ServerNames {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.of(hello.server_name()))
    }
}

fn dns_name(name: &str) -> Result<String, TlsError> {
    let lower = name.to_ascii_lowercase();
    match DnsName::try_from(lower.as_str()) {
        Ok(_) => Ok(lower),
        Err(_) => Err(TlsError::ServerName {
            name: name.to_owned(),
        }),
    }
}
