//! Flow, methods in the wrong direction, and the order in which a channel works.

use leveret_protocol::method::{access, basic, channel, confirm, exchange, queue, tx};
use leveret_protocol::{Method, MethodId};

use super::{close_request, get};
use crate::failure::{Failure, expect_eq};
use crate::raw::durable_queue;
use crate::trial::Trial;

rules! {
    "CHAN-10" unexpected_close_ok [raw] "A close-ok to no close is 503.";
    "CHAN-11" flow_on [raw] "flow active is answered, and nothing else happens.";
    "CHAN-12" flow_off [raw] "flow inactive is 540.";
    "CHAN-13" flow_ok [raw] "A flow-ok from the client is 503.";
    "CHAN-14" methods_of_the_server [raw] "A method that only servers send is 503.";
    "CHAN-14" content_of_the_server [raw] "… and so are deliveries.";
    "CHAN-18" access_request [raw] "access.request is answered with ticket 1.";
    "CHAN-18" tickets_do_not_matter [raw] "Any ticket will do.";
    "CHAN-19" strictly_in_order [raw] "What is pipelined is done and answered in order.";
    "CHAN-20" internal_failure [raw] "A failure inside the channel is 541.";
    "CHAN-21" untestable "basic.credit is not part of the protocol."
        "the rule asks nothing of a broker";
}

const UNIMPLEMENTED: &str = "COMMAND_INVALID - unimplemented method";

async fn unexpected_close_ok(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_method(1, channel::CloseOk {}).await?;
    raw.expect_connection_close(503, UNIMPLEMENTED, channel::CloseOk::ID)
        .await
}

async fn flow_on(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    for _ in 0..3 {
        let flow = channel::Flow { active: true };
        let reply = raw.call(1, flow, channel::FlowOk::ID).await?;
        let active = reply.read(|method| match method {
            Method::Channel(channel::Method::FlowOk(ok)) => Some(ok.active),
            _ => None,
        })?;
        expect_eq("active", active, true)?;
    }
    raw.close_channel(1).await
}

async fn flow_off(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_method(1, channel::Flow { active: false }).await?;
    raw.expect_connection_close(540, "NOT_IMPLEMENTED - active=false", channel::Flow::ID)
        .await
}

async fn flow_ok(t: &Trial) -> Result<(), Failure> {
    for active in [true, false] {
        let mut raw = t.raw().await?;
        raw.send_method(1, channel::FlowOk { active }).await?;
        raw.expect_connection_close(503, UNIMPLEMENTED, channel::FlowOk::ID)
            .await?;
    }
    Ok(())
}

async fn methods_of_the_server(t: &Trial) -> Result<(), Failure> {
    let methods: [(Method<'_>, MethodId); 19] = [
        (channel::OpenOk::default().into(), channel::OpenOk::ID),
        (
            access::RequestOk { ticket: 1 }.into(),
            access::RequestOk::ID,
        ),
        (exchange::DeclareOk {}.into(), exchange::DeclareOk::ID),
        (exchange::DeleteOk {}.into(), exchange::DeleteOk::ID),
        (exchange::BindOk {}.into(), exchange::BindOk::ID),
        (exchange::UnbindOk {}.into(), exchange::UnbindOk::ID),
        (queue::DeclareOk::default().into(), queue::DeclareOk::ID),
        (queue::BindOk {}.into(), queue::BindOk::ID),
        (queue::PurgeOk::default().into(), queue::PurgeOk::ID),
        (queue::DeleteOk::default().into(), queue::DeleteOk::ID),
        (queue::UnbindOk {}.into(), queue::UnbindOk::ID),
        (basic::QosOk {}.into(), basic::QosOk::ID),
        (basic::ConsumeOk::default().into(), basic::ConsumeOk::ID),
        (basic::CancelOk::default().into(), basic::CancelOk::ID),
        (basic::GetEmpty::default().into(), basic::GetEmpty::ID),
        (basic::RecoverOk {}.into(), basic::RecoverOk::ID),
        (confirm::SelectOk {}.into(), confirm::SelectOk::ID),
        (tx::SelectOk {}.into(), tx::SelectOk::ID),
        (tx::CommitOk {}.into(), tx::CommitOk::ID),
    ];
    for (method, id) in methods {
        let mut raw = t.raw().await?;
        raw.send_method(1, method).await?;
        let refused = raw.expect_connection_close(503, UNIMPLEMENTED, id).await;
        refused.map_err(|failure| failure.at(format!("{method:?}")))?;
    }
    Ok(())
}

async fn content_of_the_server(t: &Trial) -> Result<(), Failure> {
    let methods: [(Method<'_>, MethodId); 3] = [
        (basic::Deliver::default().into(), basic::Deliver::ID),
        (basic::GetOk::default().into(), basic::GetOk::ID),
        (basic::Return::default().into(), basic::Return::ID),
    ];
    for (method, id) in methods {
        let mut raw = t.raw().await?;
        raw.send_method(1, method).await?;
        raw.send_content(1, &[0, 0], b"").await?;
        let refused = raw.expect_connection_close(503, UNIMPLEMENTED, id).await;
        refused.map_err(|failure| failure.at(format!("{method:?}")))?;
    }
    Ok(())
}

async fn access_request(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let request = access::Request {
        realm: "/data".into(),
        active: true,
        ..Default::default()
    };
    let reply = raw.call(1, request, access::RequestOk::ID).await?;
    let ticket = reply.read(|method| match method {
        Method::Access(access::Method::RequestOk(ok)) => Some(ok.ticket),
        _ => None,
    })?;
    expect_eq("ticket", ticket, 1)
}

async fn tickets_do_not_matter(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    for ticket in [0, 1, 77, u16::MAX] {
        let declare = queue::Declare {
            ticket,
            ..durable_queue(&queue)
        };
        raw.declare(1, declare).await?;
        let purge = queue::Purge {
            ticket,
            queue: queue.as_str().into(),
            ..Default::default()
        };
        raw.call(1, purge, queue::PurgeOk::ID).await?;
    }
    Ok(())
}

async fn strictly_in_order(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    let queue = t.name("q");
    let delete = queue::Delete {
        queue: queue.as_str().into(),
        ..Default::default()
    };
    raw.send_method(1, durable_queue(&queue)).await?;
    raw.publish(1, "", &queue, "in between").await?;
    raw.send_methods(&[
        (1, get(&queue).into()),
        (1, get(&queue).into()),
        (1, delete.into()),
        (1, channel::Flow { active: true }.into()),
        (1, close_request().into()),
    ])
    .await?;
    raw.expect(1, queue::DeclareOk::ID).await?;
    let got = raw.expect(1, basic::GetOk::ID).await?;
    let message = raw.read_content(1, &got).await?;
    expect_eq("body", message.text(), "in between")?;
    raw.expect(1, basic::GetEmpty::ID).await?;
    raw.expect(1, queue::DeleteOk::ID).await?;
    raw.expect(1, channel::FlowOk::ID).await?;
    raw.expect(1, channel::CloseOk::ID).await.map(drop)
}

/// Undecodable properties are the one failure of this kind that a client can bring about.
async fn internal_failure(t: &Trial) -> Result<(), Failure> {
    let mut raw = t.raw().await?;
    raw.send_method(1, basic::Publish::default()).await?;
    raw.send_content(1, &[0x80, 0], b"").await?;
    raw.expect_connection_close(541, "INTERNAL_ERROR", MethodId::NONE)
        .await
}
