//! What the deletion of a user or a vhost means for those who are there, and what it leaves.

use std::path::Path;

use leveret::config::PermissionConfig;
use leveret::{AccountError, ApplyTo, Broker, Config, Policy, PolicyKind, VhostSettings};
use leveret_protocol::method::{basic, connection};
use leveret_storage::disk::RealDisk;
use leveret_storage::inspect;

use crate::session::{
    ask_for, consume, declare, forced, log_in, open, open_channel, publish, refused,
};
use crate::support::{PATIENCE, start};
use crate::{add_user, add_vhost, directory, keeping};

#[tokio::test]
async fn a_user_who_is_deleted_is_closed_and_cannot_come_back() {
    let (broker, address) = start(Config::default()).await;
    add_user(&broker, "ada", "/").await;
    let mut ada = open(address, "ada", "/").await;
    // Somebody who has logged in and opened nothing is nobody's connection yet.
    let mut between = log_in(address, "ada").await;
    let mut guest = open(address, "guest", "/").await;
    broker.delete_user("ada").await.unwrap();
    assert_eq!(ada.expect_close().await, forced("user 'ada' is deleted"));
    let expected = "NOT_ALLOWED - access to vhost '/' refused for user 'ada'";
    ask_for(&mut between, "/").await;
    assert_eq!(between.expect_close().await.text, expected);
    assert_eq!(broker.user("ada").map(|_| ()), None);
    let error = broker.delete_user("ada").await.unwrap_err();
    assert_eq!(error.to_string(), "user 'ada' does not exist");
    open_channel(&mut guest, 2).await;
}

#[tokio::test]
async fn a_user_of_the_same_name_is_another_one() {
    let (broker, address) = start(Config::default()).await;
    add_user(&broker, "ada", "/").await;
    let mut earlier = log_in(address, "ada").await;
    broker.delete_user("ada").await.unwrap();
    add_user(&broker, "ada", "/").await;
    // Logged in as one who is not there any more.
    ask_for(&mut earlier, "/").await;
    assert_eq!(earlier.expect_close().await.code, 530);
    open(address, "ada", "/").await;
    broker.delete_user("ada").await.unwrap();
    broker.put_user("ada", Default::default()).await.unwrap();
    let ada = broker.user("ada").unwrap();
    assert!(ada.permissions().is_empty() && ada.tags().is_empty());
}

#[tokio::test]
async fn whoever_is_in_a_vhost_that_is_deleted_is_closed_at_once_and_others_are_not() {
    let (broker, address) = start(Config::default()).await;
    for vhost in ["gone", "stays"] {
        add_vhost(&broker, vhost).await;
        add_user(&broker, vhost, vhost).await;
    }
    let mut gone = open(address, "gone", "gone").await;
    consume(&mut gone, 1, "q").await;
    let mut stays = open(address, "stays", "stays").await;
    consume(&mut stays, 1, "q").await;
    broker.delete_vhost("gone").await.unwrap();
    // No consumer is cancelled before.
    let expected = forced("vhost 'gone' is deleted");
    assert_eq!(gone.expect_close().await, expected);
    publish(&mut stays, 1, "q").await;
    stays.expect(basic::Deliver::ID).await;
    let expected = "NOT_ALLOWED - vhost gone not found";
    assert_eq!(refused(address, "gone", "gone").await.text, expected);
    let error = broker.delete_vhost("gone").await.unwrap_err();
    assert_eq!(error, AccountError::NoVhost("gone".to_owned()));
    assert!(broker.policies("gone", PolicyKind::User).is_err());
}

/// Nothing but what a broker writes when it is new.
fn entries_and_logs(directory: &Path) -> (Vec<Vec<u8>>, u64) {
    let disk = RealDisk::open_read_only(directory).unwrap();
    let report = inspect::verify(&disk).unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    let keys = report.catalog.into_iter().map(|(key, _)| key);
    (keys.collect(), report.logs)
}

fn limit() -> Policy {
    let definition = [("max-length", 1)];
    Policy::new(PolicyKind::User, "p", "", ApplyTo::Queues, 0, definition).unwrap()
}

async fn fill(broker: &Broker, address: std::net::SocketAddr) {
    let settings = VhostSettings {
        description: "old".to_owned(),
        ..VhostSettings::default()
    };
    broker.put_vhost("v", settings).await.unwrap();
    let limits = leveret::access::VhostLimits {
        queues_max: Some(9),
        ..Default::default()
    };
    broker.set_vhost_limits("v", limits).await.unwrap();
    add_user(broker, "ada", "v").await;
    broker.set_policy("v", limit()).unwrap();
    let mut ada = open(address, "ada", "v").await;
    for queue in ["q", "r"] {
        declare(&mut ada, 1, queue).await;
        publish(&mut ada, 1, queue).await;
    }
    // What follows is answered once the messages are with their queues.
    declare(&mut ada, 1, "q").await;
}

#[tokio::test]
async fn nothing_is_left_of_a_vhost_neither_on_disk_nor_for_one_of_its_name() {
    let directory = directory("nothing-left");
    let config = keeping(&directory);
    let (broker, _) = start(config.clone()).await;
    broker.shutdown(PATIENCE).await;
    drop(broker);
    let blank = entries_and_logs(&directory);
    let (broker, address) = start(config.clone()).await;
    fill(&broker, address).await;
    broker.delete_vhost("v").await.unwrap();
    broker.delete_user("ada").await.unwrap();
    broker.shutdown(PATIENCE).await;
    drop(broker);
    assert_eq!(entries_and_logs(&directory), blank);

    let (broker, address) = start(config.clone()).await;
    fill(&broker, address).await;
    broker.delete_vhost("v").await.unwrap();
    add_vhost(&broker, "v").await;
    let found = broker.vhosts().into_iter().find(|one| one.name == "v");
    assert_eq!(found.unwrap(), leveret::config::VhostConfig::named("v"));
    let expected = "NOT_ALLOWED - access to vhost 'v' refused for user 'ada'";
    assert_eq!(refused(address, "ada", "v").await.text, expected);
    let all = PermissionConfig::all("v");
    broker.set_permissions("ada", all).await.unwrap();
    let definitions = broker.definitions();
    assert!(definitions.queues.is_empty() && definitions.policies.is_empty());
    let mut ada = open(address, "ada", "v").await;
    consume(&mut ada, 1, "q").await;
    publish(&mut ada, 1, "q").await;
    // The one message is the new one.
    ada.expect(basic::Deliver::ID).await;
    let before = definitions.vhosts;
    broker.shutdown(PATIENCE).await;
    drop(broker);
    let (broker, _) = start(config).await;
    assert_eq!(broker.definitions().vhosts, before);
    assert_eq!(broker.definitions().queues.len(), 1);
    assert!(broker.health().is_ok(), "{}", broker.health());
}

#[tokio::test]
async fn what_the_configuration_names_cannot_be_deleted_and_the_default_vhost_can() {
    let config = "vhosts = [{ name = 'v' }]\nusers = [{ name = 'ada', password = 'ada' }]";
    let (broker, address) = start(Config::from_toml(config).unwrap()).await;
    let belongs = "belongs to the configuration: change it there, and start the broker again";
    let error = broker.delete_vhost("v").await.unwrap_err();
    assert_eq!(error.to_string(), format!("vhost 'v' {belongs}"));
    let error = broker.delete_user("ada").await.unwrap_err();
    assert_eq!(error.to_string(), format!("user 'ada' {belongs}"));
    broker.delete_vhost("/").await.unwrap();
    let mut ada = log_in(address, "ada").await;
    ask_for(&mut ada, "/").await;
    let close = ada.expect_close().await;
    assert_eq!(close.text, "NOT_ALLOWED - vhost / not found");
    assert_eq!(close.culprit, connection::Open::ID);
}
