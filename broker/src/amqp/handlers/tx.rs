//! Class 90: transactions.

use std::mem;
use std::sync::Arc;

use leveret_protocol::method::tx;
use leveret_protocol::{Fault, ReplyCode};

use super::unimplemented_method;
use crate::amqp::channel::PublishMode;
use crate::amqp::deliver::write_return;
use crate::amqp::session::Session;
use crate::amqp::stage::Ticket;
use crate::amqp::transaction::{PendingPublish, Transaction};

pub(super) fn on_method(
    session: &mut Session,
    number: u16,
    method: tx::Method,
) -> Result<(), Fault> {
    match method {
        tx::Method::Select(_) => select(session, number),
        tx::Method::Commit(_) => commit(session, number),
        tx::Method::Rollback(_) => rollback(session, number),
        _ => Err(unimplemented_method()),
    }
}

fn select(session: &mut Session, number: u16) -> Result<(), Fault> {
    let mode = &mut session.channel(number)?.mode;
    match mode {
        PublishMode::Plain => *mode = PublishMode::Transaction(Transaction::default()),
        PublishMode::Transaction(_) => {}
        PublishMode::Confirm(_) => {
            let text = "cannot switch from confirm to tx mode";
            return Err(Fault::new(ReplyCode::PreconditionFailed, text));
        }
    }
    session.reply(number, tx::SelectOk {});
    Ok(())
}

/// Publishes first, then what was settled, in the order given (TX-12). The answer waits until the store
/// has what is to be kept there.
fn commit(session: &mut Session, number: u16) -> Result<(), Fault> {
    let Transaction {
        publishes, settles, ..
    } = take(session, number)?;
    for publish in publishes {
        commit_publish(session, number, publish);
    }
    for settle in settles {
        session.stage_settle(number, settle.waiting, settle.verdict);
    }
    session.hand_over();
    let transaction = open(session, number)?;
    let stored_at = transaction.stored_at.take();
    if mem::take(&mut transaction.refused) {
        let text = "partial tx completion";
        return Err(Fault::new(ReplyCode::PreconditionFailed, text));
    }
    session.reply_when_stored(number, tx::Commit::ID, stored_at, tx::CommitOk {})
}

/// Queues that were deleted since the publish do not count any more (TX-06, TX-07).
fn commit_publish(session: &mut Session, number: u16, publish: PendingPublish) {
    let PendingPublish {
        message,
        mut targets,
        mandatory,
    } = publish;
    targets.retain(|queue: &Arc<_>| !queue.is_gone());
    if targets.is_empty() && mandatory {
        let to = session.addressee(number);
        write_return(&mut session.outbox, to, &message);
    }
    session.stage_for(
        &targets,
        &message,
        Ticket {
            channel: number,
            sequence: 0,
        },
    );
}

/// What was settled waits again under its old tags; nothing is redelivered (TX-10).
fn rollback(session: &mut Session, number: u16) -> Result<(), Fault> {
    let Transaction { settles, .. } = take(session, number)?;
    let unacked = &mut session.channel(number)?.unacked;
    for settle in settles.into_iter().rev() {
        unacked.restore(settle.tag, settle.waiting);
    }
    session.reply(number, tx::RollbackOk {});
    Ok(())
}

fn take(session: &mut Session, number: u16) -> Result<Transaction, Fault> {
    open(session, number).map(mem::take)
}

fn open(session: &mut Session, number: u16) -> Result<&mut Transaction, Fault> {
    match &mut session.channel(number)?.mode {
        PublishMode::Transaction(transaction) => Ok(transaction),
        _ => {
            let text = "channel is not transactional";
            Err(Fault::new(ReplyCode::PreconditionFailed, text))
        }
    }
}
