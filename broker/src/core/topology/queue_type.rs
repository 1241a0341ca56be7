//! What a queue's type asks of its declaration and allows at its deletion (QQ-01, QQ-02, QQ-09), and
//! the type of queues that name none (QARG-35).
//!
//! What it is not: the checks of the arguments themselves (see
//! [`crate::core::queue::arguments`]).

use std::borrow::Cow;

use leveret_protocol::{Fault, ReplyCode, TableBuf, Value};

use super::{QueueDeclare, faults};
use crate::core::queue::DeleteConditions;
use crate::core::queue::arguments::{QUEUE_TYPE, QueueType};
use crate::core::queue_handle::QueueHandle;

/// True when a queue declared so can be of a type that keeps everything.
fn is_kept(request: &QueueDeclare<'_>) -> bool {
    request.durable && !request.exclusive && !request.auto_delete
}

/// The arguments with the vhost's type for queues, if they name none and a queue declared so can be of
/// that type (QARG-35). "Classic" need not be written down: it is what no type means (QARG-34).
pub(super) fn with_default_type<'a>(
    request: &QueueDeclare<'a>,
    default: QueueType,
) -> Cow<'a, TableBuf> {
    let arguments = request.arguments;
    let applies =
        default != QueueType::Classic && is_kept(request) && arguments.get(QUEUE_TYPE).is_none();
    let arguments = arguments.to_owned();
    Cow::Owned(match applies {
        true => arguments.with(QUEUE_TYPE, Value::LongStr(default.as_str().as_bytes())),
        false => arguments,
    })
}

/// A name of the server's own is for classic queues only (QQ-02).
///
/// # Errors
/// 406 for another type.
pub(super) fn check_server_named(queue_type: QueueType) -> Result<(), Fault> {
    if queue_type == QueueType::Classic {
        return Ok(());
    }
    let module = queue_type.module_name();
    let text = format!("Cannot declare a server-named queue for type {module}");
    Err(Fault::new(ReplyCode::PreconditionFailed, text))
}

/// Types that keep everything want it declared so (QQ-01).
///
/// # Errors
/// 406 for the first property that does not fit, in RabbitMQ's order.
pub(super) fn check_properties(
    request: &QueueDeclare<'_>,
    queue_type: QueueType,
    name: &str,
    vhost: &str,
) -> Result<(), Fault> {
    if queue_type == QueueType::Classic {
        return Ok(());
    }
    let properties = [
        ("auto-delete", request.auto_delete),
        ("exclusive-owner", request.exclusive),
        ("non-durable", !request.durable),
    ];
    let wrong = properties.into_iter().find(|(_, is_so)| *is_so);
    wrong.map_or(Ok(()), |(property, _)| {
        let queue = faults::queue(name, vhost);
        let text = format!("invalid property '{property}' for {queue}");
        Err(Fault::new(ReplyCode::PreconditionFailed, text))
    })
}

/// Quorum queues are deleted without conditions (QQ-09).
///
/// # Errors
/// 540 for a condition.
pub(in crate::core) fn check_delete_conditions(
    queue: &QueueHandle,
    conditions: DeleteConditions,
    vhost: &str,
) -> Result<(), Fault> {
    let flag = match (conditions.if_unused, conditions.if_empty) {
        (true, _) => "if-unused",
        (_, true) => "if-empty",
        _ => return Ok(()),
    };
    if queue.queue_type() != QueueType::Quorum {
        return Ok(());
    }
    let text = format!(
        "cannot delete {}. queue.delete operations with {flag} flag set are not supported by quorum \
         queues",
        faults::queue(queue.name(), vhost)
    );
    Err(Fault::new(ReplyCode::NotImplemented, text))
}
