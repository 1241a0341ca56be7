//! What each method on an open channel does, one file per class.
//!
//! A handler checks, calls the core, and writes the answer, which waits if it promises what the store
//! has yet to commit; a fault it returns is blamed on the method and answered in one place
//! (`Session::fail`).

mod basic;
mod channel;
mod confirm;
mod exchange;
mod queue;
mod tx;

use leveret_protocol::{Fault, Method, ReplyCode, ShortStr};

use crate::amqp::session::Session;

/// Handles any method but publish, ack, nack and reject.
pub(super) fn on_method(
    session: &mut Session,
    number: u16,
    method: Method<'_>,
) -> Result<(), Fault> {
    match method {
        Method::Channel(method) => channel::on_method(session, number, method),
        Method::Access(method) => channel::on_access(session, number, method),
        Method::Exchange(method) => exchange::on_method(session, number, method),
        Method::Queue(method) => queue::on_method(session, number, method),
        Method::Basic(method) => basic::on_method(session, number, method),
        Method::Confirm(method) => confirm::on_method(session, number, method),
        Method::Tx(method) => tx::on_method(session, number, method),
        Method::Connection(_) => Err(unimplemented_method()),
    }
}

/// A method that only a server sends, or that belongs to channel 0 (CHAN-14, CONN-39).
fn unimplemented_method() -> Fault {
    Fault::new(ReplyCode::CommandInvalid, "unimplemented method")
}

/// The text of a short string; the protocol machine has checked that it is UTF-8 (FRAME-06).
fn text(string: ShortStr<'_>) -> &str {
    string.as_text().unwrap_or_default()
}
