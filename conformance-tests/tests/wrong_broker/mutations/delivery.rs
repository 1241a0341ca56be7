//! Wrong about gets, consumers, deliveries, settling and prefetch.

use leveret_protocol::method::basic;
use leveret_protocol::{Method, ShortStr};

use crate::mutation::How::Frames;
use crate::mutation::{mutations, on_method};
use crate::wire::{Frame, From, Wire, without};

mutations! {
    "GET-01" says_what_and_how_many "A get does not count what is left." => Frames(leaves_nothing);
    "GET-03" has_to_be_acked "What is fetched is acked at once." => Frames(gets_settled);
    "CONS-01" tag_is_echoed "Consumers are answered with another tag." => Frames(other_tag);
    "CONS-05" exclusive_comes_too_late "No consumer is exclusive." => Frames(shares_consumer);
    "CONS-06" exclusive_shuts_out "No consumer is exclusive." => Frames(shares_consumer);
    "CANCEL-01" nothing_after_cancel_ok "A consumer is answered and not cancelled." => Frames(cancels_never);
    "CANCEL-10" told_of_deleted_queue "Nobody is told that a queue is gone." => Frames(tells_nobody);
    "DELIV-01" one_sequence_of_tags "Tags of gets start elsewhere." => Frames(tags_jump);
    "DELIV-05" redelivered_after_settling "No delivery is marked." => Frames(never_redelivered);
    "DELIV-06" back_to_its_place "What is requeued is dropped." => Frames(requeues_never);
    "DELIV-12" original_address "A delivery names no exchange." => Frames(delivers_from_nowhere);
    "ACK-01" ack_one "Every ack is for all before it as well." => Frames(acks_multiply);
    "ACK-01" ack_multiple "An ack is for one delivery only." => Frames(acks_one);
    "ACK-09" requeue "What is requeued is dropped." => Frames(requeues_never);
    "REC-01" requeues_all "Nothing is recovered." => Frames(recovers_nothing);
    "REC-05" nothing_to_recover "A recover is not answered." => Frames(answers_no_recover);
    "QOS-02" for_later_consumers "There is no prefetch limit." => Frames(no_prefetch);
    "QOS-03" for_the_channel "A limit is never that of a channel." => Frames(never_global);
    "QOS-06" lowered "There is no prefetch limit." => Frames(no_prefetch);
    "SAC-03" no_exclusive_consumer "No consumer is exclusive." => Frames(shares_consumer);
    "CPRIO-01" higher_one_first "Priorities of consumers are not looked at." => Frames(equal_consumers);
    "CPRIO-02" zero_is_the_default "Priorities of consumers are not looked at." => Frames(equal_consumers);
    "DUR-03" unacked_come_back "No delivery is marked." => Frames(never_redelivered);
}

on_method!(leaves_nothing, Basic basic::GetOk, |wire, frame, got| {
    got.message_count = 0;
    wire.replace(frame, got);
});

on_method!(gets_settled, Basic basic::Get, |wire, frame, get| {
    get.no_ack = true;
    wire.replace(frame, get);
});

on_method!(other_tag, Basic basic::ConsumeOk, |wire, frame, consuming| {
    consuming.consumer_tag = ShortStr(b"another");
    wire.replace(frame, consuming);
});

on_method!(shares_consumer, Basic basic::Consume, |wire, frame, consume| {
    consume.exclusive = false;
    wire.replace(frame, consume);
});

fn cancels_never(wire: &mut Wire, frame: &Frame) {
    match frame.method() {
        Some(Method::Basic(basic::Method::Cancel(cancel))) if frame.from == From::Client => {
            let consumer_tag = cancel.consumer_tag;
            wire.answer(frame, basic::CancelOk { consumer_tag });
        }
        _ => wire.pass(frame),
    }
}

fn tells_nobody(wire: &mut Wire, frame: &Frame) {
    let is_cancel = matches!(
        frame.method(),
        Some(Method::Basic(basic::Method::Cancel(_)))
    );
    if !(is_cancel && frame.from == From::Broker) {
        wire.pass(frame);
    }
}

on_method!(tags_jump, Basic basic::GetOk, |wire, frame, got| {
    got.delivery_tag += 1_000;
    wire.replace(frame, got);
});

fn never_redelivered(wire: &mut Wire, frame: &Frame) {
    match frame.method() {
        Some(Method::Basic(basic::Method::GetOk(mut got))) => {
            got.redelivered = false;
            wire.replace(frame, got);
        }
        Some(Method::Basic(basic::Method::Deliver(mut delivery))) => {
            delivery.redelivered = false;
            wire.replace(frame, delivery);
        }
        _ => wire.pass(frame),
    }
}

fn requeues_never(wire: &mut Wire, frame: &Frame) {
    match frame.method() {
        Some(Method::Basic(basic::Method::Nack(mut nack))) if frame.from == From::Client => {
            nack.requeue = false;
            wire.replace(frame, nack);
        }
        Some(Method::Basic(basic::Method::Reject(mut reject))) => {
            reject.requeue = false;
            wire.replace(frame, reject);
        }
        _ => wire.pass(frame),
    }
}

fn delivers_from_nowhere(wire: &mut Wire, frame: &Frame) {
    match frame.method() {
        Some(Method::Basic(basic::Method::GetOk(mut got))) => {
            got.exchange = ShortStr(b"");
            wire.replace(frame, got);
        }
        Some(Method::Basic(basic::Method::Deliver(mut delivery))) => {
            delivery.exchange = ShortStr(b"");
            wire.replace(frame, delivery);
        }
        _ => wire.pass(frame),
    }
}

on_method!(acks_multiply, Basic basic::Ack, |wire, frame, ack| {
    ack.multiple |= frame.from == From::Client;
    wire.replace(frame, ack);
});

on_method!(acks_one, Basic basic::Ack, |wire, frame, ack| {
    ack.multiple &= frame.from == From::Broker;
    wire.replace(frame, ack);
});

fn recovers_nothing(wire: &mut Wire, frame: &Frame) {
    match frame.method() {
        Some(Method::Basic(basic::Method::Recover(_))) => {
            wire.answer(frame, basic::RecoverOk {});
        }
        _ => wire.pass(frame),
    }
}

fn answers_no_recover(wire: &mut Wire, frame: &Frame) {
    let is_answer = matches!(
        frame.method(),
        Some(Method::Basic(basic::Method::RecoverOk(_)))
    );
    if !is_answer {
        wire.pass(frame);
    }
}

on_method!(no_prefetch, Basic basic::Qos, |wire, frame, qos| {
    qos.prefetch_count = 0;
    wire.replace(frame, qos);
});

on_method!(never_global, Basic basic::Qos, |wire, frame, qos| {
    qos.global = false;
    wire.replace(frame, qos);
});

on_method!(equal_consumers, Basic basic::Consume, |wire, frame, consume| {
    let arguments = without(consume.arguments, "x-priority");
    consume.arguments = arguments.view();
    wire.replace(frame, consume);
});
