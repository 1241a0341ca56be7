//! How the tests that run are told that their run ends early, and why.
//!
//! What it is not: a deadline. A test has its own; this is the end of everything.

use tokio::sync::watch;

/// The end of a run that somebody may call for.
#[derive(Debug)]
pub(crate) struct Interruption(watch::Sender<Option<String>>);

/// What a test waits for besides its own end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupted(watch::Receiver<Option<String>>);

impl Interruption {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Ends the run, for this reason. Only the first call counts.
    pub(crate) fn call(&self, reason: String) {
        self.0.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert(reason);
            is_first
        });
    }

    /// Why the run ends early, if it does.
    pub(crate) fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    pub(crate) fn listen(&self) -> Interrupted {
        Interrupted(self.0.subscribe())
    }
}

impl Interrupted {
    /// For a test that is in no run.
    pub(crate) fn never() -> Self {
        Interruption::new().listen()
    }

    /// Waits until the run ends early, which may be for ever, and says why.
    pub(crate) async fn reason(&mut self) -> String {
        let reason = self
            .0
            .wait_for(Option::is_some)
            .await
            .map(|reason| reason.clone());
        match reason {
            Ok(Some(reason)) => reason,
            // Nobody is left who could call for it.
            _ => std::future::pending().await,
        }
    }
}
