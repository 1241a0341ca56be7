//! The faults of declarations, in RabbitMQ's words: clients match on them (ERR-08).
//!
//! None names the method to blame; whoever dispatched the method does ([`Fault::caused_by`]).

use leveret_protocol::{Fault, ReplyCode, Value};

/// A queue or exchange as it is called in every text.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    noun: &'static str,
    name: &'a str,
    vhost: &'a str,
}

pub(super) fn queue<'a>(name: &'a str, vhost: &'a str) -> Named<'a> {
    let noun = "queue";
    Named { noun, name, vhost }
}

pub(super) fn exchange<'a>(name: &'a str, vhost: &'a str) -> Named<'a> {
    let noun = "exchange";
    Named { noun, name, vhost }
}

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { noun, name, vhost } = self;
        write!(f, "{noun} '{name}' in vhost '{vhost}'")
    }
}

pub(super) fn missing(resource: Named<'_>) -> Fault {
    Fault::new(ReplyCode::NotFound, format!("no {resource}"))
}

pub(super) fn in_use(resource: Named<'_>) -> Fault {
    precondition_failed(format!("{resource} in use"))
}

pub(super) fn not_empty(resource: Named<'_>) -> Fault {
    precondition_failed(format!("{resource} not empty"))
}

pub(super) fn default_exchange() -> Fault {
    access_refused("operation not permitted on the default exchange".to_owned())
}

pub(super) fn reserved_name(noun: &str, name: &str) -> Fault {
    access_refused(format!(
        "{noun} name '{name}' contains reserved prefix 'amq.*'"
    ))
}

pub(super) fn system_exchange(resource: Named<'_>) -> Fault {
    access_refused(format!("deletion of system {resource} not allowed"))
}

pub(super) fn internal_exchange(resource: Named<'_>) -> Fault {
    access_refused(format!("cannot publish to internal {resource}"))
}

pub(in crate::core) fn unknown_exchange_type(name: &str) -> Fault {
    precondition_failed(format!("unknown exchange type '{name}'"))
}

pub(super) fn locked(resource: Named<'_>) -> Fault {
    Fault::new(
        ReplyCode::ResourceLocked,
        format!(
            "cannot obtain exclusive access to locked {resource}. It could be originally declared on \
             another connection or the exclusive property value does not match that of the original \
             declaration."
        ),
    )
}

pub(super) fn queue_limit(name: &str, vhost: &str, limit: usize) -> Fault {
    precondition_failed(format!(
        "cannot declare queue '{name}': queue limit in vhost '{vhost}' ({limit}) is reached"
    ))
}

pub(super) fn exchange_limit(name: &str, vhost: &str, limit: u32) -> Fault {
    precondition_failed(format!(
        "cannot declare exchange '{name}': exchange limit in vhost '{vhost}' ({limit}) is reached"
    ))
}

pub(super) fn binding_limit(vhost: &str, limit: u32) -> Fault {
    precondition_failed(format!(
        "cannot bind: binding limit in vhost '{vhost}' ({limit}) is reached"
    ))
}

/// The limit, if so many reach it.
pub(super) fn reached(limit: Option<u32>, count: usize) -> Option<u32> {
    limit.filter(|limit| count >= *limit as usize)
}

pub(super) fn invalid_argument_type(
    value: &Value<'_>,
    argument: &str,
    resource: Named<'_>,
) -> Fault {
    let found = value.type_name();
    precondition_failed(format!(
        "invalid type '{found}' for arg '{argument}' in {resource}"
    ))
}

/// Says that two declarations differ (EXCH-10..13, QUEUE-11, QUEUE-12).
pub(super) fn inequivalent(
    argument: &str,
    resource: Named<'_>,
    received: &str,
    current: &str,
) -> Fault {
    precondition_failed(format!(
        "inequivalent arg '{argument}' for {resource}: received '{received}' but current is '{current}'"
    ))
}

/// The fault of the first flag that differs, if one does.
pub(super) fn check_flags(resource: Named<'_>, flags: &[(&str, bool, bool)]) -> Result<(), Fault> {
    match flags
        .iter()
        .find(|(_, received, current)| received != current)
    {
        None => Ok(()),
        Some((argument, received, current)) => Err(inequivalent(
            argument,
            resource,
            &received.to_string(),
            &current.to_string(),
        )),
    }
}

fn precondition_failed(explanation: String) -> Fault {
    Fault::new(ReplyCode::PreconditionFailed, explanation)
}

fn access_refused(explanation: String) -> Fault {
    Fault::new(ReplyCode::AccessRefused, explanation)
}
