//! The alarms that a test has had raised, and what publishers see of them.
//!
//! What it is not: it raises none itself; [`crate::operator`] does.
//!
//! Invariant: an alarm counts as raised from the moment somebody is asked to raise it until a publisher has
//! shown that it is gone, so the clean-up never leaves one behind.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use leveret_protocol::Method;
use leveret_protocol::method::{channel, connection};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::operator::{Order, Resource};
use crate::raw::{Event, RawConnection};
use crate::target::Target;

/// How long a broker may take to tell its connections; RabbitMQ looks at the disk anew first.
const TELLING_PATIENCE: Duration = Duration::from_secs(30);
/// How long a broker whose publishers are as before is left alone.
const TELLING_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(crate) struct RaisedAlarms(Mutex<Vec<Resource>>);

impl RaisedAlarms {
    pub(crate) async fn raise(&self, target: &Target, resource: Resource) -> Result<(), Failure> {
        self.edit(|raised| raised.push(resource));
        target.operate(Order::RaiseAlarm(resource)).await?;
        await_reason(target, resource, true).await
    }

    pub(crate) async fn clear(&self, target: &Target, resource: Resource) -> Result<(), Failure> {
        target.operate(Order::ClearAlarm(resource)).await?;
        await_reason(target, resource, false).await?;
        self.edit(|raised| raised.retain(|one| *one != resource));
        Ok(())
    }

    pub(crate) async fn clear_all(&self, target: &Target) -> Result<(), Failure> {
        let mut raised = Vec::new();
        self.edit(|all| raised.clone_from(all));
        for resource in raised {
            self.clear(target, resource).await?;
        }
        Ok(())
    }

    fn edit(&self, edit: impl FnOnce(&mut Vec<Resource>)) {
        edit(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Nothing but trying tells when publishers are held up for a reason, or no longer are.
async fn await_reason(target: &Target, resource: Resource, raised: bool) -> Result<(), Failure> {
    let until = Instant::now() + TELLING_PATIENCE;
    loop {
        let reason = reason_to_block(target).await?;
        if reason.contains(resource.word()) == raised {
            return Ok(());
        }
        if Instant::now() > until {
            let wanted = if raised { "in" } else { "not in" };
            let wanted = format!("{:?} {wanted} the reason to block", resource.word());
            return Err(Failure::expected(wanted, format!("{reason:?}")));
        }
        tokio::time::sleep(TELLING_PAUSE).await;
    }
}

/// What a new publisher is told; empty if it is not held up.
async fn reason_to_block(target: &Target) -> Result<String, Failure> {
    let mut raw = RawConnection::open(&target.address(), &target.handshake()).await?;
    raw.open_channel(1).await?;
    raw.publish(1, "amq.headers", "", "is there an alarm?")
        .await?;
    raw.send_method(1, channel::Flow { active: true }).await?;
    let Event::Frame(frame) = raw.next_event().await? else {
        return Err(Failure::expected(
            "connection.blocked or flow-ok",
            "no frame",
        ));
    };
    frame.method()?.read(|method| match method {
        Method::Connection(connection::Method::Blocked(blocked)) => {
            Some(blocked.reason.to_text().into_owned())
        }
        Method::Channel(channel::Method::FlowOk(_)) => Some(String::new()),
        _ => None,
    })
}
