//! Wrong about exchanges, bindings, routing and permissions.

use leveret_protocol::method::{exchange, queue};
use leveret_protocol::{LongStr, Method, ShortStr};

use crate::mutation::How::Frames;
use crate::mutation::{mutations, on_method};
use crate::wire::{Frame, Wire, without};

mutations! {
    "EXCH-04" type_is_checked_first "Every exchange is a fanout." => Frames(always_fanout);
    "EXCH-11" different_durable "Durability is forgotten." => Frames(transient_exchange);
    "EXCH-13" different_internal "No exchange is internal." => Frames(public_exchange);
    "EXCH-16" nowait_declare "no-wait is not understood." => Frames(exchange_waits);
    "EXCH-22" if_unused_as_source "if-unused is not looked at." => Frames(deletes_used_exchange);
    "EXCH-25" gone_by_unbind "Auto-delete exchanges stay." => Frames(keeps_exchange);
    "AE-01" takes_what_is_unroutable "No exchange has an alternate." => Frames(no_alternate);
    "AE-03" missing_one "Alternates are not told of." => Frames(no_alternate_when_missing);
    "BIND-02" arguments_are_identity "Arguments of bindings are ignored." => Frames(binds_without_arguments);
    "BIND-06" no_last_declared_queue "An empty queue name is taken for any queue." => Frames(binds_anything);
    "BIND-09" unbind_removes_one "Unbinding does nothing." => Frames(never_unbinds);
    "BIND-12" bind_and_unbind "Exchanges are not unbound." => Frames(never_unbinds_exchanges);
    "ROUTE-01" direct_compares_bytes "Routing keys are compared in lower case." => Frames(lower_case_keys);
    "TOPIC-02" star_is_one_word "A star is as good as a hash." => Frames(star_is_hash);
    "TOPIC-04" empty_key_has_no_words "An empty key is one word." => Frames(star_is_hash);
    "PERM-03" declare_needs_configure "Everybody may do what guest may." => Frames(everybody_is_guest);
    "PERM-10" publish_needs_write "Everybody may do what guest may." => Frames(everybody_is_guest);
    "PERM-13" publish_needs_its_key "Everybody may do what guest may." => Frames(everybody_is_guest);
    "HEADERS-01" any_needs_one "any is taken for all." => Frames(no_x_match);
    "HEADERS-09" invalid_x_match "Any x-match is taken." => Frames(no_x_match);
}

on_method!(everybody_is_guest, Connection connection::StartOk, |wire, frame, start_ok| {
    start_ok.mechanism = ShortStr(b"PLAIN");
    start_ok.response = LongStr(b"\0guest\0guest");
    wire.replace(frame, start_ok);
});

on_method!(always_fanout, Exchange exchange::Declare, |wire, frame, declare| {
    declare.kind = ShortStr(b"fanout");
    wire.replace(frame, declare);
});

on_method!(transient_exchange, Exchange exchange::Declare, |wire, frame, declare| {
    declare.durable = false;
    wire.replace(frame, declare);
});

on_method!(public_exchange, Exchange exchange::Declare, |wire, frame, declare| {
    declare.internal = false;
    wire.replace(frame, declare);
});

on_method!(exchange_waits, Exchange exchange::Declare, |wire, frame, declare| {
    declare.nowait = false;
    wire.replace(frame, declare);
});

on_method!(deletes_used_exchange, Exchange exchange::Delete, |wire, frame, delete| {
    delete.if_unused = false;
    wire.replace(frame, delete);
});

on_method!(keeps_exchange, Exchange exchange::Declare, |wire, frame, declare| {
    declare.auto_delete = false;
    wire.replace(frame, declare);
});

on_method!(no_alternate, Exchange exchange::Declare, |wire, frame, declare| {
    let arguments = without(declare.arguments, "alternate-exchange");
    declare.arguments = arguments.view();
    wire.replace(frame, declare);
});

on_method!(no_alternate_when_missing, Basic basic::Return, |wire, frame, returned| {
    returned.exchange = ShortStr(b"");
    wire.replace(frame, returned);
});

on_method!(binds_without_arguments, Queue queue::Bind, |wire, frame, bind| {
    bind.arguments = leveret_protocol::Table::default();
    wire.replace(frame, bind);
});

fn binds_anything(wire: &mut Wire, frame: &Frame) {
    match frame.method() {
        Some(Method::Queue(queue::Method::Bind(bind))) if bind.queue.is_empty() => {
            wire.answer(frame, queue::BindOk {});
        }
        _ => wire.pass(frame),
    }
}

fn never_unbinds(wire: &mut Wire, frame: &Frame) {
    match frame.method() {
        Some(Method::Queue(queue::Method::Unbind(_))) => wire.answer(frame, queue::UnbindOk {}),
        _ => wire.pass(frame),
    }
}

fn never_unbinds_exchanges(wire: &mut Wire, frame: &Frame) {
    match frame.method() {
        Some(Method::Exchange(exchange::Method::Unbind(_))) => {
            wire.answer(frame, exchange::UnbindOk {});
        }
        _ => wire.pass(frame),
    }
}

on_method!(lower_case_keys, Basic basic::Publish, |wire, frame, publish| {
    let lower = publish.routing_key.0.to_ascii_lowercase();
    publish.routing_key = ShortStr(&lower);
    wire.replace(frame, publish);
});

on_method!(star_is_hash, Queue queue::Bind, |wire, frame, bind| {
    let key: Vec<u8> = bind.routing_key.0.iter().map(|byte| match byte {
        b'*' => b'#',
        other => *other,
    }).collect();
    bind.routing_key = ShortStr(&key);
    wire.replace(frame, bind);
});

on_method!(no_x_match, Queue queue::Bind, |wire, frame, bind| {
    let arguments = without(bind.arguments, "x-match");
    bind.arguments = arguments.view();
    wire.replace(frame, bind);
});
