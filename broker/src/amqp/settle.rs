//! Settling deliveries: ack, nack, reject and recover.
//!
//! A tag is checked and taken at once (ACK-04); the queues learn of it at the end of the turn, all
//! tags of one source with one lock. In a transaction they learn of it at the commit (TX-08).

use std::sync::Arc;

use leveret_protocol::method::basic;
use leveret_protocol::{Fault, ReplyCode};
use rustc_hash::FxHashMap;

use crate::amqp::channel::{Channel, PublishMode, Staged};
use crate::amqp::session::Session;
use crate::amqp::transaction::PendingSettle;
use crate::amqp::unacked::{SourceIndex, Waiting};
use crate::core::queue::Verdict;
use crate::core::queue_handle::QueueHandle;

impl Session {
    pub(super) fn on_ack(&mut self, channel: u16, ack: basic::Ack) -> Result<(), Fault> {
        self.settle(channel, ack.delivery_tag, ack.multiple, Verdict::Ack)
    }

    pub(super) fn on_nack(&mut self, channel: u16, nack: basic::Nack) -> Result<(), Fault> {
        self.settle(
            channel,
            nack.delivery_tag,
            nack.multiple,
            returned(nack.requeue),
        )
    }

    pub(super) fn on_reject(&mut self, channel: u16, reject: basic::Reject) -> Result<(), Fault> {
        self.settle(
            channel,
            reject.delivery_tag,
            false,
            returned(reject.requeue),
        )
    }

    fn settle(
        &mut self,
        number: u16,
        tag: u64,
        multiple: bool,
        verdict: Verdict,
    ) -> Result<(), Fault> {
        let channel = self.channel(number)?;
        if !multiple {
            let waiting = channel.unacked.take(tag).ok_or_else(|| unknown_tag(tag))?;
            return self.settle_one(number, tag, waiting, verdict);
        }
        let unacked = &mut channel.unacked;
        let mut taken = Vec::new();
        if tag == 0 {
            unacked.take_all(&mut taken);
        } else if !unacked.take_up_to(tag, &mut taken) {
            return Err(unknown_tag(tag));
        }
        for (tag, waiting) in taken {
            self.settle_one(number, tag, waiting, verdict)?;
        }
        Ok(())
    }

    #[inline]
    fn settle_one(
        &mut self,
        number: u16,
        tag: u64,
        waiting: Waiting,
        verdict: Verdict,
    ) -> Result<(), Fault> {
        let channel = self.channel(number)?;
        if let PublishMode::Transaction(transaction) = &mut channel.mode {
            transaction.counted += usize::from(waiting.counted);
            transaction.settles.push(PendingSettle {
                tag,
                waiting,
                verdict,
            });
            return Ok(());
        }
        match channel.stage_settle(waiting, verdict) {
            Staged::More => {}
            Staged::First => self.unsettled.push((number, waiting.source)),
            Staged::AfterOthers => self.settle_after_others(number, waiting, verdict),
        }
        Ok(())
    }

    /// Puts a settlement with the others of its source; one with another verdict goes first.
    pub(super) fn stage_settle(&mut self, number: u16, waiting: Waiting, verdict: Verdict) {
        let channel = self.channels.get_mut(&number);
        match channel.map(|channel| channel.stage_settle(waiting, verdict)) {
            None | Some(Staged::More) => {}
            Some(Staged::First) => self.unsettled.push((number, waiting.source)),
            Some(Staged::AfterOthers) => self.settle_after_others(number, waiting, verdict),
        }
    }

    /// What was published before the settlements of another verdict goes before them (TX-12).
    fn settle_after_others(&mut self, number: u16, waiting: Waiting, verdict: Verdict) {
        self.hand_over_publishes();
        self.hand_over_source(number, waiting.source);
        self.stage_settle(number, waiting, verdict);
    }

    /// Tells the queues what has been settled.
    pub(super) fn hand_over_settles(&mut self) {
        let mut unsettled = std::mem::take(&mut self.unsettled);
        for (number, index) in unsettled.drain(..) {
            self.hand_over_source(number, index);
            self.ring_limited_consumers(number);
        }
        if self.unsettled.is_empty() {
            self.unsettled = unsettled;
        }
    }

    fn hand_over_source(&mut self, number: u16, index: SourceIndex) {
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        let Some(source) = channel.source(index) else {
            return;
        };
        if source.staged.is_empty() {
            return;
        }
        let queue = Arc::clone(&source.queue);
        queue.body().settle(
            source.slot,
            source.staged_verdict,
            &source.staged,
            self.moment,
            &mut self.effects,
        );
        let (settled, verdict) = (source.staged.len(), source.staged_verdict);
        source.outstanding = source.outstanding.saturating_sub(settled);
        source.staged.clear();
        channel.drop_if_done(index);
        if verdict == Verdict::Requeue {
            self.note_returned(self.effects.durable_at, settled);
        }
        self.carry_out(&queue);
    }

    /// Under a channel-wide limit every settlement makes room for any consumer of the channel, which
    /// no queue can know (QOS-03).
    fn ring_limited_consumers(&mut self, number: u16) {
        let limited = self
            .channels
            .get(&number)
            .is_some_and(|c| c.channel_limit.is_some());
        if limited {
            self.ring_consumers(number);
        }
    }

    /// `basic.recover`: requeues everything unsettled on the channel (REC-01).
    pub(super) fn recover(&mut self, number: u16) -> Result<(), Fault> {
        let mut taken = Vec::new();
        self.channel(number)?.unacked.take_all(&mut taken);
        for (_, waiting) in taken {
            self.stage_settle(number, waiting, Verdict::Requeue);
        }
        Ok(())
    }
}

/// True when one of these queues has not been told yet of a settlement.
pub(super) fn settles_one_of(
    unsettled: &[(u16, SourceIndex)],
    channels: &FxHashMap<u16, Channel>,
    queues: &[Arc<QueueHandle>],
) -> bool {
    unsettled.iter().any(|(number, index)| {
        let channel = channels.get(number);
        let settling = channel.and_then(|channel| channel.queue_of(*index));
        settling.is_some_and(|settling| queues.iter().any(|queue| Arc::ptr_eq(queue, settling)))
    })
}

fn returned(requeue: bool) -> Verdict {
    if requeue {
        Verdict::Requeue
    } else {
        Verdict::Discard
    }
}

fn unknown_tag(tag: u64) -> Fault {
    Fault::new(
        ReplyCode::PreconditionFailed,
        format!("unknown delivery tag {tag}"),
    )
}
