//! [`Session`]: one client's connection to the broker, without its socket.
//!
//! It holds the protocol machine, the channels, what is staged and what is to be sent, and turns the
//! machine's events into calls on the core. Time is passed in; nothing here waits.
//!
//! Order within a connection is kept by one rule: any method other than publish, ack, nack and reject
//! first hands over what is staged, so that its answer knows of everything sent before it (CHAN-19).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use leveret_protocol::method::connection;
use leveret_protocol::server::{Connection, Event, Failure, Input};
use leveret_protocol::{Fault, Method, MethodId, ReplyCode, ShortStr};
use rustc_hash::FxHashMap;

use crate::access::verifier::Work;
use crate::access::{Permissions, User};
use crate::amqp::channel::Channel;
use crate::amqp::deliver::Addressee;
use crate::amqp::handlers;
use crate::amqp::mailbox::Mailbox;
use crate::amqp::outbox::Outbox;
use crate::amqp::parking::Parked;
use crate::amqp::replies::StagedReplies;
use crate::amqp::stage::Stage;
use crate::amqp::unacked::SourceIndex;
use crate::amqp::uncommitted::Uncommitted;
use crate::core::Moment;
use crate::core::effects;
use crate::core::queue::{Delivery, Effects, Unsettled};
use crate::core::queue_handle::{ConnectionId, QueueHandle};
use crate::core::reserve::Share;
use crate::core::route_cache::RouteCache;
use crate::core::vhost::Vhost;
use crate::limits::{
    ACCOUNT_STEP_BYTES, CONNECTION_BYTES, CONNECTION_TLS_BYTES, ROUTING_PER_TURN_MS_MAX,
};
use crate::net::peer::Peer;
use crate::node::Node;

/// The vhost that a client has opened, and what it may do there.
#[derive(Clone, Debug)]
pub(crate) struct OpenVhost {
    pub(crate) vhost: Arc<Vhost>,
    pub(crate) permissions: Arc<Permissions>,
    /// The exchange that was last found to be one that the user may write to.
    pub(crate) writable: Option<Box<[u8]>>,
}

/// One client's connection.
pub(crate) struct Session {
    pub(crate) node: Arc<Node>,
    pub(crate) id: ConnectionId,
    pub(crate) peer: Peer,
    pub(crate) machine: Connection,
    pub(crate) outbox: Outbox,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) user: Option<Arc<User>>,
    /// The name whose password was asked for (CONN-14).
    pub(crate) asked_for_password: Option<Box<[u8]>>,
    /// What somebody who may block has to do for the login.
    pub(crate) login_work: Option<Work>,
    pub(crate) open: Option<OpenVhost>,
    /// What it holds of the broker's reserve, but for its channels, consumers and transactions.
    pub(crate) share: Share,
    /// A ring of unsettled deliveries has grown in this turn.
    pub(crate) unacked_grew: bool,
    /// When the permissions in it were last looked up.
    pub(crate) permissions_of: Moment,
    /// When the client was last heard of.
    pub(crate) heard_at: Moment,
    pub(crate) channels: FxHashMap<u16, Channel>,
    pub(crate) routes: RouteCache,
    pub(crate) stage: Stage,
    pub(crate) staged_replies: StagedReplies,
    /// Direct replies wait in the mailbox until the outbox has room.
    pub(crate) replies_wait: bool,
    /// Channels with publishes to confirm at the end of the turn.
    pub(crate) unconfirmed: Vec<u16>,
    /// Channels with confirms that wait for the store.
    pub(crate) awaiting_commit: Vec<u16>,
    /// What was published and is not known to be committed.
    pub(crate) uncommitted: Uncommitted,
    /// True while too much of it keeps the connection from being read.
    pub(crate) held_up: bool,
    /// True while the store has been asked to ring.
    pub(crate) commit_asked: bool,
    /// The answer that input waits for.
    pub(crate) parked: Option<Parked>,
    /// Sources with settlements to tell their queues at the end of the turn.
    pub(crate) unsettled: Vec<(u16, SourceIndex)>,
    /// Consumers to pull for, in the order in which they were rung.
    pub(crate) rung: Vec<u64>,
    /// Consumers that wait for the outbox to drain.
    pub(crate) stalled: Vec<u64>,
    /// True while consumers wait until the client has settled enough.
    pub(crate) waits_for_settles: bool,
    /// Consumers whose queue has gone while an answer was parked; they are told behind it.
    pub(crate) cancelled_behind_answer: Vec<u64>,
    /// True once the client has published during an alarm: only those are held up (FLOW-01), and nothing
    /// they sent behind that publish is handled before [`Session::block_if_alarmed`] has looked (FLOW-06).
    pub(crate) has_published: bool,
    /// How long finding the way of messages has taken in this turn.
    pub(crate) routing_time: Duration,
    /// True when that took so long that it is for others now (see [`ROUTING_PER_TURN_MS_MAX`]).
    pub(crate) has_had_its_turn: bool,
    /// True while an alarm keeps the connection from being read (FLOW-06).
    pub(crate) blocked: bool,
    /// When deliveries are next held against the consumer timeouts, if there are any.
    pub(crate) look_at_deliveries_at: Option<Moment>,
    pub(crate) now: Instant,
    pub(crate) moment: Moment,
    pub(crate) effects: Effects,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) scratch: Vec<u8>,
}

impl Session {
    pub(crate) fn new(node: Arc<Node>, peer: Peer, now: Instant) -> Self {
        let options = match peer.is_over_tls() {
            true => &node.options_over_tls,
            false => &node.options,
        };
        let mailbox = Arc::new(Mailbox::default());
        let share = node.reserve.share();
        // Sockets have a limit of their own; see `check_open` for what becomes of one too many.
        share.cover(idle_bytes(&peer));
        Self {
            share,
            unacked_grew: false,
            id: node.connections.register(Arc::clone(&mailbox)),
            machine: Connection::new(Arc::clone(options), now),
            moment: node.clock.moment(now),
            node,
            peer,
            outbox: Outbox::default(),
            mailbox,
            user: None,
            asked_for_password: None,
            login_work: None,
            open: None,
            permissions_of: Moment::default(),
            heard_at: Moment::default(),
            channels: FxHashMap::default(),
            routes: RouteCache::new(),
            stage: Stage::default(),
            staged_replies: StagedReplies::default(),
            replies_wait: false,
            unconfirmed: Vec::new(),
            awaiting_commit: Vec::new(),
            uncommitted: Uncommitted::default(),
            held_up: false,
            commit_asked: false,
            parked: None,
            unsettled: Vec::new(),
            rung: Vec::new(),
            stalled: Vec::new(),
            waits_for_settles: false,
            cancelled_behind_answer: Vec::new(),
            has_published: false,
            routing_time: Duration::ZERO,
            has_had_its_turn: false,
            blocked: false,
            look_at_deliveries_at: None,
            now,
            effects: Effects::default(),
            deliveries: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// A turn begins, and goes by this time.
    pub(crate) fn set_time(&mut self, now: Instant) {
        self.routing_time = Duration::ZERO;
        self.has_had_its_turn = false;
        self.now = now;
        self.moment = self.node.clock.moment(now);
    }

    /// Holds a publisher up while an alarm is raised; it is told if it asked to be (FLOW-02).
    pub(crate) fn block_if_alarmed(&mut self) {
        if !self.has_published || self.blocked {
            return;
        }
        self.has_published = self.node.alarm.is_raised() && self.machine.is_running();
        if !self.has_published {
            return;
        }
        self.blocked = true;
        if self.machine.capabilities().connection_blocked {
            let reason = ShortStr::from(self.node.alarm.reason());
            self.reply(0, connection::Blocked { reason });
        }
    }

    /// An alarm was raised or cleared (FLOW-03).
    pub(crate) fn on_alarm(&mut self) {
        if self.blocked && !self.node.alarm.is_raised() {
            self.blocked = false;
            self.has_published = false;
            if self.machine.capabilities().connection_blocked && self.machine.is_running() {
                self.reply(0, connection::Unblocked {});
            }
        }
    }

    /// True while received bytes have to wait: for a parked answer, for the end of an alarm, or for the next
    /// turn.
    pub(crate) fn holds_input(&self) -> bool {
        self.parked.is_some() || self.has_published || self.has_had_its_turn
    }

    /// So long took it to find the way of a message.
    pub(crate) fn note_routing(&mut self, time: Duration) {
        self.routing_time += time;
        self.has_had_its_turn = self.routing_time >= Duration::from_millis(ROUTING_PER_TURN_MS_MAX);
    }

    /// Handles what `received` holds, all of it or until input is held; it lies in an allocation of so many
    /// bytes. Says how many bytes were used and how many must be there before it is worth calling again.
    pub(crate) fn on_bytes(&mut self, received: &Bytes, allocated: usize) -> (usize, usize) {
        self.note_input();
        let mut input = Input::within(received, allocated);
        while !self.holds_input() {
            if let Some(event) = self.machine.next_usual(&mut input) {
                if let Err(failure) = self.on_event(event) {
                    self.fail(failure);
                }
                continue;
            }
            match self
                .machine
                .next_event(&mut input, self.now, self.outbox.buffer())
            {
                Ok(None) => break,
                Ok(Some(event)) => {
                    if let Err(failure) = self.on_event(event) {
                        self.fail(failure);
                    }
                }
                Err(failure) => self.fail(failure),
            }
        }
        (input.consumed(), input.wanted())
    }

    fn on_event(&mut self, event: Event<'_>) -> Result<(), Failure> {
        match event {
            Event::Publish { channel, publish } => {
                self.publish(channel, &publish).map_err(|fault| {
                    failure(channel, fault, leveret_protocol::method::basic::Publish::ID)
                })
            }
            Event::Ack { channel, ack } => self
                .on_ack(channel, ack)
                .map_err(|fault| failure(channel, fault, leveret_protocol::method::basic::Ack::ID)),
            Event::Method { channel, method } => {
                let id = method.id();
                self.on_method(channel, method)
                    .map_err(|fault| failure(channel, fault, id))
            }
            Event::OpenChannel { channel } => self.open_channel(channel),
            Event::CloseChannel { channel } => {
                self.release_channel(channel);
                self.machine.release_channel(channel, self.outbox.buffer());
                Ok(())
            }
            Event::Close => {
                self.release_all();
                self.machine.accept_close(self.now, self.outbox.buffer());
                Ok(())
            }
            Event::Login(login) => {
                self.on_login(&login);
                Ok(())
            }
            Event::SecureOk { response } => {
                self.on_secure_ok(response);
                Ok(())
            }
            Event::Open { vhost } => self.on_open(vhost),
            Event::UpdateSecret { .. } => {
                // No login of ours expires, so there is nothing to renew (CONN-45).
                self.machine.accept_secret(self.outbox.buffer());
                Ok(())
            }
        }
    }

    fn on_method(&mut self, channel: u16, method: Method<'_>) -> Result<(), Fault> {
        use leveret_protocol::method::basic::Method::{Ack, Nack, Reject};
        match method {
            Method::Basic(Ack(ack)) => self.on_ack(channel, ack),
            Method::Basic(Nack(nack)) => self.on_nack(channel, nack),
            Method::Basic(Reject(reject)) => self.on_reject(channel, reject),
            method => {
                self.hand_over();
                handlers::on_method(self, channel, method)
            }
        }
    }

    fn open_channel(&mut self, number: u16) -> Result<(), Failure> {
        let channel = Channel::within(&self.node.reserve);
        let channel = channel.map_err(|exhausted| of_connection(exhausted.into()))?;
        if let Some(user) = &self.user {
            let user_now = self.node.access.user_now(user);
            let user = user_now.as_ref().unwrap_or(user);
            let admitted = self.node.connections.admit_channel(user);
            admitted.map_err(of_connection)?;
        }
        self.renew_permissions();
        self.channels.insert(number, channel);
        self.machine.accept_channel(number, self.outbox.buffer());
        Ok(())
    }

    /// The channel of this number. The machine only gives events for open channels, so a missing one
    /// is our own mistake and ends the connection, not the process.
    pub(crate) fn channel(&mut self, number: u16) -> Result<&mut Channel, Fault> {
        self.channels.get_mut(&number).ok_or_else(internal_error)
    }

    /// The opened vhost; as [`Session::channel`] for a connection that runs.
    pub(crate) fn vhost(&self) -> Result<&Arc<Vhost>, Fault> {
        self.open
            .as_ref()
            .map(|open| &open.vhost)
            .ok_or_else(internal_error)
    }

    /// Writes a method to a channel.
    pub(crate) fn reply<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        leveret_protocol::method::write_frame(method, channel, self.outbox.buffer());
    }

    pub(crate) fn addressee(&self, channel: u16) -> Addressee {
        Addressee {
            channel,
            body_frame_max: self.machine.body_frame_max(),
        }
    }

    /// Hands staged messages and settlements to their queues, and replies to whom they are for.
    pub(crate) fn hand_over(&mut self) {
        self.hand_over_publishes();
        self.hand_over_replies();
        self.hand_over_settles();
    }

    /// Ends the turn's input: hands everything over and confirms what was published.
    pub(crate) fn finish_input(&mut self) {
        self.hand_over();
        self.write_confirms();
        self.ask_for_commit();
    }

    /// Does what a call to `queue` asked for (see [`Effects`]). Whoever promises something for it reads
    /// before which epoch covers it.
    pub(crate) fn carry_out(&mut self, queue: &Arc<QueueHandle>) {
        self.effects.durable_at = None;
        if let Some(open) = &self.open {
            let timers = &self.node.timers;
            effects::carry_out(&open.vhost, queue, &mut self.effects, self.moment, timers);
        }
    }

    /// The one place where a fault of a client is answered: what belongs to the channel or the
    /// connection is released first (CHAN-15, CONN-38), then the close frame is written.
    pub(crate) fn fail(&mut self, failure: Failure) {
        let Failure { channel, fault } = &failure;
        // The octets of a frame that came where none should are for its sender: they may be a password's.
        let explanation = fault.explanation.split("octets = <<").next();
        let (connection, code) = (self.id.0, fault.code.number());
        tracing::debug!(
            connection,
            channel,
            code,
            explanation,
            "closing for a fault"
        );
        self.finish_input();
        if *channel == 0 || fault.code.is_connection_error() {
            self.release_all();
        } else {
            self.release_channel(*channel);
        }
        self.machine.fail(&failure, self.now, self.outbox.buffer());
    }

    /// Ends a channel: uncommitted work is dropped (CHAN-17), consumers end, and unsettled deliveries
    /// go back to their queues (CHAN-16).
    pub(crate) fn release_channel(&mut self, number: u16) {
        self.finish_input();
        self.forget_parked(number);
        let Some(mut channel) = self.channels.remove(&number) else {
            return;
        };
        if let Some(user) = &self.user {
            self.node.connections.release_channel(user);
        }
        if channel.reply_consumer.is_some() {
            self.mailbox.end_replies(number);
        }
        for source in channel.take_sources() {
            let body = source.queue.body();
            body.detach(
                source.slot,
                Unsettled::Requeue,
                self.moment,
                &mut self.effects,
            );
            self.carry_out(&source.queue);
        }
    }

    /// Brings what the connection holds to account, after a turn: what it is in the middle of sending, and what
    /// it has not taken yet. `buffered` bytes are allocated for what is received. Who asks for more than there is
    /// is closed, which frees what it holds.
    pub(crate) fn account(&mut self, buffered: usize) {
        let waiting = buffered as u64 + self.outbox.len() as u64;
        let held = idle_bytes(&self.peer) + waiting + self.machine.assembling_bytes();
        let is_as_before = held.abs_diff(self.share.bytes()) < ACCOUNT_STEP_BYTES;
        if is_as_before && !std::mem::take(&mut self.unacked_grew) {
            return;
        }
        if let Err(exhausted) = self.share.set(held).and_then(|()| self.share.check(0)) {
            self.fail(of_connection(exhausted.into()));
        }
    }

    /// Ends everything that the connection holds: channels, exclusive queues, its place in the limits.
    pub(crate) fn release_all(&mut self) {
        self.finish_input();
        let mut numbers: Vec<u16> = self.channels.keys().copied().collect();
        numbers.sort_unstable();
        numbers
            .into_iter()
            .for_each(|number| self.release_channel(number));
        if let Some(open) = self.open.take() {
            open.vhost.delete_exclusive_queues(self.id);
            self.node.connections.leave(self.id);
        }
        self.routes.clear();
        self.stage.clear();
        self.parked = None;
        self.awaiting_commit.clear();
        self.uncommitted = Uncommitted::default();
    }
}

/// What a connection holds that neither sends nor has anything to read.
fn idle_bytes(peer: &Peer) -> u64 {
    match peer.is_over_tls() {
        true => CONNECTION_BYTES + CONNECTION_TLS_BYTES,
        false => CONNECTION_BYTES,
    }
}

impl Drop for Session {
    /// However the connection ended, nothing of it stays behind (CONN-43).
    fn drop(&mut self) {
        self.release_all();
        self.node.connections.forget(self.id);
    }
}

/// A fault on a channel, blamed on a method. A bare internal error blames nobody (ERR-05).
pub(super) fn failure(channel: u16, fault: Fault, method: MethodId) -> Failure {
    let blameless = fault.code == ReplyCode::InternalError && fault.explanation.is_empty();
    let fault = if blameless {
        fault
    } else {
        fault.caused_by(method)
    };
    Failure { channel, fault }
}

/// A fault that ends the connection.
fn of_connection(fault: Fault) -> Failure {
    Failure { channel: 0, fault }
}

/// Something that cannot be, or that the peer's bytes made impossible (ERR-05).
pub(crate) fn internal_error() -> Fault {
    Fault::new(ReplyCode::InternalError, "")
}
