//! Every operation times every kind of right, against a judge that is written another way: it compares sets
//! of names where the real one matches patterns.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::*;
use crate::access::Access;
use crate::config::{Config, PermissionConfig, TopicPermissionConfig, UserConfig};

const VHOST: &str = "shop";
const USER: &str = "ada";
const TOPIC: &str = "source";
const KEY: &str = "a.key";
const PERMISSIONS: [Permission; 3] = [Permission::Configure, Permission::Write, Permission::Read];

/// What plays a part in these tests. Names differ, so that a right on one thing is none on another.
fn resource(part: Part, is_own: bool) -> Resource<'static> {
    match part {
        Part::Queue | Part::DeadLetteringQueue => Resource::Queue("queue"),
        Part::Exchange | Part::DivertingExchange => Resource::Exchange("exchange"),
        Part::DestinationQueue => Resource::Queue("destination"),
        Part::DestinationExchange => Resource::Exchange("destination"),
        Part::Source => Resource::Exchange(TOPIC),
        Part::BindingKey | Part::RoutingKey => Resource::Topic {
            exchange: TOPIC,
            routing_key: KEY.as_bytes(),
        },
        Part::DeadLetterExchange => Resource::Exchange("letters"),
        Part::AlternateExchange => Resource::Exchange(""),
        Part::UserId | Part::Owner if is_own => Resource::User(USER.as_bytes()),
        Part::UserId | Part::Owner => Resource::User(b"eve"),
    }
}

/// The name in patterns of all things that play parts.
const NAMES: [&str; 6] = [
    "queue",
    "exchange",
    "destination",
    TOPIC,
    "letters",
    "amq.default",
];

/// The names that one permission is given on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Names {
    All,
    None,
    AllBut(&'static str),
}

impl Names {
    fn include(self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::AllBut(other) => name != other,
        }
    }

    fn pattern(self, of: &[&str]) -> String {
        let included: Vec<_> = of.iter().filter(|name| self.include(name)).collect();
        match included[..] {
            [] => String::new(),
            _ => {
                let names = included.iter().map(|name| regex::escape(name));
                format!("^({})$", names.collect::<Vec<_>>().join("|"))
            }
        }
    }
}

/// Rights of one kind.
#[derive(Clone, Debug)]
struct Rights {
    /// Configure, write and read, if there is a record at all.
    record: Option<[Names; 3]>,
    /// Write and read keys, if there is a record of the exchange.
    keys: Option<[bool; 2]>,
    tags: &'static [&'static str],
    is_own: bool,
}

const FULL: Rights = Rights {
    record: Some([Names::All; 3]),
    keys: None,
    tags: &[],
    is_own: true,
};

/// No tag, each tag, one that means nothing, and some that look like one.
const TAGS: &[&[&str]] = &[
    &[],
    &["management"],
    &["policymaker"],
    &["monitoring"],
    &["administrator"],
    &["impersonator"],
    &["policymaker", "monitoring"],
    &["Administrator", "administrators", "", "admin istrator"],
];

/// No record, every subset of the three permissions, each permission on everything but one thing, with every
/// choice for keys.
fn all_records() -> Vec<Rights> {
    let subsets = (0..8).map(|bits| {
        Some([0, 1, 2].map(|bit| match bits & (1 << bit) {
            0 => Names::None,
            _ => Names::All,
        }))
    });
    let without_one = (0..3).flat_map(|which| {
        NAMES.iter().map(move |name| {
            let mut record = [Names::All; 3];
            record[which] = Names::AllBut(name);
            Some(record)
        })
    });
    let records: Vec<_> = std::iter::once(None)
        .chain(subsets)
        .chain(without_one)
        .collect();
    let keys = [
        None,
        Some([true, false]),
        Some([false, true]),
        Some([false; 2]),
    ];
    let mut all = Vec::new();
    for record in records {
        all.extend(keys.map(|keys| Rights {
            record,
            keys,
            ..FULL
        }));
    }
    all
}

/// The same with other tags, and with and without ownership.
fn with_every_tag(rights: &Rights) -> impl Iterator<Item = Rights> {
    TAGS.iter().flat_map(|tags| {
        [true, false].map(|is_own| Rights {
            tags,
            is_own,
            ..rights.clone()
        })
    })
}

fn all_rights() -> impl Iterator<Item = Rights> {
    let all = all_records();
    all.into_iter()
        .flat_map(|rights| with_every_tag(&rights).collect::<Vec<_>>())
}

impl Rights {
    fn config(&self) -> UserConfig {
        let permissions = self
            .record
            .map(|[configure, write, read]| PermissionConfig {
                vhost: VHOST.to_owned(),
                configure: configure.pattern(&NAMES),
                write: write.pattern(&NAMES),
                read: read.pattern(&NAMES),
            });
        let pattern = |is_given| match is_given {
            true => "^a\\.key$".to_owned(),
            false => "^another$".to_owned(),
        };
        let keys = self.keys.map(|[write, read]| TopicPermissionConfig {
            vhost: VHOST.to_owned(),
            exchange: TOPIC.to_owned(),
            write: pattern(write),
            read: pattern(read),
        });
        UserConfig {
            name: USER.to_owned(),
            permissions: permissions.into_iter().collect(),
            topic_permissions: keys.into_iter().collect(),
            ..UserConfig::default()
        }
    }

    fn user(&self) -> (Access, Arc<User>) {
        let config = Config {
            users: vec![self.config()],
            ..Config::default()
        };
        let access = Access::new(&config).unwrap();
        let user = access.user(USER).unwrap();
        (access, user)
    }

    /// Whether this need is met, in other words than the real judge's.
    fn meet(&self, need: Need) -> bool {
        let tagged = |tag: Tag| {
            let includes = |own: &&str| match tag {
                Tag::Management => {
                    ["management", "policymaker", "monitoring", "administrator"].contains(own)
                }
                Tag::Policymaker => ["policymaker", "administrator"].contains(own),
                Tag::Monitoring => ["monitoring", "administrator"].contains(own),
                Tag::Administrator => *own == "administrator",
                Tag::Impersonator => *own == "impersonator",
            };
            self.tags.iter().any(includes)
        };
        match need {
            Need::Vhost => self.record.is_some(),
            Need::VhostOr(tag) => self.record.is_some() || tagged(tag),
            Need::Tag(tag) => tagged(tag),
            Need::Permission(permission, part) => self.give(permission, part),
            Need::PermissionOr(permission, part, tag) => tagged(tag) || self.give(permission, part),
            Need::OwnOr(tag) | Need::SelfOr(tag) => self.is_own || tagged(tag),
            Need::Unlocked => true,
        }
    }

    fn give(&self, permission: Permission, part: Part) -> bool {
        let Some([configure, write, read]) = self.record else {
            return false;
        };
        if matches!(part, Part::BindingKey | Part::RoutingKey) {
            return match permission {
                Permission::Configure => false,
                Permission::Write => self.keys.is_none_or(|[write, _]| write),
                Permission::Read => self.keys.is_none_or(|[_, read]| read),
            };
        }
        let name = match resource(part, true) {
            Resource::Exchange("") => "amq.default",
            Resource::Exchange(name) | Resource::Queue(name) => name,
            other => panic!("{other:?}"),
        };
        match permission {
            Permission::Configure => configure.include(name),
            Permission::Write => write.include(name),
            Permission::Read => read.include(name),
        }
    }

    fn ask(
        &self,
        (access, user): &(Access, Arc<User>),
        operation: Operation,
        parts: &[Part],
    ) -> Result<(), Denied> {
        let place = Place {
            vhost: VHOST,
            permissions: access.permissions(user, VHOST).map(|record| &**record),
        };
        let resources = parts
            .iter()
            .map(|part| (*part, resource(*part, self.is_own)));
        let resources: Vec<_> = resources.collect();
        let tags: Vec<_> = self.tags.iter().map(|tag| (*tag).to_owned()).collect();
        let subject = Subject {
            name: user.name(),
            tags: &tags,
        };
        authorize(subject, place, operation, &resources)
    }
}

fn parts_of(operation: Operation) -> Vec<Part> {
    let parts = operation.needs().iter().filter_map(|need| need.part());
    parts.collect()
}

/// What a refusal for want of this need is about.
fn reason(need: Need) -> Reason {
    match need {
        Need::Vhost | Need::VhostOr(_) => Reason::Vhost,
        Need::Tag(tag) => Reason::Tag(tag),
        Need::Permission(_, part) | Need::PermissionOr(_, part, _) => {
            Reason::of(resource(part, true))
        }
        Need::OwnOr(_) => Reason::NotOwn,
        Need::SelfOr(_) => Reason::UserId {
            claimed: "eve".to_owned(),
        },
        Need::Unlocked => panic!("the core refuses it"),
    }
}

#[test]
fn every_operation_with_every_kind_of_right() {
    let (mut allowed, mut refused) = (0, 0);
    for record in all_records() {
        let user = record.user();
        for rights in with_every_tag(&record) {
            for operation in Operation::ALL {
                let judged = rights.ask(&user, *operation, &parts_of(*operation));
                let missing = operation.needs().iter().find(|need| !rights.meet(**need));
                let denied = judged.map_err(
                    |Denied {
                         user,
                         vhost,
                         reason,
                     }| {
                        assert_eq!((&*user, &*vhost), (USER, VHOST));
                        reason
                    },
                );
                let expected = missing.map_or(Ok(()), |need| Err(reason(*need)));
                assert_eq!(denied, expected, "{operation:?} {rights:?}");
                *(if denied.is_ok() {
                    &mut allowed
                } else {
                    &mut refused
                }) += 1;
            }
        }
    }
    assert!(allowed > 10_000 && refused > 10_000, "{allowed} {refused}");
}

#[test]
fn what_is_asked_part_by_part_is_what_is_asked_at_once() {
    for rights in all_rights().step_by(17) {
        let user = rights.user();
        for operation in Operation::ALL {
            let parts = parts_of(*operation);
            let at_once = rights.ask(&user, *operation, &parts);
            if matches!(
                operation,
                Operation::SeeConnection | Operation::CloseConnection
            ) {
                continue;
            }
            let none = rights.ask(&user, *operation, &[]);
            let mut by_part = parts.iter();
            let by_part = none.and_then(|()| {
                by_part.try_for_each(|part| rights.ask(&user, *operation, &[*part]))
            });
            assert_eq!(by_part, at_once, "{operation:?} {rights:?}");
        }
    }
}

#[test]
fn each_need_of_each_operation_is_needed() {
    for operation in Operation::ALL {
        for need in operation.needs() {
            let mut all = all_rights();
            let is_alone = |rights: &Rights| {
                let others = operation.needs().iter().filter(|other| *other != need);
                others.clone().all(|other| rights.meet(*other)) && !rights.meet(*need)
            };
            // The record in the vhost comes with every permission, and the lock is the core's.
            let is_implied = matches!(need, Need::Unlocked)
                || matches!(need, Need::Vhost | Need::VhostOr(_))
                    && operation
                        .needs()
                        .iter()
                        .any(|need| matches!(need, Need::Permission(..) | Need::PermissionOr(..)));
            assert!(
                is_implied || all.any(|rights| is_alone(&rights)),
                "{operation:?} {need:?}"
            );
        }
    }
}

#[test]
fn a_part_that_an_operation_does_not_have_is_refused() {
    let rights = Rights {
        tags: &["administrator", "impersonator"],
        ..FULL
    };
    let user = rights.user();
    for operation in Operation::ALL {
        for other in Operation::ALL.iter().flat_map(|other| parts_of(*other)) {
            let judged = rights.ask(&user, *operation, &[other]);
            assert_eq!(
                judged.is_ok(),
                operation.has_part(other),
                "{operation:?} {other:?}"
            );
        }
    }
}

#[test]
fn a_connection_that_is_nobodys_is_not_ones_own() {
    let mut rights = Rights {
        tags: &["management"],
        ..FULL
    };
    let judged = rights.ask(&rights.user(), Operation::CloseConnection, &[]);
    assert_eq!(judged.unwrap_err().reason, Reason::NotOwn);
    rights.tags = &["administrator"];
    assert_eq!(
        rights.ask(&rights.user(), Operation::CloseConnection, &[]),
        Ok(())
    );
}

#[test]
fn perm_01_the_words_of_refusals() {
    let denied = |reason| {
        let (user, vhost) = ("u".to_owned(), "v".to_owned());
        Fault::from(Denied {
            user,
            vhost,
            reason,
        })
        .reply_text()
    };
    let topic = Resource::Topic {
        exchange: "x",
        routing_key: b"k",
    };
    for (reason, text) in [
        (
            Reason::of(Resource::Queue("q")),
            "ACCESS_REFUSED - access to queue 'q' in vhost 'v' refused for user 'u'",
        ),
        (
            Reason::of(Resource::Exchange("")),
            "ACCESS_REFUSED - access to exchange 'amq.default' in vhost 'v' refused for user 'u'",
        ),
        (
            Reason::of(topic),
            "ACCESS_REFUSED - access to topic 'k' in exchange 'x' in vhost 'v' refused for user 'u'",
        ),
        (
            Reason::Vhost,
            "NOT_ALLOWED - access to vhost 'v' refused for user 'u'",
        ),
        (
            Reason::UserId {
                claimed: String::new(),
            },
            "PRECONDITION_FAILED - user_id property set to '' but authenticated user was 'u'",
        ),
    ] {
        assert_eq!(denied(reason), text);
    }
}

#[test]
fn pub_06_a_name_of_other_bytes_is_another_name() {
    let subject = Subject {
        name: "\u{fffd}",
        tags: &[],
    };
    let (access, user) = FULL.user();
    let place = Place {
        vhost: VHOST,
        permissions: access.permissions(&user, VHOST).map(|record| &**record),
    };
    let claims = |bytes| {
        let claimed = [(Part::UserId, Resource::User(bytes))];
        authorize(subject, place, Operation::Publish, &claimed).is_ok()
    };
    assert!(claims("\u{fffd}".as_bytes()));
    assert!(!claims(b"\xff"));
}

#[test]
fn perm_13_there_is_nothing_to_configure_about_a_key() {
    let (access, user) = FULL.user();
    let record = access.permissions(&user, VHOST).unwrap();
    let key = resource(Part::BindingKey, true);
    let given = PERMISSIONS.map(|permission| allows(record, permission, key));
    assert_eq!(given, [false, true, true]);
}
