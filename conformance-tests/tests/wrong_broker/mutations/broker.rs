//! Wrong about what only an operator can bring about: alarms and policies.

use leveret_protocol::Method;
use leveret_protocol::method::connection;

use crate::mutation::How::{Frames, IdleOperator};
use crate::mutation::mutations;
use crate::wire::{Frame, Wire};

mutations! {
    "FLOW-02" reason_disk "Nobody is told that the disk is short." => Frames(tells_of_no_alarm);
    "FLOW-11" blocked_by_a_client "A client may say that it is blocked." => Frames(hears_no_blocked);
    "POL-01" living_queue "Policies are forgotten." => IdleOperator;
    "POL-04" lower_limit "Policies are forgotten." => IdleOperator;
}

fn tells_of_no_alarm(wire: &mut Wire, frame: &Frame) {
    let is_told = matches!(
        frame.method(),
        Some(Method::Connection(
            connection::Method::Blocked(_) | connection::Method::Unblocked(_)
        ))
    );
    if !is_told {
        wire.pass(frame);
    }
}

fn hears_no_blocked(wire: &mut Wire, frame: &Frame) {
    tells_of_no_alarm(wire, frame);
}
