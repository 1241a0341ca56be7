//! `basic.publish`: checks a message, finds its queues, and stages it for them.
//!
//! The order of the checks is the reference's (PUB-04): write permission, the exchange, then the
//! properties. Where this exchange and key led last time is remembered together with the fact that
//! the user may publish there, so the usual publish costs one look into the cache.

use std::sync::Arc;
use std::time::Instant;

use leveret_protocol::server::content::Publish;
use leveret_protocol::{Fault, Properties, ReplyCode, ShortStr, Table};

use crate::access::operation::Operation;
use crate::amqp::channel::{Channel, PublishMode};
use crate::amqp::deliver::write_return;
use crate::amqp::session::{Session, internal_error};
use crate::amqp::settle::settles_one_of;
use crate::amqp::stage::Ticket;
use crate::amqp::transaction::PendingPublish;
use crate::core::direct_reply::may_be_reply;
use crate::core::exchange::{Routing, TOPIC};
use crate::core::permission::{Part, Resource};
use crate::core::publishing::{Publishing, distinct_routing_keys, usual};
use crate::core::queue::Offered;
use crate::core::queue_handle::QueueHandle;
use crate::core::route::Targets;
use crate::core::{Message, MessageParts};
use crate::limits::TRANSACTION_BYTES_MAX;

impl Session {
    /// Takes one published message.
    #[inline]
    pub(super) fn publish(&mut self, number: u16, publish: &Publish<'_>) -> Result<(), Fault> {
        // An alarm holds up those who publish while it is raised, and nobody else (FLOW-01).
        self.has_published |= self.node.alarm.is_raised();
        if publish.immediate {
            return Err(Fault::new(ReplyCode::NotImplemented, "immediate=true"));
        }
        let Some(usual) = usual(publish.properties()) else {
            return self.publish_checked(number, publish);
        };
        let message = Message::plain(
            publish.address(),
            publish.properties(),
            publish.body(),
            usual,
            &mut self.scratch,
        );
        if self.routes.find(publish.address()).is_some() {
            self.publish_known(number, publish, message)
        } else {
            self.publish_anew(number, publish, message)
        }
    }

    /// The usual publish needs none of this: its properties are to be judged, or to be changed.
    #[inline(never)]
    fn publish_checked(&mut self, number: u16, publish: &Publish<'_>) -> Result<(), Fault> {
        let known = self.routes.find(publish.address()).is_some();
        if !known {
            self.check_exchange(publish.exchange())?;
            self.check_topic(publish)?;
        }
        let mut properties =
            Properties::parse(publish.properties()).map_err(|_| internal_error())?;
        let reply_to = self.reply_to(number, &properties)?;
        let mut asked = Asked::default();
        if let Some(name) = &reply_to {
            properties.reply_to = Some(ShortStr::from(&**name));
            asked.rewritten = Some(properties.to_bytes());
        }
        self.check_user_id(&properties)?;
        asked.by(&Publishing::check(properties)?);
        let message = message(publish, &asked, &mut self.scratch);
        let copied = properties.headers.is_some_and(has_copies);
        if known && !copied {
            return self.publish_known(number, publish, message);
        }
        self.publish_routed(number, publish, message, properties.headers, copied)
    }

    /// The exchange and key are in the cache, first place.
    #[inline]
    fn publish_known(
        &mut self,
        number: u16,
        publish: &Publish<'_>,
        message: Message,
    ) -> Result<(), Fault> {
        if !self.unsettled.is_empty() {
            self.settle_before();
        }
        let channel = self.channels.get_mut(&number).ok_or_else(internal_error)?;
        let targets = self.routes.latest();
        let sequence = match &mut channel.mode {
            PublishMode::Plain => 0,
            PublishMode::Confirm(confirms) => {
                if self.unconfirmed.last() != Some(&number) {
                    self.unconfirmed.push(number);
                }
                confirms.next()
            }
            PublishMode::Transaction(_) => {
                let targets = targets.to_vec();
                return self.publish_to(number, message, &targets, publish.mandatory);
            }
        };
        if let Some((last, others)) = targets.split_last() {
            let ticket = Ticket {
                channel: number,
                sequence,
            };
            for queue in others {
                self.stage.push(queue, message.clone(), ticket);
            }
            self.stage.push(last, message, ticket);
        }
        if self.stage.is_full() {
            self.hand_over_publishes();
        }
        Ok(())
    }

    /// Nothing is known of the exchange and key.
    #[inline(never)]
    fn publish_anew(
        &mut self,
        number: u16,
        publish: &Publish<'_>,
        message: Message,
    ) -> Result<(), Fault> {
        self.check_write(publish.exchange())?;
        if publish.exchange().is_empty() && may_be_reply(publish.routing_key()) {
            // Queues cannot have such names.
            self.stage_replies(&[publish.routing_key()], &message);
            return self.publish_to(number, message, &[], publish.mandatory);
        }
        self.check_topic(publish)?;
        let properties = Properties::parse(publish.properties()).map_err(|_| internal_error())?;
        self.publish_routed(number, publish, message, properties.headers, false)
    }

    /// Finds the way and stages the message for what it finds.
    fn publish_routed(
        &mut self,
        number: u16,
        publish: &Publish<'_>,
        message: Message,
        headers: Option<Table<'_>>,
        copied: bool,
    ) -> Result<(), Fault> {
        let targets = self.route(&message, headers, copied)?;
        if settles_one_of(&self.unsettled, &self.channels, targets.queues()) {
            self.hand_over();
        }
        // What an exchange keeps to itself is not returned.
        let mandatory = publish.mandatory && !targets.is_taken();
        self.publish_to(number, message, targets.queues(), mandatory)
    }

    /// A publish must not overtake a settlement of its queue, which may have made room for it: it
    /// could be dropped for want of a consumer (LEN-03).
    fn settle_before(&mut self) {
        let targets = self.routes.latest();
        if settles_one_of(&self.unsettled, &self.channels, targets) {
            self.hand_over();
        }
    }

    /// Stages a message for these queues, or returns it, or keeps it for the commit.
    fn publish_to(
        &mut self,
        number: u16,
        message: Message,
        targets: &[Arc<QueueHandle>],
        mandatory: bool,
    ) -> Result<(), Fault> {
        let mut sequence = 0;
        let Channel { mode, share, .. } = self.channel(number)?;
        match mode {
            PublishMode::Plain => {}
            PublishMode::Confirm(confirms) => {
                sequence = confirms.next();
                self.unconfirmed.push(number);
            }
            PublishMode::Transaction(transaction) => {
                // What waits for the commit costs memory even if it has no body.
                let bytes = message.body_len()
                    + message.properties().len()
                    + size_of::<PendingPublish>()
                    + size_of_val(targets);
                if let Some(channel) = share {
                    let held = transaction.share.get_or_insert_with(|| channel.sibling());
                    held.take(bytes as u64)?;
                }
                transaction.bytes += bytes;
                if transaction.bytes > TRANSACTION_BYTES_MAX {
                    let text = format!("more than {TRANSACTION_BYTES_MAX} bytes not committed");
                    return Err(Fault::new(ReplyCode::ResourceError, text));
                }
                let targets = targets.to_vec();
                transaction.publishes.push(PendingPublish {
                    message,
                    targets,
                    mandatory,
                });
                return Ok(());
            }
        }
        if mandatory && targets.is_empty() {
            let to = self.addressee(number);
            write_return(&mut self.outbox, to, &message);
        }
        self.stage_for(
            targets,
            &message,
            Ticket {
                channel: number,
                sequence,
            },
        );
        Ok(())
    }

    pub(super) fn stage_for(
        &mut self,
        targets: &[Arc<QueueHandle>],
        message: &Message,
        ticket: Ticket,
    ) {
        for queue in targets {
            self.stage.push(queue, message.clone(), ticket);
        }
        if self.stage.is_full() {
            self.hand_over_publishes();
        }
    }

    /// Hands the staged messages to their queues, one lock each.
    pub(super) fn hand_over_publishes(&mut self) {
        if self.stage.is_empty() {
            return;
        }
        let mut staged = self.stage.take();
        for part in &mut staged {
            if part.batch.is_empty() {
                continue;
            }
            let offered = part
                .queue
                .body()
                .offer(&mut part.batch, self.moment, &mut self.effects);
            if offered == Offered::Gone {
                // Deleted after it was routed to: lost for this queue, and confirmed (ROUTE-04).
                part.batch.clear();
            }
            for refused in std::mem::take(&mut self.effects.rejected) {
                if let Some(ticket) = part.tickets.get(refused as usize) {
                    self.refuse(*ticket);
                }
            }
            if let Some(epoch) = self.effects.durable_at {
                self.note_stored(part, epoch);
            }
            part.tickets.clear();
            part.bytes = 0;
            self.carry_out(&part.queue);
        }
        self.stage.put_back(staged);
    }

    /// A queue has refused a publish (CONFIRM-08, TX-14).
    fn refuse(&mut self, ticket: Ticket) {
        match self
            .channels
            .get_mut(&ticket.channel)
            .map(|channel| &mut channel.mode)
        {
            Some(PublishMode::Confirm(confirms)) if ticket.sequence > 0 => {
                confirms.refuse(ticket.sequence);
                if confirms.is_waiting() {
                    // It is remembered until those before it are answered.
                    self.uncommitted.add_to_latest(size_of::<u64>());
                }
            }
            Some(PublishMode::Transaction(transaction)) => transaction.refused = true,
            _ => {}
        }
    }

    /// May the user write to this exchange, and may anybody publish to it (PUB-21)?
    fn check_exchange(&mut self, exchange: &[u8]) -> Result<(), Fault> {
        self.check_write(exchange)?;
        let vhost = self.vhost()?;
        vhost.check_publish(exchange).map(|_| ())
    }

    /// May the user write to this exchange? The latest one that it may write to is remembered.
    fn check_write(&mut self, exchange: &[u8]) -> Result<(), Fault> {
        let open = self.open.as_ref().ok_or_else(internal_error)?;
        if open.writable.as_deref() == Some(exchange) {
            return Ok(());
        }
        let name = String::from_utf8_lossy(exchange);
        self.permit(
            Operation::Publish,
            Part::Exchange,
            Resource::Exchange(&name),
        )?;
        if let Some(open) = &mut self.open {
            open.writable = Some(Box::from(exchange));
        }
        Ok(())
    }

    /// May the user publish with this key, if the exchange is a topic exchange (PERM-13)? Keys of CC
    /// and BCC are not asked about (PERM-15).
    fn check_topic(&self, publish: &Publish<'_>) -> Result<(), Fault> {
        let open = self.open.as_ref().ok_or_else(internal_error)?;
        let exchange = String::from_utf8_lossy(publish.exchange());
        if !open.permissions.limits_topics_of(&exchange) {
            return Ok(());
        }
        let kind = open.vhost.check_publish(publish.exchange())?;
        if *kind != TOPIC {
            return Ok(());
        }
        let (exchange, routing_key) = (&*exchange, publish.routing_key());
        let topic = Resource::Topic {
            exchange,
            routing_key,
        };
        self.permit(Operation::Publish, Part::RoutingKey, topic)
    }

    /// May the user publish in this user's name (PUB-06, PUB-07)? A name that is there but empty is one.
    fn check_user_id(&self, properties: &Properties<'_>) -> Result<(), Fault> {
        match properties.user_id {
            Some(name) => self.permit(Operation::Publish, Part::UserId, Resource::User(name.0)),
            None => Ok(()),
        }
    }

    /// Routes anew, and remembers the answer if it holds for more than this message.
    fn route(
        &mut self,
        message: &Message,
        headers: Option<Table<'_>>,
        copied: bool,
    ) -> Result<Arc<Targets>, Fault> {
        let (all, own);
        let routing_keys: &[&[u8]] = if copied {
            all = distinct_routing_keys(message, headers);
            &all
        } else {
            own = [message.routing_key()];
            &own
        };
        let routing = Routing {
            routing_keys,
            headers,
            message: Some(message),
            now: self.moment,
        };
        let begun = Instant::now();
        let targets = self.vhost()?.route_publish(message.exchange(), &routing)?;
        self.note_routing(begun.elapsed());
        if message.exchange().is_empty() {
            self.stage_replies(routing_keys, message);
        }
        Ok(self.routes.keep(message.address(), targets))
    }
}

/// True when the headers name further routing keys (PUB-09).
fn has_copies(headers: Table<'_>) -> bool {
    headers
        .entries()
        .any(|(key, _)| key.0 == b"CC" || key.0 == b"BCC")
}

/// What a publish's properties ask of queues, and what must be changed in them.
#[derive(Default)]
struct Asked<'a> {
    rewritten: Option<Vec<u8>>,
    persistent: bool,
    priority: u8,
    expiration_ms: Option<u64>,
    blind_keys: Vec<&'a [u8]>,
}

impl<'a> Asked<'a> {
    fn by(&mut self, publishing: &Publishing<'a>) {
        if let Some(rewritten) = publishing.rewritten_properties() {
            self.rewritten = Some(rewritten);
        }
        self.persistent = publishing.persistent;
        self.priority = publishing.priority;
        self.expiration_ms = publishing.expiration_ms;
        self.blind_keys = publishing.blind_keys().collect();
    }
}

#[inline]
fn message(publish: &Publish<'_>, asked: &Asked<'_>, scratch: &mut Vec<u8>) -> Message {
    let parts = MessageParts {
        exchange: publish.exchange(),
        routing_key: publish.routing_key(),
        properties: asked
            .rewritten
            .as_deref()
            .unwrap_or_else(|| publish.properties()),
        body: publish.body(),
        persistent: asked.persistent,
        priority: asked.priority,
        expiration_ms: asked.expiration_ms,
    };
    Message::with_blind_keys(parts, asked.blind_keys.iter().copied(), scratch)
}
