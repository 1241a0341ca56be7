//! Answers that have to wait: for a commit of the store, for a message on its way from it, or for a verdict on
//! a password.
//!
//! ```text
//!   method ──▶ done, and answered ◀───────────── committed, or the slot's bell ──────┐
//!      │                                                                             │
//!      └─────▶ done, to be stored ──▶ Parked: no further input is handled, the rest goes on
//! ```
//!
//! While an answer is parked, the session handles no input of its connection, so that answers keep
//! their order and whatever comes behind sees what was asked before it. Deliveries, confirms of
//! earlier publishes and heartbeats go on. An answer goes with its channel.
//!
//! What it is not: a queue of answers; there is never more than one.

use std::sync::Arc;

use bytes::BytesMut;
use leveret_protocol::method::{basic, write_frame};
use leveret_protocol::{Fault, Method, MethodId, ReplyCode};
use leveret_storage::{CommitState, Epoch};

use crate::access::PendingLogin;
use crate::amqp::session::{Session, failure};
use crate::config::AuthMechanism;
use crate::core::queue_handle::QueueHandle;

/// An answer that waits.
#[derive(Debug)]
pub(crate) enum Parked {
    /// For the store to commit what it promises.
    Reply {
        channel: u16,
        /// The method that is answered.
        method: MethodId,
        epoch: Epoch,
        /// The answer as it will be sent.
        frame: BytesMut,
    },
    /// For a message that `basic.get` is to bring.
    Get {
        channel: u16,
        /// How the queue will ring.
        token: u64,
        queue: Arc<QueueHandle>,
        no_ack: bool,
    },
    /// For a verdict on a password.
    Login {
        mechanism: AuthMechanism,
        login: PendingLogin,
    },
}

impl Parked {
    fn channel(&self) -> u16 {
        match self {
            Self::Reply { channel, .. } | Self::Get { channel, .. } => *channel,
            Self::Login { .. } => 0,
        }
    }

    /// The epoch that lets it go on, if it waits for one.
    pub(super) fn waits_for(&self) -> Option<Epoch> {
        match self {
            Self::Reply { epoch, .. } => Some(*epoch),
            Self::Get { .. } | Self::Login { .. } => None,
        }
    }
}

impl Session {
    /// Answers `method` once what it did will outlast a crash: when the store has committed
    /// `durable_at`, or at once if there is nothing to store.
    ///
    /// # Errors
    /// 541 when the store has failed.
    pub(super) fn reply_when_stored<'m>(
        &mut self,
        channel: u16,
        method: MethodId,
        durable_at: Option<Epoch>,
        reply: impl Into<Method<'m>>,
    ) -> Result<(), Fault> {
        let Some(epoch) = durable_at else {
            self.reply(channel, reply);
            return Ok(());
        };
        match self.node.commit_state(epoch) {
            CommitState::Reached => self.reply(channel, reply),
            CommitState::Failed => return Err(store_failed()),
            CommitState::Waiting => {
                let mut frame = BytesMut::new();
                write_frame(reply, channel, &mut frame);
                self.parked = Some(Parked::Reply {
                    channel,
                    method,
                    epoch,
                    frame,
                });
            }
        }
        Ok(())
    }

    /// Sends the parked answer if the store has committed what it promises; ends the connection if it
    /// never will.
    pub(super) fn write_parked_reply(&mut self) {
        let Some(Parked::Reply { epoch, .. }) = &self.parked else {
            return;
        };
        let state = self.node.commit_state(*epoch);
        if state == CommitState::Waiting {
            return;
        }
        let parked = self.parked.take();
        if let Some(Parked::Reply {
            channel,
            method,
            frame,
            ..
        }) = parked
        {
            match state {
                CommitState::Failed => self.fail(failure(channel, store_failed(), method)),
                _ => self.outbox.buffer().extend_from_slice(&frame),
            }
        }
    }

    /// Gets again if the queue has rung for a parked `basic.get`.
    pub(crate) fn get_if_rung(&mut self) {
        let Some(Parked::Get { token, .. }) = &self.parked else {
            return;
        };
        if !self.rung.contains(token) {
            return;
        }
        if let Some(Parked::Get {
            channel,
            queue,
            no_ack,
            ..
        }) = self.parked.take()
            && let Err(fault) = self.get(channel, &queue, no_ack)
        {
            self.fail(failure(channel, fault, basic::Get::ID));
        }
    }

    /// A channel that ends takes its answer with it.
    pub(super) fn forget_parked(&mut self, channel: u16) {
        if self
            .parked
            .as_ref()
            .is_some_and(|it| it.channel() == channel)
        {
            self.parked = None;
        }
    }
}

/// What cannot be kept is not promised. The connection ends, for nobody can say any more what of its
/// work will be there after a restart.
fn store_failed() -> Fault {
    let text = "the store has failed; what was asked for may not survive a restart";
    Fault::new(ReplyCode::InternalError, text)
}
