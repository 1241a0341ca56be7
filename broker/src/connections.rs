//! [`Connections`]: who is connected, counted against the limits of vhosts and users.
//!
//! A connection is registered when it is accepted and counted when it opens a vhost. Whose it is and where
//! is known from then on, so that it can be closed when either is deleted. Channels are counted for every
//! user: a limit that is set later counts those that there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use leveret_protocol::{Fault, ReplyCode};
use tokio_util::sync::CancellationToken;

use crate::access::User;
use crate::amqp::mailbox::Mailbox;
use crate::amqp::reply_box::Reply;
use crate::core::direct_reply::ReplyAddress;
use crate::core::queue_handle::ConnectionId;
use crate::limits::HANDSHAKES_MAX;

/// The connections of one broker.
#[derive(Debug)]
pub(crate) struct Connections {
    /// The most open connections of the node (CONN-23).
    max: u32,
    closing: CancellationToken,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    next_id: u64,
    /// Sockets that were accepted and are not closed, in their handshakes or after.
    places: usize,
    /// Set when the broker shuts down: whoever comes is told so.
    closing: Option<Fault>,
    /// Whoever waits for the last connection to end.
    waiting_for_the_last: Vec<Waker>,
    mailboxes: HashMap<ConnectionId, Arc<Mailbox>>,
    /// The connections that have opened a vhost.
    entered: HashMap<ConnectionId, Entered>,
    per_vhost: HashMap<String, u32>,
    per_user: HashMap<String, u32>,
    channels_per_user: HashMap<String, u32>,
}

/// Where a connection is, and whose it is.
#[derive(Clone, Debug)]
struct Entered {
    vhost: Arc<str>,
    user: Arc<User>,
}

/// One accepted socket's share of the sockets that there may be; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Connections>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.0.lock();
        inside.places -= 1;
        let waiting = inside.take_waiting_if_empty();
        drop(inside);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Inside {
    fn is_empty(&self) -> bool {
        self.mailboxes.is_empty() && self.places == 0
    }

    fn take_waiting_if_empty(&mut self) -> Vec<Waker> {
        match self.is_empty() {
            true => std::mem::take(&mut self.waiting_for_the_last),
            false => Vec::new(),
        }
    }
}

impl Connections {
    /// At most `max` connections may be open at once.
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max,
            closing: CancellationToken::new(),
            inside: Mutex::default(),
        }
    }

    /// A place for a socket that was accepted; none if there are as many as may be open, and as many again
    /// as may be in their handshakes.
    pub(crate) fn take_place(self: &Arc<Self>) -> Option<Place> {
        let mut inside = self.lock();
        if inside.places >= self.max as usize + HANDSHAKES_MAX {
            return None;
        }
        inside.places += 1;
        Some(Place(Arc::clone(self)))
    }

    /// Ends when the broker shuts down.
    pub(crate) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Gives a connection its id and remembers how to reach it.
    pub(crate) fn register(&self, mailbox: Arc<Mailbox>) -> ConnectionId {
        let mut inside = self.lock();
        inside.next_id += 1;
        let id = ConnectionId(inside.next_id);
        let closing = inside.closing.clone();
        inside.mailboxes.insert(id, Arc::clone(&mailbox));
        drop(inside);
        if let Some(fault) = closing {
            mailbox.close(fault);
        }
        id
    }

    /// Forgets a connection that has ended.
    pub(crate) fn forget(&self, id: ConnectionId) {
        let mut inside = self.lock();
        inside.mailboxes.remove(&id);
        let waiting = inside.take_waiting_if_empty();
        drop(inside);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Asks every connection to close with this fault, those that are yet to come as well.
    pub(crate) fn close_all(&self, fault: Fault) {
        self.lock().closing = Some(fault.clone());
        self.closing.cancel();
        for mailbox in self.mailboxes() {
            mailbox.close(fault.clone());
        }
    }

    /// Ready when no connection is left.
    pub(crate) fn poll_all_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inside = self.lock();
        if inside.is_empty() {
            return Poll::Ready(());
        }
        let waiting = &mut inside.waiting_for_the_last;
        if !waiting.iter().any(|known| known.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// How many connections there are, open or not.
    pub(crate) fn count(&self) -> usize {
        self.lock().mailboxes.len()
    }

    /// Everybody's mailbox.
    pub(crate) fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        self.lock().mailboxes.values().cloned().collect()
    }

    /// The mailbox of a connection that has not ended.
    pub(crate) fn mailbox(&self, id: ConnectionId) -> Option<Arc<Mailbox>> {
        self.lock().mailboxes.get(&id).cloned()
    }

    /// Leaves direct replies with those whom they are for, each woken once; the others are dropped
    /// (RPC-09). Replies to one consumer keep their order.
    pub(crate) fn leave_replies(&self, replies: &mut Vec<Reply>) {
        replies.sort_by_key(|reply| reply.to.connection);
        let mut replies = replies.drain(..).peekable();
        while let Some(first) = replies.peek() {
            let connection = first.to.connection;
            let mailbox = self.mailbox(connection);
            let theirs = &mut std::iter::from_fn(|| {
                replies.next_if(|reply| reply.to.connection == connection)
            });
            match mailbox {
                Some(mailbox) => mailbox.leave_replies(theirs),
                None => theirs.for_each(drop),
            }
        }
    }

    /// True while somebody waits for replies to this address (RPC-10).
    pub(crate) fn await_reply(&self, to: &ReplyAddress) -> bool {
        let mailbox = self.mailbox(to.connection);
        mailbox.is_some_and(|mailbox| mailbox.awaits_reply(to))
    }

    /// Asks every connection that is in this vhost to close with this fault.
    pub(crate) fn close_of_vhost(&self, vhost: &str, fault: &Fault) {
        self.close_those(fault, |entered| &*entered.vhost == vhost);
    }

    /// Asks every connection of this user to close with this fault.
    pub(crate) fn close_of_user(&self, user: &str, fault: &Fault) {
        self.close_those(fault, |entered| entered.user.name() == user);
    }

    fn close_those(&self, fault: &Fault, is_one: impl Fn(&Entered) -> bool) {
        let inside = self.lock();
        let found = inside.entered.iter().filter(|(_, one)| is_one(one));
        let found = found.filter_map(|(id, _)| inside.mailboxes.get(id).cloned());
        let found: Vec<_> = found.collect();
        drop(inside);
        for mailbox in found {
            mailbox.close(fault.clone());
        }
    }

    /// Counts a connection that opens a vhost, if all limits allow it; the checks are in the
    /// reference's order, and a missing vhost is found by the second (CONN-25). `user` is as it is by now.
    /// Whoever has entered looks again whether user and vhost are still there: their deletion may have
    /// come just before.
    pub(crate) fn enter(
        &self,
        id: ConnectionId,
        vhost: &str,
        exists: bool,
        vhost_max: Option<u32>,
        user: &Arc<User>,
    ) -> Result<(), String> {
        let mut inside = self.lock();
        inside.check(self.max, vhost, exists, vhost_max, user)?;
        let entered = Entered {
            vhost: Arc::from(vhost),
            user: Arc::clone(user),
        };
        inside.entered.insert(id, entered);
        *inside.per_vhost.entry(vhost.to_owned()).or_default() += 1;
        *inside.per_user.entry(user.name().to_owned()).or_default() += 1;
        Ok(())
    }

    /// Takes a connection out of the counts.
    pub(crate) fn leave(&self, id: ConnectionId) {
        let mut inside = self.lock();
        if let Some(entered) = inside.entered.remove(&id) {
            count_down(&mut inside.per_vhost, &entered.vhost);
            count_down(&mut inside.per_user, entered.user.name());
        }
    }

    /// Counts a channel, if the user, who is as it is by now, may have one more (TUNE-09).
    pub(crate) fn admit_channel(&self, user: &User) -> Result<(), Fault> {
        let mut inside = self.lock();
        let counts = &mut inside.channels_per_user;
        if let Some(max) = reached(counts, user.name(), user.channels_max()) {
            let text = format!(
                "number of channels opened for user '{}' has reached the maximum allowed user \
                 limit of ({max})",
                user.name()
            );
            return Err(Fault::new(ReplyCode::NotAllowed, text));
        }
        match counts.get_mut(user.name()) {
            Some(count) => *count += 1,
            None => drop(counts.insert(user.name().to_owned(), 1)),
        }
        Ok(())
    }

    /// Takes a channel out of the counts.
    pub(crate) fn release_channel(&self, user: &User) {
        count_down(&mut self.lock().channels_per_user, user.name());
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // Counting cannot panic half-way.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn check(
        &self,
        node_max: u32,
        vhost: &str,
        exists: bool,
        vhost_max: Option<u32>,
        user: &User,
    ) -> Result<(), String> {
        let name = user.name();
        if self.entered.len() >= node_max as usize {
            return Err(format!(
                "connection refused: node connection limit ({node_max}) is reached"
            ));
        }
        if !exists {
            return Err(format!("vhost {vhost} not found"));
        }
        if let Some(max) = reached(&self.per_vhost, vhost, vhost_max) {
            return Err(format!(
                "access to vhost '{vhost}' refused for user '{name}': connection limit ({max}) is \
                 reached"
            ));
        }
        if let Some(max) = reached(&self.per_user, name, user.connections_max()) {
            return Err(format!(
                "connection refused for user '{name}': user connection limit ({max}) is reached"
            ));
        }
        Ok(())
    }
}

fn reached(counts: &HashMap<String, u32>, key: &str, max: Option<u32>) -> Option<u32> {
    max.filter(|max| counts.get(key).copied().unwrap_or_default() >= *max)
}

fn count_down(counts: &mut HashMap<String, u32>, key: &str) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
