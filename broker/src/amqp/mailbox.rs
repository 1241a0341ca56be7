//! [`Mailbox`]: how the rest of the broker reaches a connection.
//!
//! Queues ring it when a consumer has something to pull, the store when it has committed what was
//! asked for, the verifier when it has looked at a password; the broker leaves notices in it, and other connections direct replies. Whoever
//! writes into it holds its small lock for one push and wakes the connection after letting go.
//!
//! Bounded: a consumer's slot is rung at most once until it pulls, there are only a handful of
//! kinds of notices, of which each is kept once, and a [`ReplyBox`] takes no more than it may hold.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use leveret_protocol::Fault;
use leveret_storage::CommitBell;

use crate::access::verifier::Asker;
use crate::amqp::reply_box::{Reply, ReplyBox};
use crate::core::direct_reply::ReplyAddress;
use crate::core::queue::Bell;
use crate::core::reserve::Share;

/// What the broker tells a connection.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// Close the connection with this fault, at once.
    pub(crate) close: Option<Fault>,
    /// An alarm was raised or cleared: look again.
    pub(crate) alarm_changed: bool,
    /// The epoch that was asked for is committed, or never will be: look again.
    pub(crate) committed: bool,
    /// Whether the password that was presented is right.
    pub(crate) verdict: Option<bool>,
    /// There are replies to be taken with [`Mailbox::take_replies`].
    pub(crate) replies_wait: bool,
}

#[derive(Debug, Default)]
struct Inside {
    rung: Vec<u64>,
    notices: Notices,
    waker: Option<Waker>,
    /// Only there while the connection consumes direct replies, which few do.
    replies: Option<Box<ReplyBox>>,
}

/// One connection's mailbox.
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<Inside>);

impl Mailbox {
    /// Takes what has arrived: rung tokens go to the end of `rung`. The waker is woken by the next
    /// arrival.
    pub(crate) fn take(&self, rung: &mut Vec<u64>, waker: &Waker) -> Notices {
        let mut inside = self.lock();
        rung.append(&mut inside.rung);
        if !inside
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            inside.waker = Some(waker.clone());
        }
        let replies = inside.replies.as_ref();
        Notices {
            replies_wait: replies.is_some_and(|replies| replies.has_waiting()),
            ..std::mem::take(&mut inside.notices)
        }
    }

    /// Asks the connection to close with this fault.
    pub(crate) fn close(&self, fault: Fault) {
        self.leave(|inside| inside.notices.close = Some(fault));
    }

    /// Tells the connection that an alarm was raised or cleared.
    pub(crate) fn alarm_changed(&self) {
        self.leave(|inside| inside.notices.alarm_changed = true);
    }

    /// The connection consumes direct replies under its own address from now on.
    /// What waits is held by this share, if there was none before.
    pub(crate) fn expect_replies(&self, at: &ReplyAddress, share: Share) {
        let mut inside = self.lock();
        let replies = &mut inside.replies;
        replies
            .get_or_insert_with(|| Box::new(ReplyBox::within(share)))
            .open(at);
    }

    /// A channel of the connection does not consume direct replies any more.
    pub(crate) fn end_replies(&self, channel: u16) {
        let mut inside = self.lock();
        let is_unused = |replies: &mut Box<ReplyBox>| !replies.close(channel);
        let unused = inside.replies.take_if(is_unused);
        // What it holds is freed without the lock.
        drop(inside);
        drop(unused);
    }

    /// True while the connection consumes replies under this address.
    pub(crate) fn awaits_reply(&self, at: &ReplyAddress) -> bool {
        let inside = self.lock();
        let replies = inside.replies.as_ref();
        replies.is_some_and(|replies| replies.is_open(at))
    }

    /// Leaves replies. Those that nobody waits for and those beyond what may wait are dropped (RPC-09).
    pub(crate) fn leave_replies(&self, left: &mut dyn Iterator<Item = Reply>) {
        let mut dropped = Vec::new();
        let waker = {
            let mut inside = self.lock();
            let Inside { replies, waker, .. } = &mut *inside;
            let mut taken = false;
            for reply in left {
                let refused = match replies {
                    Some(replies) => replies.put(reply).err(),
                    None => Some(reply),
                };
                taken |= refused.is_none();
                dropped.extend(refused);
            }
            waker.clone().filter(|_| taken)
        };
        if let Some(reply) = dropped.first() {
            let connection = reply.to.connection.0;
            tracing::debug!(
                connection,
                replies = dropped.len(),
                "direct replies dropped"
            );
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the replies that wait.
    pub(crate) fn take_replies(&self) -> Vec<Reply> {
        let mut inside = self.lock();
        let replies = inside.replies.as_mut();
        replies.map(|replies| replies.take()).unwrap_or_default()
    }

    fn leave(&self, put: impl FnOnce(&mut Inside)) {
        let waker = {
            let mut inside = self.lock();
            put(&mut inside);
            inside.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Nothing that can panic runs under this lock, and a half-done push leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bell for Mailbox {
    fn ring(&self, token: u64) {
        self.leave(|inside| inside.rung.push(token));
    }
}

impl CommitBell for Mailbox {
    fn on_commit(&self) {
        self.leave(|inside| inside.notices.committed = true);
    }
}

impl Asker for Mailbox {
    fn on_verdict(&self, is_right: bool) {
        self.leave(|inside| inside.notices.verdict = Some(is_right));
    }
}
