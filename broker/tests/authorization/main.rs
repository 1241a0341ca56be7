//! Every operation that a client of AMQP can ask for, with every kind of right, over a connection: what the
//! table of operations says is what comes of it, to the letter, and what is refused has not happened.
//!
//! The cases are made from the table itself ([`rights`]). The table is compared with
//! `broker/docs/authorization.md` too, so that nobody changes what is needed without saying so.
//!
//! The same cases are tried against RabbitMQ with its users written by a first run and read by the reference:
//!
//! ```sh
//! AUTHORIZATION_DEFINITIONS=FILE cargo test -p leveret --test authorization
//! REFERENCE_DEFINITIONS=FILE conformance-tests/reference/rabbitmq run 5673 -- \
//!     sh -c 'REFERENCE_AMQP_URL=$AMQP_URL cargo test -p leveret --test authorization'
//! ```

#![allow(clippy::unwrap_used)]

mod documented;
mod drivers;
mod peer;
mod replies;
mod rights;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;

use leveret::access::operation::Operation;
use leveret::access::request::AMQP;
use leveret::config::{Password, PermissionConfig, UserConfig};
use leveret::{Broker, Config};
use tokio::task::JoinSet;

use peer::{Outcome, Peer};
use rights::{Case, Rights, VHOST, cases};

/// How many cases are tried at once; there are more than a thousand connections.
const WORKERS: usize = 4;

/// Somebody who may do everything.
fn owner() -> UserConfig {
    UserConfig {
        name: "owner".to_owned(),
        password: Password::new("owner"),
        permissions: vec![PermissionConfig::all(VHOST)],
        ..UserConfig::default()
    }
}

async fn try_cases(address: SocketAddr, cases: Vec<Case>) {
    let mut owner = Peer::open(address, "owner", VHOST).await.ok().unwrap();
    for case in cases {
        let expected = case.expected();
        let outcome = match Peer::open(address, &case.user(), VHOST).await {
            Err(refused) => refused,
            Ok(_) if case.operation == Operation::OpenVhost => Outcome::Allowed,
            Ok(mut user) => {
                drivers::set_up(&mut owner, &case).await;
                let outcome = drivers::attempt(&mut user, &case).await;
                let has_happened = drivers::has_happened(&mut owner, &case).await;
                if let Some(has_happened) = has_happened {
                    let is_allowed = outcome == Outcome::Allowed;
                    assert_eq!(has_happened, is_allowed, "{outcome:?}, {case:?}");
                }
                outcome
            }
        };
        assert_eq!(outcome, expected, "{case:?}");
    }
}

/// The broker under test: ours, or the reference, which has been given the users as definitions (see
/// [`write_definitions`]).
async fn broker(cases: &[Case]) -> (Option<Broker>, SocketAddr) {
    if let Ok(uri) = std::env::var("REFERENCE_AMQP_URL") {
        let (_, place) = uri.split_once('@').unwrap();
        return (None, place.trim_end_matches('/').parse().unwrap());
    }
    let users = cases.iter().map(Case::user_config).chain([owner()]);
    let config = Config {
        users: users.collect(),
        ..Config::default()
    };
    let (broker, address) = support::start(config).await;
    write_definitions(&broker);
    (Some(broker), address)
}

/// The users of these cases, for a reference to be started with: `AUTHORIZATION_DEFINITIONS` names the file.
fn write_definitions(broker: &Broker) {
    if let Ok(path) = std::env::var("AUTHORIZATION_DEFINITIONS") {
        std::fs::write(path, broker.definitions().to_json("RabbitMQ", "3.10.8")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_of_amqp_with_every_kind_of_right() {
    let operations = Operation::ALL.iter().copied();
    let cases = cases(operations.filter(|operation| drivers::is_driven(*operation)));
    let refused = cases
        .iter()
        .filter(|case| case.expected() != Outcome::Allowed);
    assert!(
        refused.count() > 200 && cases.len() > 450,
        "{}",
        cases.len()
    );
    let (_broker, address) = broker(&cases).await;
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let own = cases.iter().skip(worker).step_by(WORKERS).cloned();
        workers.spawn(try_cases(address, own.collect()));
    }
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
}

#[test]
fn every_operation_that_amqp_asks_for_has_a_driver() {
    for operation in Operation::ALL {
        let is_asked = AMQP.iter().any(|(_, asked)| asked.contains(operation));
        assert_eq!(drivers::is_driven(*operation), is_asked, "{operation:?}");
    }
}

#[test]
fn the_cases_refuse_for_each_need() {
    let operations = Operation::ALL.iter().copied();
    let cases = cases(operations.filter(|operation| drivers::is_driven(*operation)));
    for operation in Operation::ALL
        .iter()
        .filter(|one| drivers::is_driven(**one))
    {
        let own = cases.iter().filter(|case| case.operation == *operation);
        let own: Vec<_> = own.collect();
        let refusals = own.iter().map(|case| match case.expected() {
            Outcome::Allowed => String::new(),
            // The same for each case of an operation, but for its number.
            Outcome::Refused(_, text) => text.replace(&case.number.to_string(), "N"),
        });
        let mut refusals: Vec<_> = refusals.collect();
        refusals.sort();
        refusals.dedup();
        let ways = operation.needs().len() + 1;
        assert!(refusals.len() >= ways - has_two_permissions_on_one_thing(*operation));
        assert!(own.iter().any(|case| case.rights == Rights::Full));
    }
}

/// A queue or exchange that is declared is asked about twice, in the same words.
fn has_two_permissions_on_one_thing(operation: Operation) -> usize {
    let is_declared = matches!(
        operation,
        Operation::DeclareQueue | Operation::DeclareExchange
    );
    usize::from(is_declared)
}
