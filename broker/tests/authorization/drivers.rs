//! How a client of AMQP comes to each operation, and how somebody else sees whether it has happened.

use leveret::access::operation::Operation;
use leveret::core::permission::Part;
use leveret_protocol::method::{basic, confirm, exchange, queue};
use leveret_protocol::{Method, Properties, ShortStr, TableBuf, Value};

use crate::peer::{Outcome, Peer};
use crate::rights::{Case, KEY, Rights};

const REPLY_QUEUE: &str = "amq.rabbitmq.reply-to";

/// Whether there is a driver for it here. A new operation does not compile without an answer.
pub(crate) fn is_driven(operation: Operation) -> bool {
    use Operation::*;
    match operation {
        OpenVhost | DeclareExchange | CheckExchange | DeleteExchange | BindExchange
        | UnbindExchange | DeclareQueue | CheckQueue | DeleteQueue | BindQueue | UnbindQueue
        | PurgeQueue | Consume | Get | Publish | ConsumeReplies | CheckReplyQueue => true,
        UseManagement
        | SeeVhost
        | SeeTopology
        | SeeConnection
        | CloseConnection
        | SeeNodes
        | CheckHealth
        | SeeParameters
        | SetPolicy
        | ClearPolicy
        | ChangeParameter
        | ChangeGlobalParameter
        | ChangeOperatorPolicy
        | ChangeVhost
        | ChangeVhostLimits
        | SeeUsers
        | ChangeUser
        | ChangeUserLimits
        | ChangePermissions
        | ExportDefinitions
        | ImportDefinitions
        | ChangeBroker => false,
    }
}

/// Somebody who may do everything makes what the operation is about.
pub(crate) async fn set_up(owner: &mut Peer, case: &Case) {
    match case.operation {
        Operation::CheckExchange | Operation::DeleteExchange => {
            let name = case.name(Part::Exchange);
            declare_exchange(owner, &name, "direct").await;
        }
        Operation::BindExchange | Operation::UnbindExchange => {
            let destination = case.name(Part::DestinationExchange);
            declare_exchange(owner, &destination, "fanout").await;
            declare_exchange(owner, &case.name(Part::Source), source_kind(case)).await;
            if case.operation == Operation::UnbindExchange {
                let bound = bind_exchange(owner, case).await;
                assert_eq!(bound, Outcome::Allowed);
            }
        }
        Operation::BindQueue | Operation::UnbindQueue => {
            declare_queue(owner, case, Part::DestinationQueue).await;
            declare_exchange(owner, &case.name(Part::Source), source_kind(case)).await;
            if case.operation == Operation::UnbindQueue {
                let bound = bind_queue(owner, case).await;
                assert_eq!(bound, Outcome::Allowed);
            }
        }
        Operation::DeclareQueue if case.rights == Rights::NotOwner => {
            declare_queue(owner, case, Part::Queue).await;
        }
        Operation::CheckQueue | Operation::DeleteQueue | Operation::Consume => {
            declare_queue(owner, case, Part::Queue).await;
        }
        Operation::PurgeQueue | Operation::Get => {
            declare_queue(owner, case, Part::Queue).await;
            owner
                .call(confirm::Select::default(), confirm::SelectOk::ID)
                .await;
            let name = case.name(Part::Queue);
            let published = owner.publish("", &name, &Properties::default()).await;
            assert_eq!(published, Outcome::Allowed);
            owner.open_channel().await;
        }
        Operation::Publish => {
            let name = case.name(Part::Exchange);
            declare_exchange(owner, &name, source_kind(case)).await;
            let probe = probe(case);
            let declare = queue::Declare {
                queue: probe.as_str().into(),
                ..Default::default()
            };
            owner.call(declare, queue::DeclareOk::ID).await;
            let bind = queue::Bind {
                queue: probe.as_str().into(),
                exchange: name.as_str().into(),
                routing_key: KEY.into(),
                ..Default::default()
            };
            owner.call(bind, queue::BindOk::ID).await;
        }
        _ => {}
    }
}

/// The user asks for the operation.
pub(crate) async fn attempt(user: &mut Peer, case: &Case) -> Outcome {
    match case.operation {
        Operation::DeclareExchange => attempt_exchange(user, case).await,
        Operation::CheckExchange => {
            let name = case.name(Part::Exchange);
            let declare = exchange::Declare {
                exchange: name.as_str().into(),
                passive: true,
                ..Default::default()
            };
            user.ask(declare, exchange::DeclareOk::ID).await
        }
        Operation::DeleteExchange => {
            let name = case.name(Part::Exchange);
            let delete = exchange::Delete {
                exchange: name.as_str().into(),
                ..Default::default()
            };
            user.ask(delete, exchange::DeleteOk::ID).await
        }
        Operation::BindExchange => bind_exchange(user, case).await,
        Operation::UnbindExchange => unbind_exchange(user, case).await,
        Operation::DeclareQueue => attempt_queue(user, case).await,
        Operation::CheckQueue => check_queue(user, &case.name(Part::Queue)).await,
        Operation::DeleteQueue => {
            let name = case.name(Part::Queue);
            let delete = queue::Delete {
                queue: name.as_str().into(),
                ..Default::default()
            };
            user.ask(delete, queue::DeleteOk::ID).await
        }
        Operation::BindQueue => bind_queue(user, case).await,
        Operation::UnbindQueue => unbind_queue(user, case).await,
        Operation::PurgeQueue => {
            let name = case.name(Part::Queue);
            let purge = queue::Purge {
                queue: name.as_str().into(),
                ..Default::default()
            };
            user.ask(purge, queue::PurgeOk::ID).await
        }
        Operation::Consume => consume(user, &case.name(Part::Queue)).await,
        Operation::Get => {
            let name = case.name(Part::Queue);
            let get = basic::Get {
                queue: name.as_str().into(),
                ..Default::default()
            };
            user.ask(get, basic::GetOk::ID).await
        }
        Operation::Publish => attempt_publish(user, case).await,
        Operation::ConsumeReplies => consume(user, REPLY_QUEUE).await,
        Operation::CheckReplyQueue => check_queue(user, REPLY_QUEUE).await,
        other => panic!("{other:?} has no driver"),
    }
}

/// Whether the operation has changed anything, for those that would; only one of two must be true of
/// each: it was refused, or it happened.
pub(crate) async fn has_happened(owner: &mut Peer, case: &Case) -> Option<bool> {
    match case.operation {
        Operation::DeclareExchange => Some(exists(owner, &case.name(Part::Exchange)).await),
        Operation::DeleteExchange => Some(!exists(owner, &case.name(Part::Exchange)).await),
        Operation::BindExchange | Operation::BindQueue => Some(is_bound(owner, case).await),
        Operation::UnbindExchange | Operation::UnbindQueue => Some(!is_bound(owner, case).await),
        Operation::DeclareQueue if case.rights == Rights::NotOwner => None,
        Operation::DeclareQueue => Some(queue_exists(owner, case).await),
        Operation::DeleteQueue => Some(!queue_exists(owner, case).await),
        Operation::PurgeQueue | Operation::Get => {
            let name = case.name(Part::Queue);
            Some(count(owner, &name, |declared| declared.message_count).await == 0)
        }
        Operation::Consume => {
            let name = case.name(Part::Queue);
            Some(count(owner, &name, |declared| declared.consumer_count).await == 1)
        }
        Operation::Publish => {
            let probe = probe(case);
            Some(count(owner, &probe, |declared| declared.message_count).await == 1)
        }
        _ => None,
    }
}

/// A topic exchange asks about keys; others do not.
fn source_kind(case: &Case) -> &'static str {
    if case.is_whole { "topic" } else { "direct" }
}

fn probe(case: &Case) -> String {
    format!("probe-{}", case.number)
}

async fn declare_exchange(peer: &mut Peer, name: &str, kind: &str) {
    let declare = exchange::Declare {
        exchange: name.into(),
        kind: kind.into(),
        ..Default::default()
    };
    peer.call(declare, exchange::DeclareOk::ID).await;
}

/// It is exclusive where the user is not to be its owner.
async fn declare_queue(owner: &mut Peer, case: &Case, part: Part) {
    let name = case.name(part);
    let declare = queue::Declare {
        queue: name.as_str().into(),
        exclusive: case.rights == Rights::NotOwner,
        ..Default::default()
    };
    owner.call(declare, queue::DeclareOk::ID).await;
}

async fn attempt_exchange(user: &mut Peer, case: &Case) -> Outcome {
    let name = case.name(Part::Exchange);
    let arguments = argument(case, "alternate-exchange", Part::AlternateExchange);
    let declare = exchange::Declare {
        exchange: name.as_str().into(),
        kind: "direct".into(),
        arguments: arguments.view(),
        ..Default::default()
    };
    user.ask(declare, exchange::DeclareOk::ID).await
}

async fn attempt_queue(user: &mut Peer, case: &Case) -> Outcome {
    let name = case.name(Part::Queue);
    let arguments = argument(case, "x-dead-letter-exchange", Part::DeadLetterExchange);
    let declare = queue::Declare {
        queue: name.as_str().into(),
        arguments: arguments.view(),
        ..Default::default()
    };
    user.ask(declare, queue::DeclareOk::ID).await
}

fn argument(case: &Case, name: &str, part: Part) -> TableBuf {
    match case.is_whole {
        true => TableBuf::new().with(name, Value::LongStr(case.name(part).as_bytes())),
        false => TableBuf::new(),
    }
}

async fn attempt_publish(user: &mut Peer, case: &Case) -> Outcome {
    user.call(confirm::Select::default(), confirm::SelectOk::ID)
        .await;
    let own = case.user();
    let claimed = match case.rights {
        Rights::AnotherName | Rights::Impersonator => "owner",
        _ => &own,
    };
    let properties = Properties {
        user_id: Some(claimed.into()),
        ..Default::default()
    };
    let name = case.name(Part::Exchange);
    user.publish(&name, KEY, &properties).await
}

async fn consume(user: &mut Peer, name: &str) -> Outcome {
    let consume = basic::Consume {
        queue: name.into(),
        no_ack: true,
        ..Default::default()
    };
    user.ask(consume, basic::ConsumeOk::ID).await
}

async fn bind_exchange(peer: &mut Peer, case: &Case) -> Outcome {
    let (source, destination) = (
        case.name(Part::Source),
        case.name(Part::DestinationExchange),
    );
    let bind = exchange::Bind {
        source: source.as_str().into(),
        destination: destination.as_str().into(),
        routing_key: KEY.into(),
        ..Default::default()
    };
    peer.ask(bind, exchange::BindOk::ID).await
}

async fn unbind_exchange(peer: &mut Peer, case: &Case) -> Outcome {
    let (source, destination) = (
        case.name(Part::Source),
        case.name(Part::DestinationExchange),
    );
    let unbind = exchange::Unbind {
        source: source.as_str().into(),
        destination: destination.as_str().into(),
        routing_key: KEY.into(),
        ..Default::default()
    };
    peer.ask(unbind, exchange::UnbindOk::ID).await
}

async fn bind_queue(peer: &mut Peer, case: &Case) -> Outcome {
    let (source, destination) = (case.name(Part::Source), case.name(Part::DestinationQueue));
    let bind = queue::Bind {
        exchange: source.as_str().into(),
        queue: destination.as_str().into(),
        routing_key: KEY.into(),
        ..Default::default()
    };
    peer.ask(bind, queue::BindOk::ID).await
}

async fn unbind_queue(peer: &mut Peer, case: &Case) -> Outcome {
    let (source, destination) = (case.name(Part::Source), case.name(Part::DestinationQueue));
    let unbind = queue::Unbind {
        exchange: source.as_str().into(),
        queue: destination.as_str().into(),
        routing_key: KEY.into(),
        ..Default::default()
    };
    peer.ask(unbind, queue::UnbindOk::ID).await
}

async fn check_queue(peer: &mut Peer, name: &str) -> Outcome {
    peer.ask(passive(name), queue::DeclareOk::ID).await
}

fn passive(name: &str) -> queue::Declare<'_> {
    queue::Declare {
        queue: ShortStr::from(name),
        passive: true,
        ..Default::default()
    }
}

async fn exists(owner: &mut Peer, exchange: &str) -> bool {
    let declare = exchange::Declare {
        exchange: exchange.into(),
        passive: true,
        ..Default::default()
    };
    owner.ask(declare, exchange::DeclareOk::ID).await == Outcome::Allowed
}

async fn queue_exists(owner: &mut Peer, case: &Case) -> bool {
    check_queue(owner, &case.name(Part::Queue)).await == Outcome::Allowed
}

/// An exchange that is in use is not deleted.
async fn is_bound(owner: &mut Peer, case: &Case) -> bool {
    let source = case.name(Part::Source);
    let delete = exchange::Delete {
        exchange: source.as_str().into(),
        if_unused: true,
        ..Default::default()
    };
    owner.ask(delete, exchange::DeleteOk::ID).await != Outcome::Allowed
}

async fn count(owner: &mut Peer, queue: &str, which: fn(&queue::DeclareOk<'_>) -> u32) -> u32 {
    let read = |method: Method<'_>| match method {
        Method::Queue(queue::Method::DeclareOk(declared)) => which(&declared),
        other => panic!("{other:?}"),
    };
    owner.count(passive(queue), read).await
}
