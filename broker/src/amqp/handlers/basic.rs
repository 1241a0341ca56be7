//! Class 60, except publish, ack, nack and reject, which are staged.

use leveret_protocol::method::basic;
use leveret_protocol::{Fault, ReplyCode, ShortStr};

use super::unimplemented_method;
use crate::access::operation::Operation;
use crate::amqp::channel::{Channel, SourceKind};
use crate::amqp::session::Session;
use crate::core::direct_reply::REPLY_QUEUE;
use crate::names;

pub(super) fn on_method(
    session: &mut Session,
    number: u16,
    method: basic::Method<'_>,
) -> Result<(), Fault> {
    match method {
        basic::Method::Qos(qos) => on_qos(session, number, qos),
        basic::Method::Consume(consume) => on_consume(session, number, consume),
        basic::Method::Cancel(cancel) => on_cancel(session, number, cancel),
        basic::Method::Get(get) => on_get(session, number, get),
        basic::Method::Recover(recover) => {
            on_recover(session, number, recover.requeue)?;
            session.reply(number, basic::RecoverOk {});
            Ok(())
        }
        basic::Method::RecoverAsync(recover) => on_recover(session, number, recover.requeue),
        _ => Err(unimplemented_method()),
    }
}

fn on_qos(session: &mut Session, number: u16, qos: basic::Qos) -> Result<(), Fault> {
    if qos.prefetch_size != 0 {
        let text = format!("prefetch_size!=0 ({})", qos.prefetch_size);
        return Err(Fault::new(ReplyCode::NotImplemented, text));
    }
    let channel = session.channel(number)?;
    if qos.global {
        set_channel_limit(
            channel,
            (qos.prefetch_count > 0).then_some(qos.prefetch_count),
        );
    } else {
        // A limit per consumer also lifts the one over the channel (QOS-05).
        channel.prefetch = qos.prefetch_count;
        set_channel_limit(channel, None);
    }
    session.ring_consumers(number);
    session.reply(number, basic::QosOk {});
    Ok(())
}

fn set_channel_limit(channel: &mut Channel, limit: Option<u16>) {
    if channel.channel_limit.is_none() && limit.is_some() {
        channel.unacked.count_all();
    }
    channel.channel_limit = limit;
    for (_, source) in channel.sources() {
        if matches!(source.kind, SourceKind::Consumer(_)) && !source.no_ack {
            source
                .queue
                .body()
                .set_pull_only(source.slot, limit.is_some());
        }
    }
}

fn on_consume(
    session: &mut Session,
    number: u16,
    consume: basic::Consume<'_>,
) -> Result<(), Fault> {
    let generated;
    let tag = if consume.consumer_tag.is_empty() {
        generated = names::generated("amq.ctag-");
        generated.as_bytes()
    } else {
        consume.consumer_tag.0
    };
    let name = session.queue_name(number, consume.queue)?;
    session.refresh_permissions();
    check_tag(session, number, tag)?;
    if name == REPLY_QUEUE {
        return session.consume_replies(number, tag, &consume);
    }
    let queue = session.readable_queue(Operation::Consume, number, consume.queue)?;
    session.consume(number, tag, queue, &consume)
}

fn check_tag(session: &mut Session, number: u16, tag: &[u8]) -> Result<(), Fault> {
    let max = session.node.config.consumers_per_channel_max;
    let channel = session.channel(number)?;
    if channel.consumer(tag).is_some() {
        let text = format!("attempt to reuse consumer tag '{}'", ShortStr(tag));
        return Err(Fault::new(ReplyCode::NotAllowed, text));
    }
    if max > 0 && channel.consumer_count() >= max as usize {
        let text = format!("reached maximum ({max}) of consumers per channel");
        return Err(Fault::new(ReplyCode::NotAllowed, text));
    }
    Ok(())
}

fn on_cancel(session: &mut Session, number: u16, cancel: basic::Cancel<'_>) -> Result<(), Fault> {
    session.cancel(number, cancel.consumer_tag.0)?;
    if !cancel.nowait {
        session.reply(
            number,
            basic::CancelOk {
                consumer_tag: cancel.consumer_tag,
            },
        );
    }
    Ok(())
}

fn on_get(session: &mut Session, number: u16, get: basic::Get<'_>) -> Result<(), Fault> {
    session.refresh_permissions();
    let queue = session.readable_queue(Operation::Get, number, get.queue)?;
    session.get(number, &queue, get.no_ack)
}

fn on_recover(session: &mut Session, number: u16, requeue: bool) -> Result<(), Fault> {
    if !requeue {
        return Err(Fault::new(ReplyCode::NotImplemented, "requeue=false"));
    }
    session.recover(number)
}
