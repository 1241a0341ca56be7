//! The tests, one file (or folder) per section.
//!
//! A test is one function and one line in its file's list; the README says how to write one.

use crate::registry::Section;

/// Registers a file's tests as its `RULES`, one row each. Rows are not touched by rustfmt; keep them
/// within 100 columns.
///
/// ```text
/// rules! {
///     "EXCH-05" name_of_the_function "The rule in one line.";
///     "PROTO-07" half_a_header [raw, slow(20)] "What stands in brackets are methods of `Rule`.";
///     "EXCH-30" untestable "The rule." "Why it cannot be shown from outside.";
/// }
/// ```
macro_rules! rules {
    ($(
        $id:literal $test:ident $([$($option:ident $(($value:expr))?),+])?
        $rule:literal $($reason:literal)?;
    )*) => {
        pub(crate) const RULES: &[$crate::registry::Rule] = &[
            $(rule!($id $test [$($(.$option($($value)?))+)?] $rule $($reason)?)),*
        ];
    };
}

/// One row of [`rules`].
macro_rules! rule {
    ($id:literal untestable [] $rule:literal $reason:literal) => {
        $crate::registry::Rule::untestable($id, $rule, $reason)
    };
    ($id:literal $test:ident [$($options:tt)*] $rule:literal) => {
        $crate::registry::Rule::test($id, stringify!($test), $rule, |trial| {
            Box::pin($test(trial))
        })
        $($options)*
    };
}

/// Names the ways in which brokers follow a rule, for rows with `variants(&[LIST])` and for profiles.
///
/// ```text
/// variants! { LONG_TEXTS: "ERR-03" {
///     CUT_TO_252 "cut-to-252-bytes" "A long text is cut to 252 bytes and three dots.";
///     CUT_BY_FORMATTER "cut-by-formatter" "… somewhere before its 256th character.";
/// } }
/// ```
macro_rules! variants {
    ($(#[$doc:meta])* $vis:vis $list:ident: $id:literal {
        $($variant:ident $name:literal $behaviour:literal;)+
    }) => {
        $($vis const $variant: $crate::profile::Variant = $crate::profile::Variant {
            id: $id,
            name: $name,
            behaviour: $behaviour,
        };)+
        $(#[$doc])*
        $vis const $list: &[$crate::profile::Variant] = &[$($variant),+];
    };
}

mod access;
mod ack;
mod alternate_exchange;
mod auto_delete;
mod basic_return;
mod bind;
mod broker_clock;
mod cancel;
mod channel;
mod confirm;
mod connection;
mod consume;
mod consumer_priority;
mod dead_letter;
mod delivery;
mod direct_reply_to;
mod durability;
mod errors;
mod exchange;
mod exclusive;
mod flow;
mod frame;
mod get;
mod headers;
mod heartbeat;
mod length;
mod permission;
mod policy;
mod priority;
mod protocol_header;
mod publish;
mod qos;
mod queue;
mod queue_arguments;
mod queue_expiry;
mod quorum;
mod recover;
mod route;
mod routing;
mod single_active;
mod stream;
mod table;
mod topic;
mod transaction;
mod ttl;
mod tune;

/// Every section, in the order of the list of IDs.
pub(crate) const SECTIONS: &[Section] = &[
    errors::SECTION,
    protocol_header::SECTION,
    connection::SECTION,
    tune::SECTION,
    heartbeat::SECTION,
    frame::SECTION,
    table::SECTION,
    channel::SECTION,
    exchange::SECTION,
    alternate_exchange::SECTION,
    bind::SECTION,
    route::SECTION,
    topic::SECTION,
    headers::SECTION,
    queue::SECTION,
    exclusive::SECTION,
    auto_delete::SECTION,
    queue_arguments::SECTION,
    publish::SECTION,
    basic_return::SECTION,
    get::SECTION,
    consume::SECTION,
    cancel::SECTION,
    delivery::SECTION,
    ack::SECTION,
    recover::SECTION,
    qos::SECTION,
    confirm::SECTION,
    transaction::SECTION,
    direct_reply_to::SECTION,
    dead_letter::SECTION,
    ttl::SECTION,
    queue_expiry::SECTION,
    length::SECTION,
    priority::SECTION,
    consumer_priority::SECTION,
    single_active::SECTION,
    flow::SECTION,
    permission::SECTION,
    durability::SECTION,
    quorum::SECTION,
    stream::SECTION,
    policy::SECTION,
];
