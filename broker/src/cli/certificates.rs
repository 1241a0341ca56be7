//! The certificates that `leveret serve` shows: read at the start, and again when asked or changed.
//!
//! What it is not: it reads no certificate; [`leveret::Tls`] does. In a build without TLS there are none.

use leveret::{Broker, Config, Workers};

use super::Fatal;
use super::changes::{Changes, HangUps};

#[cfg(feature = "tls")]
use leveret::Tls;

/// Those of one configuration; none if nobody listens for TLS.
pub(super) struct Certificates {
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    changes: Changes,
    hang_ups: HangUps,
}

#[cfg(feature = "tls")]
impl Certificates {
    /// # Errors
    /// A file cannot be used, or the system refuses a signal.
    pub(super) fn load(config: &Config) -> Result<Self, Fatal> {
        let is_used = !config.tls.listeners.is_empty();
        let tls = is_used.then(|| Tls::load(&config.tls)).transpose()?;
        Ok(Self {
            changes: Changes::of(tls.iter().flat_map(Tls::files)),
            hang_ups: HangUps::install().map_err(Fatal::Runtime)?,
            tls,
        })
    }

    /// Listens on every address for TLS.
    ///
    /// # Errors
    /// The system refuses one.
    pub(super) async fn listen(
        &self,
        broker: &Broker,
        config: &Config,
        workers: &Workers,
    ) -> Result<(), Fatal> {
        let Some(tls) = &self.tls else {
            return Ok(());
        };
        for address in &config.tls.listeners {
            let address = broker.listen_tls(*address, tls, workers).await?;
            tracing::info!(%address, "listening for TLS");
        }
        Ok(())
    }

    /// Whoever is connected stays; what cannot be used is told and changes nothing.
    fn reload(&self, why: &'static str) {
        match self.tls.as_ref().map(Tls::reload) {
            None => tracing::info!(why, "there is nothing to read again"),
            Some(Ok(())) => tracing::info!(why, "certificates were read again"),
            Some(Err(error)) => tracing::error!(why, %error, "certificates stay as they were"),
        }
    }
}

#[cfg(not(feature = "tls"))]
impl Certificates {
    pub(super) fn load(_: &Config) -> Result<Self, Fatal> {
        Ok(Self {
            changes: Changes::of([]),
            hang_ups: HangUps::install().map_err(Fatal::Runtime)?,
        })
    }

    #[expect(clippy::unused_async, reason = "as with TLS")]
    pub(super) async fn listen(&self, _: &Broker, _: &Config, _: &Workers) -> Result<(), Fatal> {
        Ok(())
    }

    fn reload(&self, why: &'static str) {
        tracing::info!(why, "there is nothing to read again");
    }
}

impl Certificates {
    /// Reads the files again whenever that is asked for; never ends.
    pub(super) async fn keep_current(&mut self) {
        loop {
            let why = tokio::select! {
                () = self.hang_ups.next() => "SIGHUP",
                () = self.changes.next() => "a file has changed",
            };
            self.reload(why);
        }
    }
}
