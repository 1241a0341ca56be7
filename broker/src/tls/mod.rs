//! TLS: from files to what a listener needs, and to others while it runs.
//!
//! ```text
//!   [tls] ──read──▶ certificates, keys, roots ──▶ rustls::ServerConfig ◀── one per handshake ── listener
//!                        ▲                              │ replaced as a whole
//!                        └────── reload(): SIGHUP, or a file has changed
//! ```
//!
//! What it is not: it accepts no connection, and it knows nothing of AMQP.
//!
//! Invariants: a handshake uses one state of the files from its start to its end. Files that cannot be
//! used change nothing: what was there before goes on. Connections that are open are never touched. Where
//! clients show certificates, each handshake looks at one: no session is resumed.

mod certificate;
mod certificate_name;
mod error;
mod handshake;
mod server_names;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::config::{TlsConfig, TlsVerify, TlsVersion};
use crate::limits::TLS_SESSIONS_MAX;
use certificate::Certificate;
pub use error::TlsError;
use handshake::Handshakes;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use server_names::ServerNames;

/// The server's side of TLS. Clones share the files' state.
#[derive(Clone, Debug)]
pub struct Tls {
    inside: Arc<Inside>,
}

#[derive(Debug)]
struct Inside {
    config: TlsConfig,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<ServerConfig>>,
    handshakes: Handshakes,
}

impl Tls {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = server_config(config, &provider)?;
        Ok(Self {
            inside: Arc::new(Inside {
                config: config.clone(),
                provider,
                current: RwLock::new(Arc::new(server)),
                handshakes: Handshakes::new(config.handshakes_max),
            }),
        })
    }

    /// Reads the files again: handshakes from now on see what they say.
    ///
    /// # Errors
    /// The first file that cannot be used, and why; then everything stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let server = server_config(&self.inside.config, &self.inside.provider)?;
        let current = &self.inside.current;
        *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(server);
        Ok(())
    }

    /// Every file that is read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let config = &self.inside.config;
        let own = [&config.certfile, &config.keyfile, &config.cacertfile];
        let named = config.server_names.iter();
        let named = named.flat_map(|name| [&name.certfile, &name.keyfile]);
        own.into_iter().flatten().chain(named).map(PathBuf::as_path)
    }

    /// Time a client has for its handshake, from being accepted.
    pub(crate) fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.inside.config.handshake_timeout_ms)
    }

    /// What the next handshake uses.
    fn current(&self) -> Arc<ServerConfig> {
        let current = &self.inside.current;
        // It is only ever replaced as a whole.
        Arc::clone(&current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn server_config(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
) -> Result<ServerConfig, TlsError> {
    let (Some(certfile), Some(keyfile)) = (&config.certfile, &config.keyfile) else {
        return Err(TlsError::Incomplete);
    };
    let usual = Certificate::read(certfile, keyfile, provider)?;
    let names = ServerNames::read(usual, &config.server_names, provider)?;
    let versions = config.versions.iter().map(|version| match version {
        TlsVersion::V1_2 => &TLS12,
        TlsVersion::V1_3 => &TLS13,
    });
    let versions: Vec<_> = versions.collect();
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions)
        .map_err(TlsError::Versions)?;
    let builder = builder.with_client_cert_verifier(client_verifier(config, provider)?);
    let mut server = builder.with_cert_resolver(Arc::new(names));
    match config.verify {
        TlsVerify::VerifyNone => {
            server.session_storage = ServerSessionMemoryCache::new(TLS_SESSIONS_MAX);
        }
        TlsVerify::VerifyPeer => {
            // Who resumes a session is not asked for a certificate, which may have expired since.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
        }
    }
    Ok(server)
}

/// Who is asked for a certificate, and what it is held against.
fn client_verifier(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if config.verify == TlsVerify::VerifyNone {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let path = config.cacertfile.as_ref().ok_or(TlsError::NoRoots)?;
    let refused = |error: &dyn std::fmt::Display| TlsError::Certificate {
        path: path.clone(),
        reason: error.to_string(),
    };
    let mut roots = RootCertStore::empty();
    for root in certificate::read_certificates(path)? {
        roots.add(root).map_err(|error| refused(&error))?;
    }
    let provider = Arc::clone(provider);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = match config.fail_if_no_peer_cert {
        true => verifier,
        false => verifier.allow_unauthenticated(),
    };
    verifier.build().map_err(|error| refused(&error))
}
