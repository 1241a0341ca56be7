//! Class 20, as far as it concerns the broker, and class 30, a leftover that is still answered.

use leveret_protocol::method::{access, channel};
use leveret_protocol::{Fault, ReplyCode};

use super::unimplemented_method;
use crate::amqp::session::Session;

/// `channel.flow`; the rest of the class belongs to the protocol machine.
pub(super) fn on_method(
    session: &mut Session,
    number: u16,
    method: channel::Method<'_>,
) -> Result<(), Fault> {
    match method {
        channel::Method::Flow(channel::Flow { active: true }) => {
            session.reply(number, channel::FlowOk { active: true });
            Ok(())
        }
        channel::Method::Flow(_) => Err(Fault::new(ReplyCode::NotImplemented, "active=false")),
        _ => Err(unimplemented_method()),
    }
}

/// `access.request` is granted to everybody (CHAN-18).
pub(super) fn on_access(
    session: &mut Session,
    number: u16,
    method: access::Method<'_>,
) -> Result<(), Fault> {
    match method {
        access::Method::Request(_) => {
            session.reply(number, access::RequestOk { ticket: 1 });
            Ok(())
        }
        access::Method::RequestOk(_) => Err(unimplemented_method()),
    }
}
