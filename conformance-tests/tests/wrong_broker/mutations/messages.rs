//! Wrong about publishing, returns, confirms, transactions and direct replies.

use leveret_protocol::content::FRAME_HEADER;
use leveret_protocol::method::{basic, confirm, tx};
use leveret_protocol::{Method, ShortStr};

use crate::mutation::How::Frames;
use crate::mutation::{mutations, on_method};
use crate::wire::{Frame, From, Wire, is_header_for_client, without};

mutations! {
    "PUB-02" immediate "immediate is not looked at." => Frames(not_immediate);
    "PUB-05" no_expirations "Any expiration is taken." => Frames(no_expiration);
    "PUB-10" blind_ones_are_removed "The receiver is shown no CC." => Frames(hides_copies);
    "PUB-14" all_properties "The type of a message is lost." => Frames(no_type);
    "RET-01" unroutable "Nothing is returned." => Frames(never_mandatory);
    "RET-06" in_order_of_publishing "Nothing is returned." => Frames(never_mandatory);
    "RET-07" names_the_first_exchange "A return names no exchange." => Frames(returns_from_nowhere);
    "CONFIRM-02" counts_from_the_select "Confirms count from zero." => Frames(counts_from_zero);
    "CONFIRM-03" one_answer_each "Every second confirm is lost." => Frames(every_second_confirm);
    "CONFIRM-08" refused_by_one_queue "A refusal is an ack." => Frames(acks_refusals);
    "CONFIRM-14" no_transaction "Transactions and confirms go together." => Frames(selects_anything);
    "TX-03" visible_after_commit "A commit rolls back." => Frames(commits_never);
    "TX-04" rollback_drops_publishes "A rollback commits." => Frames(rolls_back_never);
    "TX-02" needs_select "A commit needs no transaction." => Frames(commits_anything);
    "RPC-06" to_the_requester "Direct replies are dropped." => Frames(no_replies);
    "RPC-05" other_properties_stay "A request loses its correlation ID." => Frames(no_correlation);
    "TTL-02" never_delivered "Messages live for ever." => Frames(no_expiration);
    "TTL-07" expiration_stays "The expiration is taken off." => Frames(hides_expiration);
    "DLX-06" expiration_is_taken_off "x-death is not shown." => Frames(hides_deaths);
    "DLX-19" retries "x-death is not shown." => Frames(hides_deaths);
}

on_method!(not_immediate, Basic basic::Publish, |wire, frame, publish| {
    publish.immediate = false;
    wire.replace(frame, publish);
});

fn no_expiration(wire: &mut Wire, frame: &Frame) {
    if frame.from == From::Broker || frame.kind != FRAME_HEADER {
        return wire.pass(frame);
    }
    wire.replace_properties(frame, |mut properties| {
        properties.expiration = None;
        properties.to_bytes()
    });
}

fn hides_copies(wire: &mut Wire, frame: &Frame) {
    hides_header(wire, frame, "CC");
}

fn hides_deaths(wire: &mut Wire, frame: &Frame) {
    hides_header(wire, frame, "x-death");
}

fn hides_header(wire: &mut Wire, frame: &Frame, key: &str) {
    match is_header_for_client(frame) {
        true => wire.replace_headers(frame, |headers| without(headers, key)),
        false => wire.pass(frame),
    }
}

/// A property is lost on the way to the receiver.
macro_rules! hides_property {
    ($name:ident, $property:ident) => {
        fn $name(wire: &mut Wire, frame: &Frame) {
            if !is_header_for_client(frame) {
                return wire.pass(frame);
            }
            wire.replace_properties(frame, |mut properties| {
                properties.$property = None;
                properties.to_bytes()
            });
        }
    };
}

hides_property!(no_type, kind);
hides_property!(no_correlation, correlation_id);
hides_property!(hides_expiration, expiration);

on_method!(never_mandatory, Basic basic::Publish, |wire, frame, publish| {
    publish.mandatory = false;
    wire.replace(frame, publish);
});

on_method!(returns_from_nowhere, Basic basic::Return, |wire, frame, returned| {
    returned.exchange = ShortStr(b"");
    wire.replace(frame, returned);
});

on_method!(counts_from_zero, Basic basic::Ack, |wire, frame, ack| {
    if frame.from == From::Broker {
        ack.delivery_tag -= 1;
    }
    wire.replace(frame, ack);
});

fn every_second_confirm(wire: &mut Wire, frame: &Frame) {
    let is_confirm = matches!(frame.method(), Some(Method::Basic(basic::Method::Ack(_))));
    if !is_confirm || frame.from == From::Client {
        return wire.pass(frame);
    }
    let count = wire.memory.entry(u64::from(frame.channel)).or_default();
    *count += 1;
    if *count % 2 == 1 {
        wire.pass(frame);
    }
}

on_method!(acks_refusals, Basic basic::Nack, |wire, frame, nack| {
    let ack = basic::Ack {
        delivery_tag: nack.delivery_tag,
        multiple: nack.multiple,
    };
    match frame.from {
        From::Broker => wire.replace(frame, ack),
        From::Client => wire.pass(frame),
    }
});

fn selects_anything(wire: &mut Wire, frame: &Frame) {
    match frame.method() {
        Some(Method::Tx(tx::Method::Select(_))) => wire.answer(frame, tx::SelectOk {}),
        Some(Method::Confirm(confirm::Method::Select(_))) => {
            wire.answer(frame, confirm::SelectOk {});
        }
        _ => wire.pass(frame),
    }
}

fn commits_anything(wire: &mut Wire, frame: &Frame) {
    match frame.method() {
        Some(Method::Tx(tx::Method::Commit(_))) => wire.answer(frame, tx::CommitOk {}),
        Some(Method::Tx(tx::Method::Rollback(_))) => wire.answer(frame, tx::RollbackOk {}),
        _ => wire.pass(frame),
    }
}

fn commits_never(wire: &mut Wire, frame: &Frame) {
    match frame.method() {
        Some(Method::Tx(tx::Method::Commit(_))) => wire.replace(frame, tx::Rollback {}),
        Some(Method::Tx(tx::Method::RollbackOk(_))) => wire.replace(frame, tx::CommitOk {}),
        _ => wire.pass(frame),
    }
}

fn rolls_back_never(wire: &mut Wire, frame: &Frame) {
    match frame.method() {
        Some(Method::Tx(tx::Method::Rollback(_))) => wire.replace(frame, tx::Commit {}),
        Some(Method::Tx(tx::Method::CommitOk(_))) => wire.replace(frame, tx::RollbackOk {}),
        _ => wire.pass(frame),
    }
}

// The address of a reply is that of nobody.
on_method!(no_replies, Basic basic::Publish, |wire, frame, publish| {
    if publish.routing_key.0.starts_with(b"amq.rabbitmq.reply-to.") {
        publish.routing_key = ShortStr(b"amq.rabbitmq.reply-to.nobody");
    }
    wire.replace(frame, publish);
});
