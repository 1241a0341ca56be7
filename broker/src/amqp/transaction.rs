//! [`Transaction`]: what a transactional channel has published and settled since the last commit.
//!
//! Where a message goes is decided when it is published (TX-06); that it goes, when it is committed.
//! A settled delivery stays unsettled for its queue until the commit (TX-08).

use std::sync::Arc;

use leveret_storage::Epoch;

use crate::amqp::unacked::Waiting;
use crate::core::Message;
use crate::core::queue::Verdict;
use crate::core::queue_handle::QueueHandle;
use crate::core::reserve::Share;

/// A publish that waits for the commit.
#[derive(Debug)]
pub(crate) struct PendingPublish {
    pub(crate) message: Message,
    pub(crate) targets: Vec<Arc<QueueHandle>>,
    pub(crate) mandatory: bool,
}

/// A settlement that waits for the commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingSettle {
    pub(crate) tag: u64,
    pub(crate) waiting: Waiting,
    pub(crate) verdict: Verdict,
}

/// An open transaction; a channel in transaction mode always has one (TX-04).
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) publishes: Vec<PendingPublish>,
    pub(crate) settles: Vec<PendingSettle>,
    /// Settlements that the channel's limit counts until the commit (QOS-14).
    pub(crate) counted: usize,
    /// Bytes held by `publishes`.
    pub(crate) bytes: usize,
    /// A queue refused a publish of the commit under way (TX-14).
    pub(crate) refused: bool,
    /// The epoch that covers the publishes of the commit under way, if the store has any of them.
    pub(crate) stored_at: Option<Epoch>,
    /// What `publishes` hold of the broker's reserve.
    pub(crate) share: Option<Share>,
}
