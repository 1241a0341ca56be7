//! Which requests of which front end come to which operations.
//!
//! Requests that come to none need no right: what they touch is the connection's own (a delivery it was
//! given, a consumer it has started), or only a server sends them. Those of front ends that are still to
//! come are told of beforehand, so that none of them can be built without its row.
//!
//! What it is not: a parser or a router of requests. It does not say when a request comes to an operation:
//! `queue.declare` asks for one of two, by its bit `passive`.
//!
//! Invariants: every method of AMQP 0-9-1 has one row. A row of the management API begins with what takes a
//! tag.

use leveret_protocol::MethodId;
use leveret_protocol::method::{access, basic, channel, confirm, connection, exchange, queue, tx};

use super::operation::Operation::{self, *};

/// The methods of AMQP 0-9-1, in the order of their numbers.
pub const AMQP: &[(MethodId, &[Operation])] = &[
    (connection::Start::ID, &[]),
    (connection::StartOk::ID, &[]),
    (connection::Secure::ID, &[]),
    (connection::SecureOk::ID, &[]),
    (connection::Tune::ID, &[]),
    (connection::TuneOk::ID, &[]),
    (connection::Open::ID, &[OpenVhost]),
    (connection::OpenOk::ID, &[]),
    (connection::Close::ID, &[]),
    (connection::CloseOk::ID, &[]),
    (connection::Blocked::ID, &[]),
    (connection::Unblocked::ID, &[]),
    (connection::UpdateSecret::ID, &[]),
    (connection::UpdateSecretOk::ID, &[]),
    (channel::Open::ID, &[]),
    (channel::OpenOk::ID, &[]),
    (channel::Flow::ID, &[]),
    (channel::FlowOk::ID, &[]),
    (channel::Close::ID, &[]),
    (channel::CloseOk::ID, &[]),
    (access::Request::ID, &[]),
    (access::RequestOk::ID, &[]),
    (exchange::Declare::ID, &[DeclareExchange, CheckExchange]),
    (exchange::DeclareOk::ID, &[]),
    (exchange::Delete::ID, &[DeleteExchange]),
    (exchange::DeleteOk::ID, &[]),
    (exchange::Bind::ID, &[BindExchange]),
    (exchange::BindOk::ID, &[]),
    (exchange::Unbind::ID, &[UnbindExchange]),
    (exchange::UnbindOk::ID, &[]),
    (
        queue::Declare::ID,
        &[DeclareQueue, CheckQueue, CheckReplyQueue],
    ),
    (queue::DeclareOk::ID, &[]),
    (queue::Bind::ID, &[BindQueue]),
    (queue::BindOk::ID, &[]),
    (queue::Purge::ID, &[PurgeQueue]),
    (queue::PurgeOk::ID, &[]),
    (queue::Delete::ID, &[DeleteQueue]),
    (queue::DeleteOk::ID, &[]),
    (queue::Unbind::ID, &[UnbindQueue]),
    (queue::UnbindOk::ID, &[]),
    (basic::Qos::ID, &[]),
    (basic::QosOk::ID, &[]),
    (basic::Consume::ID, &[Consume, ConsumeReplies]),
    (basic::ConsumeOk::ID, &[]),
    (basic::Cancel::ID, &[]),
    (basic::CancelOk::ID, &[]),
    (basic::Publish::ID, &[Publish]),
    (basic::Return::ID, &[]),
    (basic::Deliver::ID, &[]),
    (basic::Get::ID, &[Get]),
    (basic::GetOk::ID, &[]),
    (basic::GetEmpty::ID, &[]),
    (basic::Ack::ID, &[]),
    (basic::Reject::ID, &[]),
    (basic::RecoverAsync::ID, &[]),
    (basic::Recover::ID, &[]),
    (basic::RecoverOk::ID, &[]),
    (basic::Nack::ID, &[]),
    (confirm::Select::ID, &[]),
    (confirm::SelectOk::ID, &[]),
    (tx::Select::ID, &[]),
    (tx::SelectOk::ID, &[]),
    (tx::Commit::ID, &[]),
    (tx::CommitOk::ID, &[]),
    (tx::Rollback::ID, &[]),
    (tx::RollbackOk::ID, &[]),
];

/// Requests of the management API, which is still to come: method and path, and all that they ask for, in
/// this order. A list is first asked for as such, and then each entry that it would show.
pub const MANAGEMENT: &[(&str, &[Operation])] = &[
    ("GET /api/overview", &[UseManagement]),
    ("GET /api/whoami", &[UseManagement]),
    ("GET /api/extensions", &[UseManagement]),
    ("GET /api/cluster-name", &[UseManagement]),
    ("PUT /api/cluster-name", &[ChangeBroker]),
    ("GET /api/nodes", &[SeeNodes]),
    ("GET /api/nodes/{node}", &[SeeNodes]),
    ("GET /api/nodes/{node}/memory", &[SeeNodes]),
    ("GET /api/feature-flags", &[ChangeBroker]),
    ("PUT /api/feature-flags/{name}/enable", &[ChangeBroker]),
    ("DELETE /api/reset", &[ChangeBroker]),
    ("GET /api/health/checks/{check}", &[CheckHealth]),
    (
        "GET /api/aliveness-test/{vhost}",
        &[UseManagement, DeclareQueue, Publish, Get],
    ),
    ("GET /api/definitions", &[ExportDefinitions]),
    ("POST /api/definitions", &[ImportDefinitions]),
    ("GET /api/definitions/{vhost}", &[ExportDefinitions]),
    ("POST /api/definitions/{vhost}", &[ImportDefinitions]),
    ("GET /api/vhosts", &[UseManagement, SeeVhost]),
    ("GET /api/vhosts/{vhost}", &[SeeVhost]),
    ("PUT /api/vhosts/{vhost}", &[ChangeVhost]),
    ("DELETE /api/vhosts/{vhost}", &[ChangeVhost]),
    ("GET /api/vhosts/{vhost}/permissions", &[SeeUsers]),
    ("GET /api/vhosts/{vhost}/topic-permissions", &[SeeUsers]),
    (
        "GET /api/vhosts/{vhost}/connections",
        &[SeeTopology, SeeConnection],
    ),
    (
        "GET /api/vhosts/{vhost}/channels",
        &[SeeTopology, SeeConnection],
    ),
    ("GET /api/vhost-limits", &[UseManagement, SeeVhost]),
    ("GET /api/vhost-limits/{vhost}", &[SeeVhost]),
    ("PUT /api/vhost-limits/{vhost}/{name}", &[ChangeVhostLimits]),
    (
        "DELETE /api/vhost-limits/{vhost}/{name}",
        &[ChangeVhostLimits],
    ),
    ("GET /api/users", &[SeeUsers]),
    ("POST /api/users/bulk-delete", &[ChangeUser]),
    ("GET /api/users/without-permissions", &[SeeUsers]),
    ("GET /api/users/{user}", &[SeeUsers]),
    ("PUT /api/users/{user}", &[ChangeUser]),
    ("DELETE /api/users/{user}", &[ChangeUser]),
    ("GET /api/users/{user}/permissions", &[SeeUsers]),
    ("GET /api/users/{user}/topic-permissions", &[SeeUsers]),
    ("GET /api/user-limits", &[UseManagement]),
    ("GET /api/user-limits/{user}", &[UseManagement]),
    ("PUT /api/user-limits/{user}/{name}", &[ChangeUserLimits]),
    ("DELETE /api/user-limits/{user}/{name}", &[ChangeUserLimits]),
    ("GET /api/permissions", &[SeeUsers]),
    ("GET /api/permissions/{vhost}/{user}", &[SeeUsers]),
    ("PUT /api/permissions/{vhost}/{user}", &[ChangePermissions]),
    (
        "DELETE /api/permissions/{vhost}/{user}",
        &[ChangePermissions],
    ),
    ("GET /api/topic-permissions", &[SeeUsers]),
    ("GET /api/topic-permissions/{vhost}/{user}", &[SeeUsers]),
    (
        "PUT /api/topic-permissions/{vhost}/{user}",
        &[ChangePermissions],
    ),
    (
        "DELETE /api/topic-permissions/{vhost}/{user}",
        &[ChangePermissions],
    ),
    ("GET /api/connections", &[UseManagement, SeeConnection]),
    ("GET /api/connections/{name}", &[SeeConnection]),
    ("GET /api/connections/{name}/channels", &[SeeConnection]),
    ("GET /api/connections/username/{user}", &[SeeConnection]),
    ("DELETE /api/connections/{name}", &[CloseConnection]),
    (
        "DELETE /api/connections/username/{user}",
        &[CloseConnection],
    ),
    ("GET /api/channels", &[UseManagement, SeeConnection]),
    ("GET /api/channels/{channel}", &[SeeConnection]),
    ("GET /api/consumers", &[UseManagement, SeeTopology]),
    ("GET /api/consumers/{vhost}", &[UseManagement, SeeTopology]),
    ("GET /api/exchanges", &[UseManagement, SeeTopology]),
    ("GET /api/exchanges/{vhost}", &[SeeTopology]),
    ("GET /api/exchanges/{vhost}/{name}", &[SeeTopology]),
    (
        "PUT /api/exchanges/{vhost}/{name}",
        &[UseManagement, DeclareExchange],
    ),
    (
        "DELETE /api/exchanges/{vhost}/{name}",
        &[UseManagement, DeleteExchange],
    ),
    (
        "POST /api/exchanges/{vhost}/{name}/publish",
        &[UseManagement, Publish],
    ),
    (
        "GET /api/exchanges/{vhost}/{name}/bindings/{end}",
        &[SeeTopology],
    ),
    ("GET /api/queues", &[UseManagement, SeeTopology]),
    ("GET /api/queues/{vhost}", &[SeeTopology]),
    ("GET /api/queues/{vhost}/{name}", &[SeeTopology]),
    (
        "PUT /api/queues/{vhost}/{name}",
        &[UseManagement, DeclareQueue],
    ),
    (
        "DELETE /api/queues/{vhost}/{name}",
        &[UseManagement, DeleteQueue],
    ),
    (
        "DELETE /api/queues/{vhost}/{name}/contents",
        &[UseManagement, PurgeQueue],
    ),
    ("POST /api/queues/{vhost}/{name}/get", &[UseManagement, Get]),
    ("GET /api/queues/{vhost}/{name}/bindings", &[SeeTopology]),
    ("GET /api/bindings", &[UseManagement, SeeTopology]),
    ("GET /api/bindings/{vhost}", &[SeeTopology]),
    (
        "GET /api/bindings/{vhost}/e/{source}/q/{queue}",
        &[SeeTopology],
    ),
    (
        "POST /api/bindings/{vhost}/e/{source}/q/{queue}",
        &[UseManagement, BindQueue],
    ),
    (
        "DELETE /api/bindings/{vhost}/e/{source}/q/{queue}/{key}",
        &[UseManagement, UnbindQueue],
    ),
    (
        "POST /api/bindings/{vhost}/e/{source}/e/{exchange}",
        &[UseManagement, BindExchange],
    ),
    (
        "DELETE /api/bindings/{vhost}/e/{source}/e/{exchange}/{key}",
        &[UseManagement, UnbindExchange],
    ),
    ("GET /api/policies", &[UseManagement, SeeTopology]),
    ("GET /api/policies/{vhost}", &[SeeTopology]),
    ("GET /api/policies/{vhost}/{name}", &[SeeTopology]),
    ("PUT /api/policies/{vhost}/{name}", &[SetPolicy]),
    ("DELETE /api/policies/{vhost}/{name}", &[ClearPolicy]),
    ("GET /api/operator-policies", &[UseManagement, SeeTopology]),
    ("GET /api/operator-policies/{vhost}", &[SeeTopology]),
    (
        "PUT /api/operator-policies/{vhost}/{name}",
        &[ChangeOperatorPolicy],
    ),
    (
        "DELETE /api/operator-policies/{vhost}/{name}",
        &[ChangeOperatorPolicy],
    ),
    ("GET /api/parameters", &[UseManagement, SeeParameters]),
    ("GET /api/parameters/{component}/{vhost}", &[SeeParameters]),
    (
        "PUT /api/parameters/{component}/{vhost}/{name}",
        &[ChangeParameter],
    ),
    (
        "DELETE /api/parameters/{component}/{vhost}/{name}",
        &[ChangeParameter],
    ),
    ("GET /api/global-parameters", &[ChangeGlobalParameter]),
    (
        "PUT /api/global-parameters/{name}",
        &[ChangeGlobalParameter],
    ),
    (
        "DELETE /api/global-parameters/{name}",
        &[ChangeGlobalParameter],
    ),
];

/// Packets and frames of other protocols that are still to come. All that they ask for, in this order.
pub const OTHER_PROTOCOLS: &[(&str, &[Operation])] = &[
    ("MQTT CONNECT", &[OpenVhost]),
    ("MQTT PUBLISH", &[Publish]),
    ("MQTT SUBSCRIBE", &[DeclareQueue, BindQueue, Consume]),
    ("MQTT UNSUBSCRIBE", &[UnbindQueue]),
    ("MQTT will message", &[Publish]),
    ("STOMP CONNECT", &[OpenVhost]),
    ("STOMP SEND", &[DeclareQueue, Publish]),
    ("STOMP SUBSCRIBE", &[DeclareQueue, BindQueue, Consume]),
    ("AMQP 1.0 open", &[OpenVhost]),
    ("AMQP 1.0 attach to a target", &[Publish]),
    ("AMQP 1.0 transfer", &[Publish]),
    ("AMQP 1.0 attach to a source", &[Consume]),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use leveret_protocol::Malformed;
    use leveret_protocol::Method;

    use super::*;
    use crate::access::operation::Need;

    /// Whether the protocol has a method of these numbers.
    fn is_method(class_id: u16, method_id: u16) -> bool {
        let mut payload = Vec::new();
        payload.extend(class_id.to_be_bytes());
        payload.extend(method_id.to_be_bytes());
        !matches!(
            Method::parse(&payload),
            Err(Malformed::UnknownMethod { .. })
        )
    }

    #[test]
    fn every_method_of_the_protocol_has_one_row() {
        let mut there_are = Vec::new();
        for class_id in 0..=300 {
            let ids = (0..=300).filter(|method_id| is_method(class_id, *method_id));
            there_are.extend(ids.map(|method_id| (class_id, method_id)));
        }
        let rows = AMQP.iter().map(|(id, _)| (id.class_id, id.method_id));
        let mut rows: Vec<_> = rows.collect();
        rows.sort_unstable();
        assert!(there_are.len() > 60, "{there_are:?}");
        assert_eq!(rows, there_are);
    }

    #[test]
    fn every_operation_is_asked_for_by_somebody() {
        let amqp = AMQP.iter().map(|(_, asked)| *asked);
        let others = MANAGEMENT.iter().chain(OTHER_PROTOCOLS);
        let asked: Vec<_> = amqp
            .chain(others.map(|(_, asked)| *asked))
            .flatten()
            .collect();
        for operation in Operation::ALL {
            assert!(asked.contains(&operation), "{operation:?}");
        }
    }

    #[test]
    fn attack_63_every_request_of_the_management_api_takes_a_tag_first() {
        for (request, asked) in MANAGEMENT {
            let first = asked.first().unwrap().needs().first();
            assert!(matches!(first, Some(Need::Tag(_))), "{request}");
        }
    }
}
