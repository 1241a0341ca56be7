//! Users and vhosts of a running broker against a naive model, over restarts, kills and losses of power.

#![allow(clippy::unwrap_used)]
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use leveret_protocol::Table;
use leveret_storage::disk::fake::FakeDisk;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::{Broker, Inside, UserChange, VhostSettings};
use crate::access::{AccountError, UserLimits, VhostLimits};
use crate::amqp::tests::support::Client;
use crate::config::{
    Config, DefaultQueueType, Password, PermissionConfig, TopicPermissionConfig, UserConfig,
    VhostConfig,
};
use crate::core::topology::QueueDeclare;
use crate::core::topology::tests::{allow, queue};
use crate::durable::keeping::open_on;
use crate::node::Node;

// Often the same few, so that what is done has something to do with what was done before.
const USERS: [&str; 7] = ["ada", "ada", "ada", "eve", "eve", "guest", "fixed"];
const VHOSTS: [&str; 7] = ["v", "v", "v", "w", "w", "/", "fixed"];

#[derive(Clone, Debug)]
enum Step {
    PutUser(&'static str, Option<&'static str>, Option<Vec<String>>),
    DeleteUser(&'static str),
    Permit(&'static str, &'static str, &'static str),
    Forbid(&'static str, &'static str),
    PermitTopic(&'static str, &'static str, &'static str, &'static str),
    FreeTopics(&'static str, &'static str, Option<&'static str>),
    LimitUser(&'static str, Option<u32>),
    PutVhost(&'static str, &'static str, Option<DefaultQueueType>),
    DeleteVhost(&'static str),
    LimitVhost(&'static str, Option<u32>),
    DeclareQueue(&'static str, &'static str),
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let user = || prop::sample::select(&USERS[..]);
    let vhost = || prop::sample::select(&VHOSTS[..]);
    let pattern = || prop::sample::select(&[".*", ".*", "", "^a", "^a", "("][..]);
    let exchange = || prop::sample::select(&["x", "y"][..]);
    let password = prop::option::of(prop::sample::select(&["", "one", "two"][..]));
    let tags = prop::option::of(prop::collection::vec("[a-e]{0,2}", 0..2));
    let queue_type = prop::option::of(Just(DefaultQueueType::Quorum));
    let limit = || prop::option::of(0..3u32);
    prop_oneof![
        3 => (user(), password, tags).prop_map(|(user, password, tags)| Step::PutUser(user, password, tags)),
        1 => user().prop_map(Step::DeleteUser),
        4 => (user(), vhost(), pattern()).prop_map(|(user, vhost, one)| Step::Permit(user, vhost, one)),
        1 => (user(), vhost()).prop_map(|(user, vhost)| Step::Forbid(user, vhost)),
        2 => (user(), vhost(), exchange(), pattern())
            .prop_map(|(user, vhost, exchange, one)| Step::PermitTopic(user, vhost, exchange, one)),
        1 => (user(), vhost(), prop::option::of(exchange()))
            .prop_map(|(user, vhost, exchange)| Step::FreeTopics(user, vhost, exchange)),
        1 => (user(), limit()).prop_map(|(user, limit)| Step::LimitUser(user, limit)),
        3 => (vhost(), prop::sample::select(&["", "what for"][..]), queue_type)
            .prop_map(|(vhost, what, queue_type)| Step::PutVhost(vhost, what, queue_type)),
        2 => vhost().prop_map(Step::DeleteVhost),
        1 => (vhost(), limit()).prop_map(|(vhost, limit)| Step::LimitVhost(vhost, limit)),
        3 => (vhost(), prop::sample::select(&["q", "r"][..]))
            .prop_map(|(vhost, queue)| Step::DeclareQueue(vhost, queue)),
        1 => Just(Step::Restart),
    ]
}

fn config() -> Config {
    let mut config = Config {
        vhosts: vec![VhostConfig::named("fixed")],
        users: vec![UserConfig {
            permissions: vec![PermissionConfig::all("fixed")],
            ..UserConfig::named("fixed")
        }],
        ..Config::default()
    };
    // The smallest: what a fake disk reserves it has in memory.
    config.storage.segment_bytes = 65_536;
    config
}

fn started(disk: &FakeDisk) -> Broker {
    let config = config();
    let opened = open_on(Arc::new(disk.clone()), &config.storage).unwrap();
    let node = Node::with(config, Some(opened)).unwrap();
    Broker {
        inside: Arc::new(Inside {
            node: Arc::new(node),
            tasks: Mutex::default(),
        }),
    }
}

/// Users without their passwords, vhosts, and the queues that are in them.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    users: BTreeMap<String, UserConfig>,
    vhosts: BTreeMap<String, (VhostConfig, BTreeSet<String>)>,
}

impl State {
    fn of(broker: &Broker) -> Self {
        let node = &broker.inside.node;
        let mut state = Self::default();
        for user in node.access.users() {
            let mut user = UserConfig {
                password: Password::default(),
                ..user
            };
            sort(&mut user);
            state.users.insert(user.name.clone(), user);
        }
        for vhost in node.access.vhosts() {
            let queues = node.vhost(&vhost.name).unwrap().topology().queues();
            let queues = queues.iter().map(|queue| queue.name().to_string());
            let name = vhost.name.clone();
            state.vhosts.insert(name, (vhost, queues.collect()));
        }
        assert_eq!(node.vhosts().len(), state.vhosts.len());
        state
    }
}

fn sort(user: &mut UserConfig) {
    user.permissions.sort_by(|a, b| a.vhost.cmp(&b.vhost));
    let by = |one: &TopicPermissionConfig| (one.vhost.clone(), one.exchange.clone());
    user.topic_permissions.sort_by_key(by);
}

/// What there is, as anybody would say it.
#[derive(Debug)]
struct Model {
    state: State,
    passwords: BTreeMap<String, &'static str>,
}

impl Model {
    fn new() -> Self {
        let mut state = State::default();
        let fixed = config().users.remove(0);
        state.users.insert("fixed".to_owned(), fixed);
        for name in ["/", "fixed"] {
            let vhost = (VhostConfig::named(name), BTreeSet::new());
            state.vhosts.insert(name.to_owned(), vhost);
        }
        Self {
            state,
            passwords: BTreeMap::new(),
        }
    }

    /// Whether the step is allowed, and if so, what comes of it.
    fn take(&mut self, step: &Step) -> bool {
        let State { users, vhosts } = &mut self.state;
        match step {
            Step::PutUser(name, ..) | Step::DeleteUser(name) if *name == "fixed" => return false,
            Step::PutUser(name, password, tags) => {
                if tags.iter().flatten().any(String::is_empty) {
                    return false;
                }
                let user = users.entry((*name).to_owned());
                let user = user.or_insert_with(|| UserConfig::named(name));
                if let Some(tags) = tags {
                    user.tags.clone_from(tags);
                }
                if let Some(password) = password {
                    self.passwords.insert((*name).to_owned(), password);
                }
                return true;
            }
            Step::DeleteUser(name) => {
                self.passwords.remove(*name);
                return users.remove(*name).is_some();
            }
            Step::PutVhost(name, ..) | Step::DeleteVhost(name) | Step::LimitVhost(name, _)
                if *name == "fixed" =>
            {
                return false;
            }
            Step::PutVhost(name, what, queue_type) => {
                let vhost = vhosts.entry((*name).to_owned());
                let vhost = vhost.or_insert_with(|| (VhostConfig::named(name), BTreeSet::new()));
                vhost.0.description = (*what).to_owned();
                vhost.0.default_queue_type = *queue_type;
                return true;
            }
            Step::DeleteVhost(name) => {
                for user in users.values_mut() {
                    user.permissions.retain(|one| one.vhost != *name);
                    user.topic_permissions.retain(|one| one.vhost != *name);
                }
                return vhosts.remove(*name).is_some();
            }
            Step::LimitVhost(name, limit) => {
                let found = vhosts.get_mut(*name);
                let limited = found.map(|(vhost, _)| vhost.queues_max = *limit);
                return limited.is_some();
            }
            Step::DeclareQueue(vhost, queue) => {
                let found = vhosts.get_mut(*vhost);
                return found.is_some_and(|(_, queues)| {
                    queues.insert((*queue).to_owned());
                    true
                });
            }
            Step::Restart => return true,
            _ => {}
        }
        self.change_user(step)
    }

    fn change_user(&mut self, step: &Step) -> bool {
        let (name, vhost, pattern) = match step {
            Step::Permit(user, vhost, pattern) => (user, Some(vhost), *pattern),
            Step::PermitTopic(user, vhost, _, pattern) => (user, Some(vhost), *pattern),
            Step::Forbid(user, vhost) | Step::FreeTopics(user, vhost, _) => (user, Some(vhost), ""),
            Step::LimitUser(user, _) => (user, None, ""),
            other => panic!("{other:?}"),
        };
        let is_there = vhost.is_none_or(|vhost| self.state.vhosts.contains_key(*vhost));
        let found = self.state.users.get_mut(*name);
        let user = found.filter(|_| is_there && *name != "fixed");
        let Some(user) = user else { return false };
        match step {
            Step::Permit(_, vhost, _) => {
                if pattern == "(" {
                    return false;
                }
                user.permissions.retain(|one| one.vhost != **vhost);
                user.permissions.push(permission(vhost, pattern));
            }
            Step::PermitTopic(_, vhost, exchange, _) => {
                if pattern == "(" {
                    return false;
                }
                let all = &mut user.topic_permissions;
                all.retain(|one| (&*one.vhost, &*one.exchange) != (*vhost, *exchange));
                all.push(topic(vhost, exchange, pattern));
            }
            Step::Forbid(_, vhost) => user.permissions.retain(|one| one.vhost != **vhost),
            Step::FreeTopics(_, vhost, exchange) => user.topic_permissions.retain(|one| {
                one.vhost != **vhost || exchange.is_some_and(|exchange| one.exchange != exchange)
            }),
            Step::LimitUser(_, limit) => user.channels_max = *limit,
            _ => {}
        }
        sort(user);
        true
    }
}

fn permission(vhost: &str, pattern: &str) -> PermissionConfig {
    PermissionConfig {
        read: pattern.to_owned(),
        ..PermissionConfig::all(vhost)
    }
}

fn topic(vhost: &str, exchange: &str, pattern: &str) -> TopicPermissionConfig {
    TopicPermissionConfig {
        vhost: vhost.to_owned(),
        exchange: exchange.to_owned(),
        write: pattern.to_owned(),
        read: String::new(),
    }
}

async fn take(broker: &Broker, step: &Step) -> Result<(), AccountError> {
    match step.clone() {
        Step::PutUser(name, password, tags) => {
            let password = password.map(Password::new);
            broker.put_user(name, UserChange { password, tags }).await
        }
        Step::DeleteUser(name) => broker.delete_user(name).await,
        Step::Permit(user, vhost, pattern) => {
            let permission = permission(vhost, pattern);
            broker.set_permissions(user, permission).await
        }
        Step::Forbid(user, vhost) => broker.clear_permissions(user, vhost).await,
        Step::PermitTopic(user, vhost, exchange, pattern) => {
            let topic = topic(vhost, exchange, pattern);
            broker.set_topic_permissions(user, topic).await
        }
        Step::FreeTopics(user, vhost, exchange) => {
            broker.clear_topic_permissions(user, vhost, exchange).await
        }
        Step::LimitUser(user, channels_max) => {
            let limits = UserLimits {
                channels_max,
                ..UserLimits::default()
            };
            broker.set_user_limits(user, limits).await
        }
        Step::PutVhost(name, description, default_queue_type) => {
            let settings = VhostSettings {
                description: description.to_owned(),
                default_queue_type,
                ..VhostSettings::default()
            };
            broker.put_vhost(name, settings).await
        }
        Step::DeleteVhost(name) => broker.delete_vhost(name).await,
        Step::LimitVhost(name, queues_max) => {
            let limits = VhostLimits {
                queues_max,
                ..VhostLimits::default()
            };
            broker.set_vhost_limits(name, limits).await
        }
        Step::DeclareQueue(vhost, name) => {
            let found = broker.inside.node.vhost(vhost);
            let vhost = found.ok_or_else(|| AccountError::NoVhost(vhost.to_owned()))?;
            let request = QueueDeclare {
                durable: true,
                ..queue(name)
            };
            let declared = vhost.declare_queue(&request, &mut allow).map(|_| ());
            // A queue of the vhost's other type is there already, which is as good here.
            drop(declared);
            broker.settled(vhost.recorded()).await
        }
        Step::Restart => Ok(()),
    }
}

fn check_passwords(broker: &Broker, model: &Model) {
    for user in broker.inside.node.access.users() {
        for password in ["one", "two"] {
            let is_right = model.passwords.get(&user.name) == Some(&password);
            let matches = user.password.matches(password.as_bytes());
            assert_eq!(matches, is_right, "{} {password}", user.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_changed_is_so_and_stays_so(steps in prop::collection::vec(any_step(), 1..80)) {
        let runtime = Runtime::new().unwrap();
        let disk = FakeDisk::new();
        let mut broker = started(&disk);
        let mut model = Model::new();
        for step in &steps {
            let is_allowed = model.take(step);
            let taken = runtime.block_on(take(&broker, step));
            prop_assert_eq!(taken.is_ok(), is_allowed, "{:?}: {:?}", step, taken);
            if matches!(step, Step::Restart) {
                drop(broker);
                broker = started(&disk);
                prop_assert!(broker.health().is_ok(), "{}", broker.health());
            }
            prop_assert_eq!(&State::of(&broker), &model.state, "{:?}", step);
            check_passwords(&broker, &model);
        }
    }

    #[test]
    fn a_loss_of_power_leaves_what_was_before_a_change_or_what_came_after_it(
        steps in prop::collection::vec(any_step(), 1..12),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 4),
    ) {
        let runtime = Runtime::new().unwrap();
        let disk = FakeDisk::new();
        let broker = started(&disk);
        // Each state with how much had been done to the disk when it was answered.
        let mut states = vec![(State::of(&broker), 0)];
        for step in &steps {
            if runtime.block_on(take(&broker, step)).is_ok() {
                states.push((State::of(&broker), disk.operations()));
            }
        }
        let operations = disk.operations();
        for (at, seed) in cuts {
            let cut = at.index(operations + 1);
            let found = State::of(&started(&disk.image_sampled(cut, seed)));
            let answered = states.iter().rposition(|(_, by)| *by <= cut).unwrap();
            let may_be = states[answered..].iter().take(2);
            let is_one = may_be.clone().any(|(state, _)| *state == found);
            prop_assert!(is_one, "cut {cut}: {found:?} is none of {:?}", may_be.collect::<Vec<_>>());
        }
    }
}

/// Which steps come before a deletion, so that there is much to be deleted.
fn prepared() -> Vec<Step> {
    vec![
        Step::PutUser("ada", Some("one"), Some(vec!["t".to_owned()])),
        Step::PutUser("eve", Some("two"), None),
        Step::PutVhost("v", "what for", None),
        Step::Permit("ada", "v", ".*"),
        Step::Permit("eve", "v", "^a"),
        Step::PermitTopic("ada", "v", "x", "^a"),
        Step::LimitVhost("v", Some(2)),
        Step::DeclareQueue("v", "q"),
        Step::DeclareQueue("v", "r"),
    ]
}

#[test]
fn whenever_the_power_is_lost_a_vhost_or_user_is_made_and_goes_as_a_whole() {
    let runtime = Runtime::new().unwrap();
    let disk = FakeDisk::new();
    let broker = started(&disk);
    for step in prepared() {
        runtime.block_on(take(&broker, &step)).unwrap();
    }
    let steps = [
        Step::DeleteVhost("v"),
        Step::DeleteUser("ada"),
        Step::PutVhost("v", "another", None),
    ];
    for step in steps {
        let (before, from) = (State::of(&broker), disk.operations());
        runtime.block_on(take(&broker, &step)).unwrap();
        let (after, to) = (State::of(&broker), disk.operations());
        assert!(before != after && from < to, "{step:?}");
        for cut in from..=to {
            for seed in 0..4 {
                let found = State::of(&started(&disk.image_sampled(cut, seed)));
                let is_one = found == after || (found == before && cut < to);
                assert!(is_one, "{step:?} at {cut} of {from} to {to}: {found:?}");
            }
        }
    }
}

#[tokio::test]
async fn who_opens_a_vhost_just_when_it_is_being_deleted_is_told_that_it_is_not_there() {
    let broker = Broker::start(Config::default()).unwrap();
    // Found before it left the list, and counted after its connections were closed.
    broker.inside.node.vhost("/").unwrap().seal();
    let (ours, theirs) = tokio::io::duplex(65_536);
    let serving = broker.serve(theirs);
    let asking = async {
        let mut client = Client::open_over(ours, Table::default()).await;
        client.expect_close().await.text
    };
    tokio::select! {
        () = serving => panic!("it ended without a word"),
        text = asking => assert_eq!(text, "NOT_ALLOWED - vhost / not found"),
    }
}
