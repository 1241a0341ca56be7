//! Wrong about queues, what they are declared with, and when they end.

use leveret_protocol::ShortStr;

use crate::mutation::How::Frames;
use crate::mutation::{mutations, on_method};
use crate::wire::without;

mutations! {
    "QUEUE-02" existing_queue "Messages are not counted." => Frames(counts_no_messages);
    "QUEUE-05" server_named "A server-named queue is told without its prefix." => Frames(plain_names);
    "QUEUE-11" different_durable "Durability is forgotten." => Frames(transient_queue);
    "QUEUE-12" different_auto_delete "No queue is deleted automatically." => Frames(keeps_queue);
    "QUEUE-21" if_unused "if-unused is not looked at." => Frames(deletes_used_queue);
    "QUEUE-27" purge_takes_ready "A purge counts nothing." => Frames(purges_uncounted);
    "EXCL-03" others_are_refused "Exclusive queues are for everybody." => Frames(shares_queue);
    "EXCL-10" no_takeover "Exclusive queues are for everybody." => Frames(shares_queue);
    "AUTODEL-01" goes_with_the_last_consumer "No queue is deleted automatically." => Frames(keeps_queue);
    "QARG-02" message_ttl "A wrong time to live is taken." => Frames(no_message_ttl);
    "QARG-10" no_such_type "Any type is taken." => Frames(no_queue_type);
    "QARG-33" absence_is_told "Times to live are not compared." => Frames(no_message_ttl);
    "TTL-01" of_the_queue "Messages live for ever." => Frames(no_message_ttl);
    "EXP-01" unused "Unused queues stay." => Frames(no_expiry);
    "LEN-02" oldest_goes_first "Queues have no length." => Frames(no_length);
    "LEN-04" nack "A full queue drops its oldest message instead of refusing." => Frames(no_overflow);
    "PRIO-01" higher_first "Priorities are not looked at." => Frames(no_priorities);
    "PRIO-04" highest_is_zero "Priorities have no highest." => Frames(priorities_up_to_nine);
    "SAC-01" first_is_active "All consumers are active." => Frames(all_are_active);
    "DLX-01" rejected "Dead letters are dropped." => Frames(no_dead_letters);
    "DLX-21" default_exchange "Dead letters are dropped." => Frames(no_dead_letters);
    "QQ-02" not_server_named "Quorum queues are classic ones." => Frames(no_queue_type);
    "QQ-04" drops_above_the_limit "Deliveries are not limited." => Frames(no_delivery_limit);
    "STREAM-01" no_get "Streams are classic queues." => Frames(no_queue_type);
    "STREAM-04" no_purge "Streams are classic queues." => Frames(no_queue_type);
    "DUR-01" durable_objects_survive "Nothing is durable." => Frames(transient_queue);
}

on_method!(counts_no_messages, Queue queue::DeclareOk, |wire, frame, declared| {
    declared.message_count = 0;
    wire.replace(frame, declared);
});

on_method!(plain_names, Queue queue::DeclareOk, |wire, frame, declared| {
    let name = declared.queue.0;
    declared.queue = ShortStr(name.strip_prefix(b"amq.gen-").unwrap_or(name));
    wire.replace(frame, declared);
});

on_method!(transient_queue, Queue queue::Declare, |wire, frame, declare| {
    declare.durable = false;
    wire.replace(frame, declare);
});

on_method!(keeps_queue, Queue queue::Declare, |wire, frame, declare| {
    declare.auto_delete = false;
    wire.replace(frame, declare);
});

on_method!(deletes_used_queue, Queue queue::Delete, |wire, frame, delete| {
    delete.if_unused = false;
    wire.replace(frame, delete);
});

on_method!(purges_uncounted, Queue queue::PurgeOk, |wire, frame, purged| {
    purged.message_count = 0;
    wire.replace(frame, purged);
});

on_method!(shares_queue, Queue queue::Declare, |wire, frame, declare| {
    declare.exclusive = false;
    wire.replace(frame, declare);
});

/// A queue is declared without one of its arguments.
macro_rules! forgets_argument {
    ($name:ident, $key:literal) => {
        on_method!($name, Queue queue::Declare, |wire, frame, declare| {
            let arguments = without(declare.arguments, $key);
            declare.arguments = arguments.view();
            wire.replace(frame, declare);
        });
    };
}

forgets_argument!(no_message_ttl, "x-message-ttl");
forgets_argument!(no_queue_type, "x-queue-type");
forgets_argument!(no_length, "x-max-length");
forgets_argument!(no_expiry, "x-expires");
forgets_argument!(no_overflow, "x-overflow");
forgets_argument!(no_priorities, "x-max-priority");
forgets_argument!(all_are_active, "x-single-active-consumer");
forgets_argument!(no_dead_letters, "x-dead-letter-exchange");
forgets_argument!(no_delivery_limit, "x-delivery-limit");

on_method!(priorities_up_to_nine, Queue queue::Declare, |wire, frame, declare| {
    let others = without(declare.arguments, "x-max-priority");
    let with_nine = match declare.arguments.get("x-max-priority") {
        Some(_) => others.with("x-max-priority", leveret_protocol::Value::I32(9)),
        None => others,
    };
    declare.arguments = with_nine.view();
    wire.replace(frame, declare);
});
