//! Class 85: publisher confirms.

use leveret_protocol::method::confirm;
use leveret_protocol::{Fault, ReplyCode};

use super::unimplemented_method;
use crate::amqp::channel::PublishMode;
use crate::amqp::session::Session;

/// `confirm.select`: repeatable (CONFIRM-01), final (CONFIRM-18), and not after `tx.select`
/// (CONFIRM-15).
pub(super) fn on_method(
    session: &mut Session,
    number: u16,
    method: confirm::Method,
) -> Result<(), Fault> {
    let confirm::Method::Select(select) = method else {
        return Err(unimplemented_method());
    };
    let mode = &mut session.channel(number)?.mode;
    match mode {
        PublishMode::Plain => *mode = PublishMode::Confirm(Default::default()),
        PublishMode::Confirm(_) => {}
        PublishMode::Transaction(_) => {
            let text = "cannot switch from tx to confirm mode";
            return Err(Fault::new(ReplyCode::PreconditionFailed, text));
        }
    }
    if !select.nowait {
        session.reply(number, confirm::SelectOk {});
    }
    Ok(())
}
