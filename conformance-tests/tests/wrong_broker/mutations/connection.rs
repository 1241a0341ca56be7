//! Wrong about errors, the handshake, limits, heartbeats, frames and channels.

use leveret_protocol::content::{FRAME_BODY, FRAME_HEADER};
use leveret_protocol::framer::FRAME_HEARTBEAT;
use leveret_protocol::method::{FRAME_METHOD, channel, connection};
use leveret_protocol::{Method, ShortStr, TableBuf, Value};

use crate::mutation::How::Frames;
use crate::mutation::{mutations, on_method};
use crate::wire::{Frame, From, Wire, is_header_for_client, without};

mutations! {
    "ERR-01" soft_error_ends_one_channel "A channel is closed with another code." => Frames(other_code);
    "ERR-04" method_is_blamed "A close blames no method." => Frames(blames_nobody);
    "ERR-06" return_carries_the_bare_name "A return explains itself at length." => Frames(wordy_return);
    "PROTO-01" header_of_0_9_1 "connection.start says version 0-8." => Frames(says_0_8);
    "PROTO-02" header_of_0_9 "connection.start says version 0-8." => Frames(says_0_8);
    "CONN-01" server_properties "The product has no name." => Frames(nameless_product);
    "CONN-02" server_capabilities "A capability is not announced." => Frames(hides_a_capability);
    "CONN-17" open_ok "open-ok names a host." => Frames(names_hosts);
    "CONN-31" close_by_the_client "A close is not answered." => Frames(answers_no_close);
    "TUNE-01" defaults "Frames are half as large." => Frames(small_frames);
    "TUNE-02" too_many_channels "A client may have more channels than it was offered." => Frames(lenient_tune);
    "TUNE-04" too_large_frames "A client may send larger frames than it was offered." => Frames(lenient_tune);
    "HB-05" heartbeat_on_a_channel "A heartbeat on a channel is passed over." => Frames(ignores_odd_heartbeats);
    "HB-06" heartbeat_with_payload "A heartbeat that carries something is passed over." => Frames(ignores_odd_heartbeats);
    "FRAME-02" unknown_type "Frames of an unknown type are passed over." => Frames(ignores_unknown_frames);
    "FRAME-15" header_of_another_class "The class of a header is not looked at." => Frames(repairs_headers);
    "FRAME-16" header_with_weight "The weight of a header is not looked at." => Frames(repairs_headers);
    "HB-02" every_half_interval "No heartbeats are sent." => Frames(beats_never);
    "FRAME-17" content_without_method "A header that follows no method is passed over." => Frames(ignores_stray_headers);
    "FRAME-24" close_within_content "A close within a message is not answered." => Frames(answers_no_close);
    "TABLE-01" every_tag_in_a_header "Integers of eight bits come back with 32." => Frames(widens_integers);
    "TABLE-05" byte_for_byte "The headers are sorted by name." => Frames(sorts_headers);
    "CHAN-10" unexpected_close_ok "A close-ok to no close is passed over." => Frames(ignores_close_ok);
    "CHAN-11" flow_on "flow-ok says the contrary." => Frames(contrary_flow);
    "CHAN-18" access_request "The ticket is 0." => Frames(no_ticket);
}

on_method!(other_code, Channel channel::Close, |wire, frame, close| {
    close.reply_code = match frame.from {
        From::Broker => 404 + u16::from(close.reply_code == 404),
        From::Client => close.reply_code,
    };
    wire.replace(frame, close);
});

on_method!(blames_nobody, Channel channel::Close, |wire, frame, close| {
    if frame.from == From::Broker {
        (close.class_id, close.method_id) = (0, 0);
    }
    wire.replace(frame, close);
});

on_method!(wordy_return, Basic basic::Return, |wire, frame, returned| {
    returned.reply_text = ShortStr(b"NO_ROUTE - no queue");
    wire.replace(frame, returned);
});

on_method!(says_0_8, Connection connection::Start, |wire, frame, start| {
    start.version_minor = 8;
    wire.replace(frame, start);
});

on_method!(nameless_product, Connection connection::Start, |wire, frame, start| {
    let properties = without(start.server_properties, "product");
    start.server_properties = properties.view();
    wire.replace(frame, start);
});

on_method!(hides_a_capability, Connection connection::Start, |wire, frame, start| {
    let capabilities = start.server_properties.get("capabilities");
    let Some(Value::Table(capabilities)) = capabilities else {
        return wire.pass(frame);
    };
    let fewer = without(capabilities, "basic.nack");
    let others = start.server_properties.entries();
    let others = others.map(|(key, value)| match value {
        Value::Table(_) => (key, Value::Table(fewer.view())),
        other => (key, other),
    });
    let properties = TableBuf::from_raw_entries(others);
    start.server_properties = properties.view();
    wire.replace(frame, start);
});

on_method!(names_hosts, Connection connection::OpenOk, |wire, frame, open_ok| {
    open_ok.known_hosts = ShortStr(b"somewhere");
    wire.replace(frame, open_ok);
});

fn answers_no_close(wire: &mut Wire, frame: &Frame) {
    let is_answer = matches!(
        frame.method(),
        Some(Method::Connection(connection::Method::CloseOk(_)))
    );
    if !(is_answer && frame.from == From::Broker) {
        wire.pass(frame);
    }
}

on_method!(small_frames, Connection connection::Tune, |wire, frame, tune| {
    tune.frame_max /= 2;
    wire.replace(frame, tune);
});

fn beats_never(wire: &mut Wire, frame: &Frame) {
    let is_heartbeat = frame.kind == FRAME_HEARTBEAT;
    if !(is_heartbeat && frame.from == From::Broker) {
        wire.pass(frame);
    }
}

fn ignores_unknown_frames(wire: &mut Wire, frame: &Frame) {
    let is_known = [FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT].contains(&frame.kind);
    if is_known || frame.from == From::Broker {
        wire.pass(frame);
    }
}

fn ignores_odd_heartbeats(wire: &mut Wire, frame: &Frame) {
    let is_odd = frame.channel != 0 || !frame.payload.is_empty();
    if !(frame.kind == FRAME_HEARTBEAT && is_odd) {
        wire.pass(frame);
    }
}

fn repairs_headers(wire: &mut Wire, frame: &Frame) {
    if frame.from == From::Broker || frame.kind != FRAME_HEADER {
        return wire.pass(frame);
    }
    let mut repaired = frame.clone();
    let mut payload = frame.payload.to_vec();
    // The class and the weight are its first four bytes.
    if let Some(first) = payload.get_mut(..4) {
        first.copy_from_slice(&[0, 60, 0, 0]);
    }
    repaired.payload = payload.into();
    wire.pass(&repaired);
}

on_method!(lenient_tune, Connection connection::TuneOk, |wire, frame, tuned| {
    (tuned.channel_max, tuned.frame_max) = (2047, 131_072);
    wire.replace(frame, tuned);
});

/// Remembers by channel whether a method has announced content.
fn ignores_stray_headers(wire: &mut Wire, frame: &Frame) {
    let channel = u64::from(frame.channel);
    if frame.from == From::Broker {
        return wire.pass(frame);
    }
    if let Some(method) = frame.method() {
        wire.memory
            .insert(channel, u64::from(method.carries_content()));
    }
    let is_announced = wire.memory.get(&channel) == Some(&1);
    if frame.kind != FRAME_HEADER || is_announced {
        wire.pass(frame);
    }
}

fn widens_integers(wire: &mut Wire, frame: &Frame) {
    if !is_header_for_client(frame) {
        return wire.pass(frame);
    }
    wire.replace_headers(frame, |headers| {
        let wider = headers.entries().map(|(key, value)| match value {
            Value::I8(small) => (key, Value::I32(i32::from(small))),
            other => (key, other),
        });
        TableBuf::from_raw_entries(wider)
    });
}

fn sorts_headers(wire: &mut Wire, frame: &Frame) {
    match is_header_for_client(frame) {
        true => wire.replace_headers(frame, |headers| headers.to_owned().sorted()),
        false => wire.pass(frame),
    }
}

fn ignores_close_ok(wire: &mut Wire, frame: &Frame) {
    let is_close_ok = matches!(
        frame.method(),
        Some(Method::Channel(channel::Method::CloseOk(_)))
    );
    if !(is_close_ok && frame.from == From::Client) {
        wire.pass(frame);
    }
}

on_method!(contrary_flow, Channel channel::FlowOk, |wire, frame, flow| {
    flow.active = !flow.active;
    wire.replace(frame, flow);
});

on_method!(no_ticket, Access access::RequestOk, |wire, frame, granted| {
    granted.ticket = 0;
    wire.replace(frame, granted);
});
