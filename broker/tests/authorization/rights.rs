//! The kinds of right that each operation is tried with, and what has to come of it.

use leveret::access::operation::{Need, Operation, Permission};
use leveret::config::{Password, PermissionConfig, TopicPermissionConfig, UserConfig};
use leveret::core::permission::Part;

use crate::peer::Outcome;

pub(crate) const VHOST: &str = "/";
pub(crate) const KEY: &str = "a.key";

/// One operation with rights of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) number: usize,
    pub(crate) operation: Operation,
    pub(crate) rights: Rights,
    /// False leaves out the parts that play in some requests only.
    pub(crate) is_whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rights {
    Full,
    /// No record in the vhost.
    NoVhost,
    /// Of configure, write and read, those that are given on everything; the others are on nothing.
    Only([bool; 3]),
    /// Everything, but for one permission on what plays one part.
    AllBut(Permission, Part),
    /// One permission is given on what plays another part, in place of this one.
    OnAnother(Permission, Part),
    /// A record for the exchange's keys, of which write and read match.
    Keys([bool; 2]),
    /// Everything on a queue that is another connection's.
    NotOwner,
    /// Everything, and a message in another user's name.
    AnotherName,
    /// The same with the tag for it.
    Impersonator,
}

/// Every case of these operations.
pub(crate) fn cases(operations: impl Iterator<Item = Operation>) -> Vec<Case> {
    let mut cases = Vec::new();
    for operation in operations {
        for rights in kinds(operation) {
            for is_whole in [true, false] {
                cases.push(Case {
                    number: cases.len(),
                    operation,
                    rights,
                    is_whole,
                });
            }
        }
    }
    cases
}

fn kinds(operation: Operation) -> Vec<Rights> {
    let mut kinds = vec![Rights::Full, Rights::NoVhost];
    kinds.extend((0..8).map(|bits| Rights::Only([0, 1, 2].map(|bit| bits & (1 << bit) != 0))));
    for need in operation.needs() {
        match *need {
            Need::Permission(_, Part::BindingKey | Part::RoutingKey) => {
                let all = [[true, true], [true, false], [false, true], [false, false]];
                kinds.extend(all.map(Rights::Keys));
            }
            Need::Permission(permission, part) => {
                kinds.push(Rights::AllBut(permission, part));
                kinds.push(Rights::OnAnother(permission, part));
            }
            Need::Unlocked => kinds.push(Rights::NotOwner),
            Need::SelfOr(_) => kinds.extend([Rights::AnotherName, Rights::Impersonator]),
            Need::Vhost => {}
            other => panic!("no client of AMQP meets {other:?}"),
        }
    }
    kinds
}

impl Case {
    pub(crate) fn user(&self) -> String {
        format!("user-{}", self.number)
    }

    /// The name of what plays this part in this case.
    pub(crate) fn name(&self, part: Part) -> String {
        let noun = match part {
            Part::Queue | Part::DeadLetteringQueue => "queue",
            Part::Exchange | Part::DivertingExchange | Part::RoutingKey => "exchange",
            Part::DestinationQueue | Part::DestinationExchange => "destination",
            Part::Source | Part::BindingKey => "source",
            Part::DeadLetterExchange => "letters",
            Part::AlternateExchange => "alternate",
            Part::UserId | Part::Owner => return self.user(),
        };
        format!("{noun}-{}", self.number)
    }

    pub(crate) fn user_config(&self) -> UserConfig {
        let has_record = self.rights != Rights::NoVhost;
        let permissions = has_record.then(|| PermissionConfig {
            vhost: VHOST.to_owned(),
            configure: self.pattern(Permission::Configure),
            write: self.pattern(Permission::Write),
            read: self.pattern(Permission::Read),
        });
        let is_impersonator = self.rights == Rights::Impersonator;
        UserConfig {
            name: self.user(),
            password: Password::new(self.user()),
            tags: is_impersonator
                .then(|| "impersonator".to_owned())
                .into_iter()
                .collect(),
            permissions: permissions.into_iter().collect(),
            topic_permissions: self.keys(),
            ..UserConfig::default()
        }
    }

    fn keys(&self) -> Vec<TopicPermissionConfig> {
        let Rights::Keys([write, read]) = self.rights else {
            return Vec::new();
        };
        let pattern = |matches| {
            if matches {
                "^a\\.key$"
            } else {
                "^a\\.keys$|^key$"
            }
        };
        let keys = [Part::BindingKey, Part::RoutingKey].map(|part| TopicPermissionConfig {
            vhost: VHOST.to_owned(),
            exchange: self.name(part),
            write: pattern(write).to_owned(),
            read: pattern(read).to_owned(),
        });
        keys.into()
    }

    /// There is no pattern for everything but one name; there is one for all the names of a case.
    fn pattern(&self, permission: Permission) -> String {
        let parts = self.operation.needs().iter().filter_map(|need| need.part());
        let names = parts.map(|part| self.name(part));
        let names = names.filter(|name| self.gives(permission, name));
        let mut names: Vec<_> = names.map(|name| format!("^{name}$")).collect();
        match self.rights {
            Rights::Only([configure, write, read]) => {
                let is_given = match permission {
                    Permission::Configure => configure,
                    Permission::Write => write,
                    Permission::Read => read,
                };
                if is_given { ".*" } else { "" }.to_owned()
            }
            Rights::OnAnother(other, part) if permission == other => {
                // What begins or ends like the name is another name.
                let name = self.name(part);
                names.extend([format!("^{name}.$"), format!("^.{name}$"), "^x$".to_owned()]);
                names.join("|")
            }
            Rights::AllBut(..) | Rights::OnAnother(..) => names.join("|"),
            _ => ".*".to_owned(),
        }
    }

    fn gives(&self, permission: Permission, name: &str) -> bool {
        match self.rights {
            Rights::AllBut(refused, part) | Rights::OnAnother(refused, part) => {
                permission != refused || name != self.name(part)
            }
            Rights::NoVhost => false,
            Rights::Only([configure, write, read]) => match permission {
                Permission::Configure => configure,
                Permission::Write => write,
                Permission::Read => read,
            },
            _ => true,
        }
    }

    fn gives_key(&self, permission: Permission) -> bool {
        match (self.rights, permission) {
            (Rights::Keys([write, _]), Permission::Write) => write,
            (Rights::Keys([_, read]), Permission::Read) => read,
            _ => true,
        }
    }

    /// What the table makes of it.
    pub(crate) fn expected(&self) -> Outcome {
        let needs = self.operation.needs().iter();
        let mut needs = needs.filter(|need| self.is_whole || !is_optional(**need));
        match needs.find_map(|need| self.refusal(*need)) {
            Some((code, text)) => Outcome::Refused(code, text),
            None => Outcome::Allowed,
        }
    }

    fn refusal(&self, need: Need) -> Option<(u16, String)> {
        let user = self.user();
        let whose = format!("in vhost '/' refused for user '{user}'");
        match need {
            Need::Vhost if self.rights == Rights::NoVhost => {
                let text = format!("NOT_ALLOWED - access to vhost '/' refused for user '{user}'");
                Some((530, text))
            }
            Need::Permission(permission, part @ (Part::BindingKey | Part::RoutingKey)) => {
                let exchange = self.name(part);
                let text = format!(
                    "ACCESS_REFUSED - access to topic '{KEY}' in exchange '{exchange}' {whose}"
                );
                (!self.gives_key(permission)).then_some((403, text))
            }
            Need::Permission(permission, part) => {
                let name = self.name(part);
                let noun = noun(part);
                let text = format!("ACCESS_REFUSED - access to {noun} '{name}' {whose}");
                (!self.gives(permission, &name)).then_some((403, text))
            }
            Need::Unlocked if self.rights == Rights::NotOwner => {
                let name = self.name(self.queue());
                let text = format!(
                    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost \
                     '/'. It could be originally declared on another connection or the exclusive \
                     property value does not match that of the original declaration."
                );
                Some((405, text))
            }
            Need::SelfOr(_) if self.rights == Rights::AnotherName => {
                let text = format!(
                    "PRECONDITION_FAILED - user_id property set to 'owner' but authenticated user was \
                     '{user}'"
                );
                Some((406, text))
            }
            _ => None,
        }
    }

    /// The queue that may be another connection's.
    fn queue(&self) -> Part {
        match self.operation.has_part(Part::DestinationQueue) {
            true => Part::DestinationQueue,
            false => Part::Queue,
        }
    }
}

fn is_optional(need: Need) -> bool {
    let part = need.part();
    matches!(
        part,
        Some(
            Part::DeadLetteringQueue
                | Part::DeadLetterExchange
                | Part::DivertingExchange
                | Part::AlternateExchange
                | Part::BindingKey
                | Part::RoutingKey
        )
    )
}

fn noun(part: Part) -> &'static str {
    match part {
        Part::Queue | Part::DestinationQueue | Part::DeadLetteringQueue => "queue",
        Part::Exchange
        | Part::DestinationExchange
        | Part::Source
        | Part::DeadLetterExchange
        | Part::DivertingExchange
        | Part::AlternateExchange => "exchange",
        Part::BindingKey | Part::RoutingKey | Part::UserId | Part::Owner => {
            panic!("{part:?} has words of its own")
        }
    }
}
