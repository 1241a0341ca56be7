//! Every class and method of AMQP 0-9-1 as RabbitMQ speaks it, as one table.
//!
//! ```text
//! class module<'a> Variant = class-id {
//!     Name<'a> = method-id { field: type, [bit, bit] field: type, }
//! }
//! ```
//!
//! `<'a>` stands where arguments borrow from the frame. A row in brackets is one octet of bits,
//! lowest first. Fields that the specification reserves keep their historical names (`ticket`,
//! `out_of_band`): they are sent as zero or empty and ignored on receipt (CHAN-18).
//!
//! Source: `amqp0-9-1.xml` and the extensions of RabbitMQ's grammar.

use crate::method::macros::methods;
use crate::parse::{self, Malformed};
use crate::reply::MethodId;
use bytes::BufMut;

methods! {
    /// Class 10: the connection.
    class connection<'a> Connection = 10 {
        /// Server to client: version, identity and mechanisms.
        Start<'a> = 10 { version_major: u8, version_minor: u8, server_properties: Table<'a>, mechanisms: LongStr<'a>, locales: LongStr<'a>, }
        /// Client to server: who it is and its login.
        StartOk<'a> = 11 { client_properties: Table<'a>, mechanism: ShortStr<'a>, response: LongStr<'a>, locale: ShortStr<'a>, }
        /// Server to client: the next step of a login in several steps.
        Secure<'a> = 20 { challenge: LongStr<'a>, }
        /// Client to server: the answer to a challenge.
        SecureOk<'a> = 21 { response: LongStr<'a>, }
        /// Server to client: the limits it offers.
        Tune = 30 { channel_max: u16, frame_max: u32, heartbeat: u16, }
        /// Client to server: the limits it takes.
        TuneOk = 31 { channel_max: u16, frame_max: u32, heartbeat: u16, }
        /// Client to server: which vhost.
        Open<'a> = 40 { virtual_host: ShortStr<'a>, capabilities: ShortStr<'a>, [insist] }
        /// Server to client: the connection runs.
        OpenOk<'a> = 41 { known_hosts: ShortStr<'a>, }
        /// Either way: the connection ends, and why.
        Close<'a> = 50 { reply_code: u16, reply_text: ShortStr<'a>, class_id: u16, method_id: u16, }
        /// Either way: the end is agreed.
        CloseOk = 51 { }
        /// Server to client: publishing is held up.
        Blocked<'a> = 60 { reason: ShortStr<'a>, }
        /// Server to client: publishing goes on.
        Unblocked = 61 { }
        /// Client to server: a fresh secret for a login that expires.
        UpdateSecret<'a> = 70 { new_secret: LongStr<'a>, reason: ShortStr<'a>, }
        /// Server to client: the fresh secret is taken.
        UpdateSecretOk = 71 { }
    }

    /// Class 20: channels.
    class channel<'a> Channel = 20 {
        /// Client to server: open this channel number.
        Open<'a> = 10 { out_of_band: ShortStr<'a>, }
        /// Server to client: it is open.
        OpenOk<'a> = 11 { channel_id: LongStr<'a>, }
        /// Either way: stop or resume content.
        Flow = 20 { [active] }
        /// The answer to a flow request.
        FlowOk = 21 { [active] }
        /// Either way: the channel ends, and why.
        Close<'a> = 40 { reply_code: u16, reply_text: ShortStr<'a>, class_id: u16, method_id: u16, }
        /// The end is agreed.
        CloseOk = 41 { }
    }

    /// Class 30: a leftover of 0-8 that is still answered (CHAN-18).
    class access<'a> Access = 30 {
        /// Client to server.
        Request<'a> = 10 { realm: ShortStr<'a>, [exclusive, passive, active, write, read] }
        /// Server to client.
        RequestOk = 11 { ticket: u16, }
    }

    /// Class 40: exchanges.
    class exchange<'a> Exchange = 40 {
        /// Client to server: create or check.
        Declare<'a> = 10 { ticket: u16, exchange: ShortStr<'a>, kind: ShortStr<'a>, [passive, durable, auto_delete, internal, nowait] arguments: Table<'a>, }
        /// Server to client.
        DeclareOk = 11 { }
        /// Client to server.
        Delete<'a> = 20 { ticket: u16, exchange: ShortStr<'a>, [if_unused, nowait] }
        /// Server to client.
        DeleteOk = 21 { }
        /// Client to server: route from one exchange to another.
        Bind<'a> = 30 { ticket: u16, destination: ShortStr<'a>, source: ShortStr<'a>, routing_key: ShortStr<'a>, [nowait] arguments: Table<'a>, }
        /// Server to client.
        BindOk = 31 { }
        /// Client to server.
        Unbind<'a> = 40 { ticket: u16, destination: ShortStr<'a>, source: ShortStr<'a>, routing_key: ShortStr<'a>, [nowait] arguments: Table<'a>, }
        /// Server to client; its number is 51, not 41.
        UnbindOk = 51 { }
    }

    /// Class 50: queues.
    class queue<'a> Queue = 50 {
        /// Client to server: create or check.
        Declare<'a> = 10 { ticket: u16, queue: ShortStr<'a>, [passive, durable, exclusive, auto_delete, nowait] arguments: Table<'a>, }
        /// Server to client.
        DeclareOk<'a> = 11 { queue: ShortStr<'a>, message_count: u32, consumer_count: u32, }
        /// Client to server.
        Bind<'a> = 20 { ticket: u16, queue: ShortStr<'a>, exchange: ShortStr<'a>, routing_key: ShortStr<'a>, [nowait] arguments: Table<'a>, }
        /// Server to client.
        BindOk = 21 { }
        /// Client to server.
        Purge<'a> = 30 { ticket: u16, queue: ShortStr<'a>, [nowait] }
        /// Server to client.
        PurgeOk = 31 { message_count: u32, }
        /// Client to server.
        Delete<'a> = 40 { ticket: u16, queue: ShortStr<'a>, [if_unused, if_empty, nowait] }
        /// Server to client.
        DeleteOk = 41 { message_count: u32, }
        /// Client to server; it has no nowait bit.
        Unbind<'a> = 50 { ticket: u16, queue: ShortStr<'a>, exchange: ShortStr<'a>, routing_key: ShortStr<'a>, arguments: Table<'a>, }
        /// Server to client.
        UnbindOk = 51 { }
    }

    /// Class 60: messages.
    class basic<'a> Basic = 60 {
        /// Client to server: how much may be unsettled.
        Qos = 10 { prefetch_size: u32, prefetch_count: u16, [global] }
        /// Server to client.
        QosOk = 11 { }
        /// Client to server: start a consumer.
        Consume<'a> = 20 { ticket: u16, queue: ShortStr<'a>, consumer_tag: ShortStr<'a>, [no_local, no_ack, exclusive, nowait] arguments: Table<'a>, }
        /// Server to client.
        ConsumeOk<'a> = 21 { consumer_tag: ShortStr<'a>, }
        /// Either way: end a consumer.
        Cancel<'a> = 30 { consumer_tag: ShortStr<'a>, [nowait] }
        /// The answer to a cancel.
        CancelOk<'a> = 31 { consumer_tag: ShortStr<'a>, }
        /// Client to server, followed by content.
        Publish<'a> = 40 { ticket: u16, exchange: ShortStr<'a>, routing_key: ShortStr<'a>, [mandatory, immediate] }
        /// Server to client, followed by content: a message that could not be routed.
        Return<'a> = 50 { reply_code: u16, reply_text: ShortStr<'a>, exchange: ShortStr<'a>, routing_key: ShortStr<'a>, }
        /// Server to client, followed by content.
        Deliver<'a> = 60 { consumer_tag: ShortStr<'a>, delivery_tag: u64, [redelivered] exchange: ShortStr<'a>, routing_key: ShortStr<'a>, }
        /// Client to server: fetch one message.
        Get<'a> = 70 { ticket: u16, queue: ShortStr<'a>, [no_ack] }
        /// Server to client, followed by content.
        GetOk<'a> = 71 { delivery_tag: u64, [redelivered] exchange: ShortStr<'a>, routing_key: ShortStr<'a>, message_count: u32, }
        /// Server to client: there is nothing to get.
        GetEmpty<'a> = 72 { cluster_id: ShortStr<'a>, }
        /// Either way: settled, or confirmed.
        Ack = 80 { delivery_tag: u64, [multiple] }
        /// Client to server.
        Reject = 90 { delivery_tag: u64, [requeue] }
        /// Client to server: recover without an answer.
        RecoverAsync = 100 { [requeue] }
        /// Client to server: requeue all that is unsettled.
        Recover = 110 { [requeue] }
        /// Server to client.
        RecoverOk = 111 { }
        /// Either way: refused, or not confirmed.
        Nack = 120 { delivery_tag: u64, [multiple, requeue] }
    }

    /// Class 85: publisher confirms.
    class confirm Confirm = 85 {
        /// Client to server.
        Select = 10 { [nowait] }
        /// Server to client.
        SelectOk = 11 { }
    }

    /// Class 90: transactions.
    class tx Tx = 90 {
        /// Client to server.
        Select = 10 { }
        /// Server to client.
        SelectOk = 11 { }
        /// Client to server.
        Commit = 20 { }
        /// Server to client.
        CommitOk = 21 { }
        /// Client to server.
        Rollback = 30 { }
        /// Server to client.
        RollbackOk = 31 { }
    }
}
