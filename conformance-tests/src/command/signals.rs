//! What ends a run early: an interrupt from the keyboard, a request to end, the time limit.

use std::time::Duration;

use tokio::signal;

/// The exit code of who was interrupted twice, as shells give it.
const INTERRUPTED: i32 = 130;

/// Waits for a reason to end the run.
pub(super) async fn reason_to_stop(time_limit: Option<Duration>) -> String {
    tokio::select! {
        () = interrupt() => {
            tokio::spawn(leave_at_once());
            "interrupted".to_owned()
        }
        () = request_to_end() => "asked to end".to_owned(),
        limit = expiry(time_limit) => format!("the time limit of {limit:?} is over"),
    }
}

/// A second interrupt is from somebody who does not want to wait for the clean-up.
async fn leave_at_once() {
    interrupt().await;
    std::process::exit(INTERRUPTED);
}

async fn interrupt() {
    if signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

#[cfg(unix)]
async fn request_to_end() {
    use signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut requests) => {
            requests.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn request_to_end() {
    std::future::pending().await
}

async fn expiry(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            tokio::time::sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}
