//! What each operation takes, as one table for every front end.
//!
//! An operation is what a front end asks the broker for, whatever the protocol: AMQP's `queue.declare` and
//! a `PUT` of a queue over HTTP are the same row, so neither can be weaker than the other. Which request of
//! which front end comes to which operations is told by [`super::request`].
//!
//! What it is not: it judges nobody; [`super::authorization::authorize`] does. It does not say when a need
//! is looked at: a part is asked about when the rules of the operation come to it (PERM-12).
//!
//! Invariants: the needs of a row stand in the order in which they are looked at. A part that an operation
//! does not list is refused.
//!
//! Source: PERM-01 to PERM-18, and what the tags of users mean to RabbitMQ's HTTP API.

use crate::core::permission::Part;

/// What a user may do with a resource, where its name, or its key, matches the pattern of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Create or delete it.
    Configure,
    /// Put messages into it, or bind it as a destination.
    Write,
    /// Take messages from it, or bind it as a source.
    Read,
}

/// The tags of users that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    /// May use the management API.
    Management,
    /// The same, and may make policies and parameters in its vhosts.
    Policymaker,
    /// The same as management, and sees all vhosts, connections and nodes.
    Monitoring,
    /// Everything that has to do with managing.
    Administrator,
    /// May publish in another user's name (PUB-07).
    Impersonator,
}

/// One thing that an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// A record of permissions in the vhost, whatever they are (PERM-18).
    Vhost,
    /// That, or this tag.
    VhostOr(Tag),
    /// This tag, or one that includes it.
    Tag(Tag),
    /// This permission on what plays this part. A part that plays in some requests only is asked about in
    /// those.
    Permission(Permission, Part),
    /// That, or this tag.
    PermissionOr(Permission, Part, Tag),
    /// What [`Part::Owner`] names is the user itself; or this tag.
    OwnOr(Tag),
    /// What [`Part::UserId`] names is the user itself; or this tag.
    SelfOr(Tag),
    /// The queue is not another connection's exclusive one (405, PERM-17). The core looks at it wherever it
    /// looks for a queue, since that is the queue's business and no right of a user.
    Unlocked,
}

/// One line for each operation: its name, what it is, and what it takes.
macro_rules! operations {
    ($($(#[doc = $text:literal])+ $name:ident = [$($need:expr),* $(,)?];)+) => {
        /// What a front end can ask the broker for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation {
            $($(#[doc = $text])+ $name,)+
        }

        impl Operation {
            /// Every operation there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// What it takes, in the order in which it is looked at.
            #[must_use]
            pub const fn needs(self) -> &'static [Need] {
                use Need::{OwnOr, Permission, PermissionOr, SelfOr, Tag, Unlocked, Vhost, VhostOr};
                use Part::{
                    AlternateExchange, BindingKey, DeadLetterExchange, DeadLetteringQueue,
                    DestinationExchange, DestinationQueue, DivertingExchange, Exchange, Queue,
                    RoutingKey, Source,
                };
                use self::Permission::{Configure, Read, Write};
                use self::Tag::{
                    Administrator, Impersonator, Management, Monitoring, Policymaker,
                };
                match self {
                    $(Self::$name => &[$($need),*],)+
                }
            }

            /// What it is, in a few words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($text),+),)+
                }
            }
        }
    };
}

operations! {
    // Messaging.
    /// Enter a vhost.
    OpenVhost = [Vhost];
    /// Declare an exchange; a new one may have an alternate.
    DeclareExchange = [
        Vhost,
        Permission(Configure, Exchange),
        Permission(Read, DivertingExchange),
        Permission(Write, AlternateExchange),
    ];
    /// Ask whether an exchange exists.
    CheckExchange = [Vhost];
    /// Delete an exchange.
    DeleteExchange = [Vhost, Permission(Configure, Exchange)];
    /// Bind an exchange to an exchange.
    BindExchange = [
        Vhost,
        Permission(Write, DestinationExchange),
        Permission(Read, Source),
        Permission(Read, BindingKey),
    ];
    /// Unbind an exchange from an exchange.
    UnbindExchange = [
        Vhost,
        Permission(Write, DestinationExchange),
        Permission(Read, Source),
        Permission(Read, BindingKey),
    ];
    /// Declare a queue; a new one may have a dead-letter exchange.
    DeclareQueue = [
        Vhost,
        Permission(Configure, Queue),
        Unlocked,
        Permission(Read, DeadLetteringQueue),
        Permission(Write, DeadLetterExchange),
    ];
    /// Ask whether a queue exists, and how much is in it.
    CheckQueue = [Vhost, Unlocked];
    /// Delete a queue.
    DeleteQueue = [Vhost, Permission(Configure, Queue), Unlocked];
    /// Bind a queue to an exchange.
    BindQueue = [
        Vhost,
        Permission(Write, DestinationQueue),
        Permission(Read, Source),
        Permission(Read, BindingKey),
        Unlocked,
    ];
    /// Unbind a queue from an exchange.
    UnbindQueue = [
        Vhost,
        Permission(Write, DestinationQueue),
        Permission(Read, Source),
        Permission(Read, BindingKey),
        Unlocked,
    ];
    /// Delete the messages of a queue.
    PurgeQueue = [Vhost, Permission(Read, Queue), Unlocked];
    /// Consume from a queue.
    Consume = [Vhost, Permission(Read, Queue), Unlocked];
    /// Get single messages from a queue.
    Get = [Vhost, Permission(Read, Queue), Unlocked];
    /// Publish; replies to direct requests are published to the default exchange.
    Publish = [
        Vhost,
        Permission(Write, Exchange),
        Permission(Write, RoutingKey),
        SelfOr(Impersonator),
    ];
    /// Consume replies to one's own direct requests.
    ConsumeReplies = [Vhost];
    /// Ask whether somebody waits for a direct reply, under an address that cannot be guessed.
    CheckReplyQueue = [Vhost];

    // Managing, by those who have the tag for it.
    /// Use the management API, and see what it says of itself and of its user.
    UseManagement = [Tag(Management)];
    /// See that a vhost exists, and its limits and totals.
    SeeVhost = [Tag(Management), VhostOr(Monitoring)];
    /// See exchanges, queues, bindings, consumers and policies of a vhost.
    SeeTopology = [Tag(Management), VhostOr(Administrator)];
    /// See a connection or its channels.
    SeeConnection = [Tag(Management), OwnOr(Monitoring)];
    /// Close a connection.
    CloseConnection = [Tag(Management), OwnOr(Administrator)];
    /// See nodes, their memory and their listeners.
    SeeNodes = [Tag(Monitoring)];
    /// See whether the broker and its nodes are well.
    CheckHealth = [Tag(Management)];
    /// See the parameters of a vhost.
    SeeParameters = [Tag(Policymaker), VhostOr(Administrator)];
    /// Set a policy of a vhost; it may name exchanges to dead-letter and divert to.
    SetPolicy = [
        Tag(Policymaker),
        VhostOr(Administrator),
        PermissionOr(Write, DeadLetterExchange, Administrator),
        PermissionOr(Write, AlternateExchange, Administrator),
    ];
    /// Delete a policy of a vhost.
    ClearPolicy = [Tag(Policymaker), VhostOr(Administrator)];
    /// Set or delete a parameter of a vhost: a shovel, an upstream of a federation.
    ChangeParameter = [Tag(Policymaker), VhostOr(Administrator)];
    /// Set or delete a parameter of the broker.
    ChangeGlobalParameter = [Tag(Policymaker)];
    /// Set or delete an operator policy.
    ChangeOperatorPolicy = [Tag(Administrator)];
    /// Create or delete a vhost, or describe it.
    ChangeVhost = [Tag(Administrator)];
    /// Set or clear limits of a vhost.
    ChangeVhostLimits = [Tag(Administrator)];
    /// See users, their tags and permissions.
    SeeUsers = [Tag(Administrator)];
    /// Create or delete a user, or change its password and tags.
    ChangeUser = [Tag(Administrator)];
    /// Set or clear limits of a user.
    ChangeUserLimits = [Tag(Administrator)];
    /// Set or clear permissions and topic permissions.
    ChangePermissions = [Tag(Administrator)];
    /// See all definitions, password hashes included.
    ExportDefinitions = [Tag(Administrator)];
    /// Import definitions.
    ImportDefinitions = [Tag(Administrator)];
    /// Change what concerns the whole broker: its name, its feature flags, its statistics.
    ChangeBroker = [Tag(Administrator)];
}

impl Operation {
    /// Whether this part plays in the operation.
    #[must_use]
    pub fn has_part(self, part: Part) -> bool {
        self.needs().iter().any(|need| need.part() == Some(part))
    }
}

impl Need {
    /// The part that is asked about, if it is about one.
    #[must_use]
    pub const fn part(self) -> Option<Part> {
        match self {
            Self::Permission(_, part) | Self::PermissionOr(_, part, _) => Some(part),
            Self::OwnOr(_) => Some(Part::Owner),
            Self::SelfOr(_) => Some(Part::UserId),
            Self::Vhost | Self::VhostOr(_) | Self::Tag(_) | Self::Unlocked => None,
        }
    }
}

impl Permission {
    /// What it is called in configurations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

impl Tag {
    /// Every tag that means something.
    pub const ALL: &'static [Self] = &[
        Self::Management,
        Self::Policymaker,
        Self::Monitoring,
        Self::Administrator,
        Self::Impersonator,
    ];

    /// What it is called in configurations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Management => "management",
            Self::Policymaker => "policymaker",
            Self::Monitoring => "monitoring",
            Self::Administrator => "administrator",
            Self::Impersonator => "impersonator",
        }
    }

    /// The tags that stand for this one: itself, and those that include it. Nobody but an
    /// impersonator impersonates.
    #[must_use]
    pub const fn standing_in(self) -> &'static [Self] {
        match self {
            Self::Management => &[
                Self::Management,
                Self::Policymaker,
                Self::Monitoring,
                Self::Administrator,
            ],
            Self::Policymaker => &[Self::Policymaker, Self::Administrator],
            Self::Monitoring => &[Self::Monitoring, Self::Administrator],
            Self::Administrator => &[Self::Administrator],
            Self::Impersonator => &[Self::Impersonator],
        }
    }
}
