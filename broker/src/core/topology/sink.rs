//! [`CatalogSink`]: where a vhost writes down what outlives a restart.
//!
//! What it is not: a store. The core says what has changed, in which order; what becomes of it is for
//! whoever implements this.

use leveret_storage::Epoch;

use super::Applied;

/// Takes down changes of a topology.
pub trait CatalogSink: Send + Sync + std::fmt::Debug {
    /// Takes down what of this is durable, all of it or, after a crash, nothing. Called under the
    /// topology's write lock, so that the order of calls is the order of changes; it must not wait
    /// for anything. Returns when that is safe, `None` if nothing of it was durable.
    fn record(&self, vhost: &str, applied: &Applied) -> Option<Epoch>;

    /// When everything taken down so far is safe; `None` if nothing ever was.
    fn recorded(&self) -> Option<Epoch>;
}
