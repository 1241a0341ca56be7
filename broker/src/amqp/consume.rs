//! Consumers and gets: attaching to queues, and letting go of them.
//!
//! What it is not: the way of messages to consumers (see [`super::pull`]).

use std::sync::Arc;

use leveret_protocol::method::basic;
use leveret_protocol::{Fault, ReplyCode, ShortStr};

use crate::amqp::channel::{Source, SourceKind};
use crate::amqp::deliver::write_get_ok;
use crate::amqp::parking::Parked;
use crate::amqp::pull::token;
use crate::amqp::session::{Session, internal_error};
use crate::amqp::unacked::{SourceIndex, Waiting};
use crate::core::consumer_arguments::ConsumerArguments;
use crate::core::delivery_count::with_delivery_count;
use crate::core::queue::arguments::QueueType;
use crate::core::queue::{
    AttachRefused, Delivery, Got, Port, SlotId, SlotKind, SlotSpec, Unsettled, Verdict,
};
use crate::core::queue_handle::QueueHandle;
use crate::core::reserve::Share;
use crate::limits::CONSUMER_BYTES;

impl Session {
    /// `basic.consume`, after name and permission were checked.
    pub(super) fn consume(
        &mut self,
        number: u16,
        tag: &[u8],
        queue: Arc<QueueHandle>,
        consume: &basic::Consume<'_>,
    ) -> Result<(), Fault> {
        let vhost = Arc::clone(self.vhost()?.name());
        let arguments = ConsumerArguments::check(consume.arguments, queue.name(), &vhost)?;
        let channel = self.channel(number)?;
        if queue.queue_type() == QueueType::Quorum && channel.channel_limit.is_some() {
            return Err(no_global_qos(queue.name(), &vhost));
        }
        let index = channel.next_source();
        let spec = SlotSpec {
            kind: SlotKind::Consumer {
                exclusive: consume.exclusive,
                prefetch: channel.prefetch,
                pull_only: channel.channel_limit.is_some() && !consume.no_ack,
                priority: arguments.priority,
            },
            no_ack: consume.no_ack,
        };
        let share = self.node.reserve.take(CONSUMER_BYTES + tag.len() as u64)?;
        let slot = self.attach(&queue, spec, token(number, index))?;
        let kind = SourceKind::Consumer(Box::from(tag));
        let source = new_source(queue, slot, consume.no_ack, kind, share);
        self.channel(number)?.add_source(index, source);
        if !consume.nowait {
            self.reply(
                number,
                basic::ConsumeOk {
                    consumer_tag: ShortStr(tag),
                },
            );
        }
        // The queue may have rung before the source was known; look once.
        self.rung.push(token(number, index));
        Ok(())
    }

    fn attach(
        &mut self,
        queue: &Arc<QueueHandle>,
        spec: SlotSpec,
        token: u64,
    ) -> Result<SlotId, Fault> {
        let bell = Arc::clone(&self.mailbox);
        let port = Port { bell, token };
        let attached = queue
            .body()
            .attach(spec, port, self.moment, &mut self.effects);
        self.carry_out(queue);
        self.note_timeout_of(queue);
        let vhost = self.vhost()?.name();
        attached.map_err(|refused| match refused {
            AttachRefused::InExclusiveUse => {
                let text = format!(
                    "queue '{}' in vhost '{vhost}' in exclusive use",
                    queue.name()
                );
                Fault::new(ReplyCode::AccessRefused, text)
            }
            AttachRefused::Gone => {
                let text = format!("no queue '{}' in vhost '{vhost}'", queue.name());
                Fault::new(ReplyCode::NotFound, text)
            }
        })
    }

    /// `basic.cancel`: no delivery follows; what is unsettled stays so (CANCEL-01, CANCEL-04).
    pub(super) fn cancel(&mut self, number: u16, tag: &[u8]) -> Result<(), Fault> {
        if self.cancel_replies(number, tag) {
            return Ok(());
        }
        let channel = self.channel(number)?;
        let Some(index) = channel.consumer(tag) else {
            return Ok(());
        };
        let source = channel.source(index).ok_or_else(internal_error)?;
        let (queue, slot) = (Arc::clone(&source.queue), source.slot);
        channel.end_consumer(index);
        queue
            .body()
            .detach(slot, Unsettled::Keep, self.moment, &mut self.effects);
        self.carry_out(&queue);
        Ok(())
    }

    /// `basic.get`, after name and permission were checked. While the message is on its way from the
    /// store, the answer is parked; a queue that is deleted meanwhile has none (GET-02).
    pub(super) fn get(
        &mut self,
        number: u16,
        queue: &Arc<QueueHandle>,
        no_ack: bool,
    ) -> Result<(), Fault> {
        if queue.queue_type() == QueueType::Quorum && has_single_consumer(queue) {
            return Err(no_get(queue.name(), self.vhost()?.name()));
        }
        let index = self.getter(number, queue)?;
        let slot = self
            .channel(number)?
            .source(index)
            .ok_or_else(internal_error)?
            .slot;
        let got = queue.body().get(slot, self.moment, &mut self.effects);
        self.carry_out(queue);
        let (mut delivery, left) = match got {
            Got::Message(delivery, left) => (delivery, left),
            Got::Loading => {
                self.parked = Some(Parked::Get {
                    channel: number,
                    token: token(number, index),
                    queue: Arc::clone(queue),
                    no_ack,
                });
                return Ok(());
            }
            Got::Empty => {
                self.reply(number, basic::GetEmpty::default());
                return Ok(());
            }
        };
        let tag = self.number_delivery(number, index, &delivery, no_ack)?;
        if no_ack {
            let ids = [delivery.id];
            queue
                .body()
                .settle(slot, Verdict::Ack, &ids, self.moment, &mut self.effects);
            self.carry_out(queue);
        }
        if queue.body().counts_deliveries() {
            delivery.message = with_delivery_count(&delivery.message, delivery.return_count);
        }
        let to = self.addressee(number);
        write_get_ok(
            &mut self.outbox,
            to,
            tag,
            delivery.redelivered,
            left,
            &delivery.message,
        );
        Ok(())
    }

    fn getter(&mut self, number: u16, queue: &Arc<QueueHandle>) -> Result<SourceIndex, Fault> {
        let channel = self.channel(number)?;
        if let Some(known) = channel.getter(queue.id()) {
            return Ok(known);
        }
        channel.forget_gone_getters();
        let index = channel.next_source();
        let spec = SlotSpec {
            kind: SlotKind::Getter,
            no_ack: false,
        };
        let share = self.node.reserve.take(CONSUMER_BYTES)?;
        let slot = self.attach(queue, spec, token(number, index))?;
        let source = new_source(Arc::clone(queue), slot, false, SourceKind::Getter, share);
        self.channel(number)?.add_source(index, source);
        Ok(index)
    }

    /// Gives a delivery its tag; unless it is settled by being sent, it waits under that tag.
    fn number_delivery(
        &mut self,
        number: u16,
        source: SourceIndex,
        delivery: &Delivery,
        no_ack: bool,
    ) -> Result<u64, Fault> {
        let moment = self.moment;
        let channel = self.channel(number)?;
        if no_ack {
            return Ok(channel.unacked.skip());
        }
        if let Some(source) = channel.source(source) {
            source.outstanding += 1;
        }
        channel.note_age(moment);
        let tag = channel.unacked.push(Waiting {
            source,
            id: delivery.id,
            // Gets do not count against the channel's limit (QOS-08).
            counted: false,
        });
        let grew = channel.account_unacked();
        self.unacked_grew |= grew;
        Ok(tag)
    }
}

fn has_single_consumer(queue: &QueueHandle) -> bool {
    let arguments = queue.spec().arguments.view();
    let argument = arguments.get("x-single-active-consumer");
    argument.is_some_and(|value| value.is_true())
}

/// QQ-08, GET-09
fn no_get(queue: &str, vhost: &str) -> Fault {
    let text = format!(
        "cannot obtain access to locked queue '{queue}' in vhost '{vhost}'. basic.get operations are \
         not supported by quorum queues with single active consumer"
    );
    Fault::new(ReplyCode::ResourceLocked, text)
}

/// QOS-12, QQ-07
fn no_global_qos(queue: &str, vhost: &str) -> Fault {
    let text = format!("queue '{queue}' in vhost '{vhost}' does not support global qos");
    Fault::new(ReplyCode::NotImplemented, text)
}

fn new_source(
    queue: Arc<QueueHandle>,
    slot: SlotId,
    no_ack: bool,
    kind: SourceKind,
    share: Share,
) -> Source {
    Source {
        queue,
        slot,
        no_ack,
        kind,
        outstanding: 0,
        staged: Vec::new(),
        staged_verdict: Verdict::Ack,
        has_siblings: false,
        share,
    }
}
