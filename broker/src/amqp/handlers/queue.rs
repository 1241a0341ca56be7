//! Class 50: queues.

use std::borrow::Cow;
use std::sync::Arc;

use leveret_protocol::method::queue;
use leveret_protocol::{Fault, ReplyCode, ShortStr};

use super::{text, unimplemented_method};
use crate::access::operation::Operation;
use crate::amqp::session::Session;
use crate::core::handed_down;
use crate::core::permission::{Part, Resource};
use crate::core::queue::DeleteConditions;
use crate::core::queue_handle::QueueHandle;
use crate::core::topology::{Applied, BindRequest, BindTo, QueueDeclare};
use crate::names;

pub(super) fn on_method(
    session: &mut Session,
    number: u16,
    method: queue::Method<'_>,
) -> Result<(), Fault> {
    session.refresh_permissions();
    match method {
        queue::Method::Declare(declare) => on_declare(session, number, declare),
        queue::Method::Bind(bind) => on_bind(session, number, bind),
        queue::Method::Unbind(unbind) => on_unbind(session, number, unbind),
        queue::Method::Purge(purge) => on_purge(session, number, purge),
        queue::Method::Delete(delete) => on_delete(session, number, delete),
        _ => Err(unimplemented_method()),
    }
}

fn on_declare(
    session: &mut Session,
    number: u16,
    declare: queue::Declare<'_>,
) -> Result<(), Fault> {
    if session.declare_reply_queue(number, &declare)? {
        return Ok(());
    }
    let (queue, applied) = if declare.passive {
        let vhost = session.vhost()?;
        vhost.check_queue(text(declare.queue), session.id)?
    } else {
        declare_queue(session, declare)?
    };
    queue
        .body()
        .renew_lease(session.moment, &mut session.effects);
    session.carry_out(&queue);
    session.channel(number)?.last_queue = Some(Arc::clone(queue.name()));
    if declare.nowait {
        session.note_unanswered(applied.durable_at);
        return Ok(());
    }
    let status = queue.body().status();
    let declared = queue::DeclareOk {
        queue: ShortStr::from(&**queue.name()),
        message_count: count(status.ready),
        consumer_count: status.consumers,
    };
    let method = queue::Declare::ID;
    session.reply_when_stored(number, method, applied.durable_at, declared)
}

fn declare_queue(
    session: &mut Session,
    declare: queue::Declare<'_>,
) -> Result<(Arc<QueueHandle>, Applied), Fault> {
    let vhost = Arc::clone(session.vhost()?);
    let limits = session.node.access.vhost_limits(vhost.name());
    let queues_max = limits.queues_max.map(|max| max as usize);
    let request = QueueDeclare {
        name: text(declare.queue),
        generated_name: &names::generated("amq.gen-"),
        durable: declare.durable,
        exclusive: declare.exclusive,
        auto_delete: declare.auto_delete,
        arguments: declare.arguments,
        connection: session.id,
        queues_max,
    };
    vhost.declare_queue(&request, &mut |part, on| {
        session.permit(Operation::DeclareQueue, part, on)
    })
}

fn on_bind(session: &mut Session, number: u16, bind: queue::Bind<'_>) -> Result<(), Fault> {
    let vhost = Arc::clone(session.vhost()?);
    let queue = session.queue_name(number, bind.queue)?;
    let request = BindRequest {
        source: text(bind.exchange),
        destination: BindTo::Queue(&queue),
        routing_key: binding_key(bind.queue, bind.routing_key, &queue),
        arguments: bind.arguments,
        connection: session.id,
    };
    let mut applied = vhost.bind(&request, &mut |part, on| {
        session.permit(Operation::BindQueue, part, on)
    })?;
    handed_down::carry_out(&vhost, &mut applied, session.moment, &session.node.timers);
    if bind.nowait {
        session.note_unanswered(applied.durable_at);
        return Ok(());
    }
    let method = queue::Bind::ID;
    session.reply_when_stored(number, method, applied.durable_at, queue::BindOk {})
}

fn on_unbind(session: &mut Session, number: u16, unbind: queue::Unbind<'_>) -> Result<(), Fault> {
    let vhost = Arc::clone(session.vhost()?);
    let queue = session.queue_name(number, unbind.queue)?;
    let request = BindRequest {
        source: text(unbind.exchange),
        destination: BindTo::Queue(&queue),
        routing_key: binding_key(unbind.queue, unbind.routing_key, &queue),
        arguments: unbind.arguments,
        connection: session.id,
    };
    let applied = vhost.unbind(&request, &mut |part, on| {
        session.permit(Operation::UnbindQueue, part, on)
    })?;
    let method = queue::Unbind::ID;
    session.reply_when_stored(number, method, applied.durable_at, queue::UnbindOk {})
}

/// With neither queue nor key given, the key is the queue's name too (BIND-07).
fn binding_key<'a>(given_queue: ShortStr<'_>, key: ShortStr<'a>, queue: &'a str) -> &'a [u8] {
    if given_queue.is_empty() && key.is_empty() {
        queue.as_bytes()
    } else {
        key.0
    }
}

fn on_purge(session: &mut Session, number: u16, purge: queue::Purge<'_>) -> Result<(), Fault> {
    let queue = session.readable_queue(Operation::PurgeQueue, number, purge.queue)?;
    let purged = queue.body().purge(&mut session.effects);
    let durable_at = session.effects.durable_at;
    session.carry_out(&queue);
    if purge.nowait {
        session.note_unanswered(durable_at);
        return Ok(());
    }
    let purged = queue::PurgeOk {
        message_count: count(purged),
    };
    session.reply_when_stored(number, queue::Purge::ID, durable_at, purged)
}

fn on_delete(session: &mut Session, number: u16, delete: queue::Delete<'_>) -> Result<(), Fault> {
    let vhost = Arc::clone(session.vhost()?);
    let name = session.queue_name(number, delete.queue)?;
    let conditions = DeleteConditions {
        if_unused: delete.if_unused,
        if_empty: delete.if_empty,
    };
    let permitted = &mut |part, on: Resource<'_>| session.permit(Operation::DeleteQueue, part, on);
    let deleted = vhost.delete_queue(&name, session.id, conditions, permitted)?;
    if delete.nowait {
        session.note_unanswered(deleted.applied.durable_at);
        return Ok(());
    }
    let deleted_ok = queue::DeleteOk {
        message_count: count(deleted.ready),
    };
    let durable_at = deleted.applied.durable_at;
    session.reply_when_stored(number, queue::Delete::ID, durable_at, deleted_ok)
}

/// A count as the wire has room for it.
fn count(messages: u64) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}

impl Session {
    /// The queue that a method names: an empty name is the last one declared on the channel
    /// (QUEUE-17).
    pub(super) fn queue_name<'a>(
        &mut self,
        number: u16,
        name: ShortStr<'a>,
    ) -> Result<Cow<'a, str>, Fault> {
        if !name.is_empty() {
            return Ok(Cow::Borrowed(text(name)));
        }
        match &self.channel(number)?.last_queue {
            Some(last) => Ok(Cow::Owned(last.to_string())),
            None => Err(Fault::new(
                ReplyCode::NotFound,
                "no previously declared queue",
            )),
        }
    }

    /// The queue that a method names, for a user who may read it (PERM-10, PERM-17).
    pub(super) fn readable_queue(
        &mut self,
        operation: Operation,
        number: u16,
        name: ShortStr<'_>,
    ) -> Result<Arc<QueueHandle>, Fault> {
        let name = self.queue_name(number, name)?;
        self.permit(operation, Part::Queue, Resource::Queue(&name))?;
        self.vhost()?.queue_for(name.as_bytes(), self.id)
    }
}
