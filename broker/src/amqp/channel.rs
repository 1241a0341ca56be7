//! [`Channel`]: what one open channel holds on the broker's side: consumers, unsettled deliveries,
//! prefetch limits, and the mode it publishes in.
//!
//! A *source* is a place from which the channel takes messages: a consumer, or the slot from which it
//! gets on one queue. A cancelled consumer stays a source until its deliveries are settled
//! (CANCEL-04).
//!
//! What it is not: the protocol's view of a channel, which numbers are open or closing; that is
//! [`leveret_protocol::server`].

use std::collections::HashMap;
use std::sync::Arc;

use crate::amqp::confirms::Confirms;
use crate::amqp::delivery_timeout::Ages;
use crate::amqp::replies::ReplyConsumer;
use crate::amqp::transaction::Transaction;
use crate::amqp::unacked::{SourceIndex, Unacked, Waiting};
use crate::core::Moment;
use crate::core::queue::{DeliveryId, QueueId, SlotId, Verdict};
use crate::core::queue_handle::QueueHandle;
use crate::core::reserve::{Exhausted, Reserve, Share};
use crate::limits::CHANNEL_BYTES;

/// A place from which a channel takes messages.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) queue: Arc<QueueHandle>,
    pub(crate) slot: SlotId,
    pub(crate) no_ack: bool,
    pub(crate) kind: SourceKind,
    /// Deliveries that wait to be settled, here or in an open transaction.
    pub(crate) outstanding: usize,
    /// Settled by the client and not yet told to the queue.
    pub(crate) staged: Vec<DeliveryId>,
    pub(crate) staged_verdict: Verdict,
    /// True once the channel had another consumer of the same queue.
    pub(crate) has_siblings: bool,
    /// What it holds of the broker's reserve, for as long as it is there.
    #[expect(dead_code, reason = "it returns when it is dropped")]
    pub(crate) share: Share,
}

/// What a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SourceKind {
    /// A live consumer with its tag.
    Consumer(Box<[u8]>),
    /// A consumer that was cancelled while deliveries were out.
    Cancelled,
    /// The slot that `basic.get` uses.
    Getter,
}

/// How the channel publishes.
#[derive(Debug, Default)]
pub(crate) enum PublishMode {
    /// No answer.
    #[default]
    Plain,
    /// Every publish is confirmed.
    Confirm(Confirms),
    /// Publishes and settlements wait for a commit.
    Transaction(Transaction),
}

/// One open channel.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    sources: Vec<Option<Source>>,
    consumers: HashMap<Box<[u8]>, SourceIndex>,
    getters: Vec<(QueueId, SourceIndex)>,
    pub(crate) unacked: Unacked,
    /// The prefetch of consumers started from now on (QOS-02).
    pub(crate) prefetch: u16,
    /// The limit over all consumers, if there is one (QOS-03).
    pub(crate) channel_limit: Option<u16>,
    pub(crate) mode: PublishMode,
    /// Its consumer of direct replies, which few channels have.
    pub(crate) reply_consumer: Option<Box<ReplyConsumer>>,
    /// The name that an empty queue name stands for (QUEUE-16).
    pub(crate) last_queue: Option<Arc<str>>,
    pub(crate) ages: Ages,
    /// What it holds of the broker's reserve, itself and its unsettled deliveries. Channels of tests have none.
    pub(crate) share: Option<Share>,
}

/// What became of a settlement that was to be staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Staged {
    /// It is the first one of its source.
    First,
    /// It is with the others of its source.
    More,
    /// The others have another verdict and must go first; it is not staged.
    AfterOthers,
}

impl Channel {
    /// An open channel without anything in it.
    pub(crate) fn within(reserve: &Arc<Reserve>) -> Result<Self, Exhausted> {
        Ok(Self {
            share: Some(reserve.take(CHANNEL_BYTES)?),
            ..Self::default()
        })
    }

    /// Counts what the ring of unsettled deliveries has taken; says whether that is more than before.
    pub(crate) fn account_unacked(&self) -> bool {
        let Some(share) = &self.share else {
            return false;
        };
        let held = CHANNEL_BYTES + self.unacked.held_bytes();
        let more = held.saturating_sub(share.bytes());
        share.cover(more);
        more > 0
    }

    /// Puts a settlement with the others of its source. One whose source has gone has nobody to be
    /// told of it.
    #[inline]
    pub(crate) fn stage_settle(&mut self, waiting: Waiting, verdict: Verdict) -> Staged {
        let Some(source) = self.source(waiting.source) else {
            return Staged::More;
        };
        let is_first = source.staged.is_empty();
        if !is_first && source.staged_verdict != verdict {
            return Staged::AfterOthers;
        }
        source.staged_verdict = verdict;
        source.staged.push(waiting.id);
        if is_first {
            Staged::First
        } else {
            Staged::More
        }
    }

    pub(crate) fn source(&mut self, index: SourceIndex) -> Option<&mut Source> {
        self.sources.get_mut(index.0 as usize)?.as_mut()
    }

    /// The queue that a source takes messages from.
    pub(crate) fn queue_of(&self, index: SourceIndex) -> Option<&Arc<QueueHandle>> {
        let source = self.sources.get(index.0 as usize)?.as_ref()?;
        Some(&source.queue)
    }

    /// The queue of a consumer that has siblings: other consumers of this channel on that queue.
    pub(crate) fn queue_of_siblings(&self, index: SourceIndex) -> Option<QueueId> {
        let source = self.sources.get(index.0 as usize)?.as_ref()?;
        source.has_siblings.then(|| source.queue.id())
    }

    /// The free place that the next source takes.
    pub(crate) fn next_source(&self) -> SourceIndex {
        let free = self.sources.iter().position(Option::is_none);
        SourceIndex(free.unwrap_or(self.sources.len()) as u32)
    }

    /// Puts a source into the place that [`Channel::next_source`] named.
    pub(crate) fn add_source(&mut self, index: SourceIndex, mut source: Source) {
        match &source.kind {
            SourceKind::Consumer(tag) => {
                self.consumers.insert(tag.clone(), index);
                source.has_siblings = self.mark_siblings(source.queue.id());
            }
            SourceKind::Getter => self.getters.push((source.queue.id(), index)),
            SourceKind::Cancelled => {}
        }
        let place = index.0 as usize;
        if place == self.sources.len() {
            self.sources.push(Some(source));
        } else if let Some(free) = self.sources.get_mut(place) {
            *free = Some(source);
        }
    }

    /// Tells the consumers of a queue that one more comes; says whether there are any.
    fn mark_siblings(&mut self, queue: QueueId) -> bool {
        let mut found = false;
        let sources = self.sources.iter_mut().flatten();
        for source in sources.filter(|source| source.queue.id() == queue) {
            if matches!(source.kind, SourceKind::Consumer(_)) {
                source.has_siblings = true;
                found = true;
            }
        }
        found
    }

    pub(crate) fn consumer(&self, tag: &[u8]) -> Option<SourceIndex> {
        self.consumers.get(tag).copied()
    }

    pub(crate) fn consumer_count(&self) -> usize {
        self.consumers.len()
    }

    /// Forgets the getters of deleted queues that have nothing outstanding.
    pub(crate) fn forget_gone_getters(&mut self) {
        let sources = &mut self.sources;
        self.getters.retain(|(_, index)| {
            let Some(place) = sources.get_mut(index.0 as usize) else {
                return false;
            };
            let is_done = |source: &Source| source.queue.is_gone() && source.outstanding == 0;
            let done = place.as_ref().is_none_or(is_done);
            if done {
                *place = None;
            }
            !done
        });
    }

    pub(crate) fn getter(&self, queue: QueueId) -> Option<SourceIndex> {
        self.getters
            .iter()
            .find(|(id, _)| *id == queue)
            .map(|(_, index)| *index)
    }

    /// Ends a consumer: its tag is free again, and the source stays as long as deliveries are out.
    /// Returns the tag if it was a consumer.
    pub(crate) fn end_consumer(&mut self, index: SourceIndex) -> Option<Box<[u8]>> {
        let source = self.source(index)?;
        let SourceKind::Consumer(tag) = std::mem::replace(&mut source.kind, SourceKind::Cancelled)
        else {
            return None;
        };
        self.consumers.remove(&tag);
        self.drop_if_done(index);
        Some(tag)
    }

    /// Forgets a cancelled source with nothing outstanding.
    pub(crate) fn drop_if_done(&mut self, index: SourceIndex) {
        let done = self
            .source(index)
            .is_some_and(|source| source.kind == SourceKind::Cancelled && source.outstanding == 0);
        if done && let Some(place) = self.sources.get_mut(index.0 as usize) {
            *place = None;
        }
    }

    /// Every source, in the order in which they took their places.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (SourceIndex, &Source)> {
        let places = self.sources.iter().enumerate();
        places.filter_map(|(n, source)| Some((SourceIndex(n as u32), source.as_ref()?)))
    }

    /// Takes all sources out, when the channel ends.
    pub(crate) fn take_sources(&mut self) -> Vec<Source> {
        self.consumers.clear();
        self.getters.clear();
        std::mem::take(&mut self.sources)
            .into_iter()
            .flatten()
            .collect()
    }

    /// What the channel-wide limit counts: unsettled deliveries, and those whose settlement waits for a
    /// commit (QOS-14).
    fn counted(&self) -> usize {
        let uncommitted = match &self.mode {
            PublishMode::Transaction(transaction) => transaction.counted,
            _ => 0,
        };
        self.unacked.counted() + uncommitted
    }

    /// How many more deliveries the channel-wide limit allows; no limit is `u32::MAX`.
    pub(crate) fn credit(&self) -> u32 {
        match self.channel_limit {
            Some(limit) => u32::from(limit).saturating_sub(self.counted() as u32),
            None => u32::MAX,
        }
    }

    /// The deliveries that the channel gets next are made now.
    pub(crate) fn note_age(&mut self, now: Moment) {
        let tag = self.unacked.next_tag();
        self.ages.note(tag, now, self.unacked.oldest_tag());
    }
}
