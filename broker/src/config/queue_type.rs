//! The key about queues that are declared without a type.

use serde::{Deserialize, Serialize};

use crate::core::queue::arguments::QueueType;

/// What a queue is whose declaration names no `x-queue-type` (QARG-35).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultQueueType {
    /// A classic queue.
    #[default]
    Classic,
    /// A quorum queue, if it is declared durable and neither exclusive nor auto-delete.
    Quorum,
}

impl DefaultQueueType {
    /// The type of this name, if queues may have it by default.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "classic" => Some(Self::Classic),
            "quorum" => Some(Self::Quorum),
            _ => None,
        }
    }

    /// The name in `x-queue-type`.
    pub fn as_str(self) -> &'static str {
        QueueType::from(self).as_str()
    }
}

impl From<DefaultQueueType> for QueueType {
    fn from(default: DefaultQueueType) -> Self {
        match default {
            DefaultQueueType::Classic => Self::Classic,
            DefaultQueueType::Quorum => Self::Quorum,
        }
    }
}
