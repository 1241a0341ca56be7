//! Class 40: exchanges.

use std::sync::Arc;

use leveret_protocol::Fault;
use leveret_protocol::method::exchange;

use super::{text, unimplemented_method};
use crate::access::operation::Operation;
use crate::amqp::session::Session;
use crate::core::handed_down;
use crate::core::topology::{BindRequest, BindTo, ExchangeDeclare, ExchangeDelete};

pub(super) fn on_method(
    session: &mut Session,
    number: u16,
    method: exchange::Method<'_>,
) -> Result<(), Fault> {
    session.refresh_permissions();
    match method {
        exchange::Method::Declare(declare) => on_declare(session, number, declare),
        exchange::Method::Delete(delete) => on_delete(session, number, delete),
        exchange::Method::Bind(bind) => on_bind(session, number, bind),
        exchange::Method::Unbind(unbind) => on_unbind(session, number, unbind),
        _ => Err(unimplemented_method()),
    }
}

fn on_declare(
    session: &mut Session,
    number: u16,
    declare: exchange::Declare<'_>,
) -> Result<(), Fault> {
    let vhost = Arc::clone(session.vhost()?);
    let applied = if declare.passive {
        vhost.check_exchange(text(declare.exchange))?
    } else {
        let request = ExchangeDeclare {
            name: text(declare.exchange),
            kind: text(declare.kind),
            durable: declare.durable,
            auto_delete: declare.auto_delete,
            internal: declare.internal,
            arguments: declare.arguments,
        };
        vhost.declare_exchange(&request, &mut |part, on| {
            session.permit(Operation::DeclareExchange, part, on)
        })?
    };
    if declare.nowait {
        session.note_unanswered(applied.durable_at);
        return Ok(());
    }
    let method = exchange::Declare::ID;
    session.reply_when_stored(number, method, applied.durable_at, exchange::DeclareOk {})
}

fn on_delete(
    session: &mut Session,
    number: u16,
    delete: exchange::Delete<'_>,
) -> Result<(), Fault> {
    let vhost = Arc::clone(session.vhost()?);
    let request = ExchangeDelete {
        name: text(delete.exchange),
        if_unused: delete.if_unused,
    };
    let applied = vhost.delete_exchange(&request, &mut |part, on| {
        session.permit(Operation::DeleteExchange, part, on)
    })?;
    if delete.nowait {
        session.note_unanswered(applied.durable_at);
        return Ok(());
    }
    let method = exchange::Delete::ID;
    session.reply_when_stored(number, method, applied.durable_at, exchange::DeleteOk {})
}

fn on_bind(session: &mut Session, number: u16, bind: exchange::Bind<'_>) -> Result<(), Fault> {
    let vhost = Arc::clone(session.vhost()?);
    let request = BindRequest {
        source: text(bind.source),
        destination: BindTo::Exchange(text(bind.destination)),
        routing_key: bind.routing_key.0,
        arguments: bind.arguments,
        connection: session.id,
    };
    let mut applied = vhost.bind(&request, &mut |part, on| {
        session.permit(Operation::BindExchange, part, on)
    })?;
    handed_down::carry_out(&vhost, &mut applied, session.moment, &session.node.timers);
    if bind.nowait {
        session.note_unanswered(applied.durable_at);
        return Ok(());
    }
    let method = exchange::Bind::ID;
    session.reply_when_stored(number, method, applied.durable_at, exchange::BindOk {})
}

fn on_unbind(
    session: &mut Session,
    number: u16,
    unbind: exchange::Unbind<'_>,
) -> Result<(), Fault> {
    let vhost = Arc::clone(session.vhost()?);
    let request = BindRequest {
        source: text(unbind.source),
        destination: BindTo::Exchange(text(unbind.destination)),
        routing_key: unbind.routing_key.0,
        arguments: unbind.arguments,
        connection: session.id,
    };
    let applied = vhost.unbind(&request, &mut |part, on| {
        session.permit(Operation::UnbindExchange, part, on)
    })?;
    if unbind.nowait {
        session.note_unanswered(applied.durable_at);
        return Ok(());
    }
    let method = exchange::Unbind::ID;
    session.reply_when_stored(number, method, applied.durable_at, exchange::UnbindOk {})
}
