//! What a change means for who is connected, and that it is there after a restart.

use leveret::access::{UserLimits, VhostLimits};
use leveret::config::{Password, PermissionConfig, TopicPermissionConfig};
use leveret::{Config, UserChange};
use leveret_protocol::method::{basic, channel, connection, queue};
use leveret_protocol::{LongStr, ShortStr};

use crate::session::{consume, declare, durable, open, open_channel, publish, refused};
use crate::support::{Client, PATIENCE, start};
use crate::{add_user, add_vhost, directory, keeping};

fn purge() -> queue::Purge<'static> {
    queue::Purge {
        queue: ShortStr(b"q"),
        ..Default::default()
    }
}

/// As RabbitMQ: nobody is closed, consumers go on, and the next channel may do nothing.
#[tokio::test]
async fn perm_16_who_has_lost_the_right_to_a_vhost_stays_in_it_and_may_do_nothing_new() {
    let (broker, address) = start(Config::default()).await;
    add_user(&broker, "ada", "/").await;
    let mut ada = open(address, "ada", "/").await;
    consume(&mut ada, 1, "q").await;
    broker.clear_permissions("ada", "/").await.unwrap();
    let mut guest = open(address, "guest", "/").await;
    publish(&mut guest, 1, "q").await;
    ada.expect(basic::Deliver::ID).await;
    ada.next_frame().await;
    open_channel(&mut ada, 2).await;
    ada.call(2, purge(), channel::Close::ID).await;
    let refused = refused(address, "ada", "/").await;
    let expected = "NOT_ALLOWED - access to vhost '/' refused for user 'ada'";
    assert_eq!(refused.text, expected);
    let all = PermissionConfig::all("/");
    broker.set_permissions("ada", all).await.unwrap();
    open_channel(&mut ada, 3).await;
    ada.call(3, purge(), queue::PurgeOk::ID).await;
}

#[tokio::test]
async fn perm_13_topic_permissions_hold_from_the_next_channel_on() {
    let (broker, address) = start(Config::default()).await;
    add_user(&broker, "ada", "/").await;
    let mut ada = open(address, "ada", "/").await;
    declare(&mut ada, 1, "q").await;
    let topics = TopicPermissionConfig {
        vhost: "/".to_owned(),
        exchange: "amq.topic".to_owned(),
        write: String::new(),
        read: "^{username}\\.".to_owned(),
    };
    broker.set_topic_permissions("ada", topics).await.unwrap();
    let bind = |key: &'static [u8]| queue::Bind {
        queue: ShortStr(b"q"),
        exchange: ShortStr(b"amq.topic"),
        routing_key: ShortStr(key),
        ..Default::default()
    };
    open_channel(&mut ada, 2).await;
    ada.call(2, bind(b"ada.a"), queue::BindOk::ID).await;
    ada.call(2, bind(b"eve.a"), channel::Close::ID).await;
    let all = None;
    broker
        .clear_topic_permissions("ada", "/", all)
        .await
        .unwrap();
    open_channel(&mut ada, 3).await;
    ada.call(3, bind(b"eve.a"), queue::BindOk::ID).await;
}

#[tokio::test]
async fn limits_hold_from_now_on_and_count_what_was_there_before() {
    let (broker, address) = start(Config::default()).await;
    add_user(&broker, "ada", "/").await;
    let mut ada = open(address, "ada", "/").await;
    declare(&mut ada, 1, "q").await;
    open_channel(&mut ada, 2).await;
    let limits = UserLimits {
        connections_max: Some(1),
        channels_max: Some(3),
    };
    broker.set_user_limits("ada", limits).await.unwrap();
    let expected =
        "NOT_ALLOWED - connection refused for user 'ada': user connection limit (1) is reached";
    assert_eq!(refused(address, "ada", "/").await.text, expected);
    open_channel(&mut ada, 3).await;
    let limits = VhostLimits {
        connections_max: Some(0),
        queues_max: Some(1),
        ..VhostLimits::default()
    };
    broker.set_vhost_limits("/", limits).await.unwrap();
    let expected = "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (0) is reached";
    assert_eq!(refused(address, "guest", "/").await.text, expected);
    declare(&mut ada, 3, "q").await;
    ada.call(3, durable("r"), channel::Close::ID).await;
    broker.clear_vhost_limits("/").await.unwrap();
    declare(&mut ada, 2, "r").await;
    // Channel 3 does not count any more, and 1 and 2 do, which were opened before there was a limit.
    open_channel(&mut ada, 4).await;
    let over = channel::Open::default();
    ada.call(5, over, connection::Close::ID).await;
    broker.clear_user_limits("ada").await.unwrap();
    open(address, "ada", "/").await;
}

async fn log_in_fails(address: std::net::SocketAddr, password: &str) -> bool {
    use leveret_protocol::client::{write_method, write_protocol_header};
    use tokio::io::AsyncWriteExt as _;
    let mut client = Client::connect(address).await;
    let mut out = bytes::BytesMut::new();
    write_protocol_header(&mut out);
    let response = format!("\0ada\0{password}");
    let start_ok = connection::StartOk {
        mechanism: ShortStr(b"PLAIN"),
        response: LongStr(response.as_bytes()),
        ..Default::default()
    };
    write_method(0, start_ok, &mut out);
    client.stream.write_all(&out).await.unwrap();
    client.expect(connection::Start::ID).await;
    client.read_frame().await.is_none()
}

#[tokio::test]
async fn a_changed_password_counts_from_the_next_login_on_and_after_a_restart() {
    let directory = directory("password");
    let (broker, address) = start(keeping(&directory)).await;
    add_user(&broker, "ada", "/").await;
    let mut ada = open(address, "ada", "/").await;
    let change = |password: Password| UserChange {
        password: Some(password),
        tags: None,
    };
    broker
        .put_user("ada", change(Password::new("other")))
        .await
        .unwrap();
    assert!(log_in_fails(address, "ada").await);
    assert!(!log_in_fails(address, "other").await);
    open_channel(&mut ada, 2).await;
    let tags = UserChange {
        password: None,
        tags: Some(vec!["monitoring".to_owned()]),
    };
    broker.put_user("ada", tags).await.unwrap();
    broker.shutdown(PATIENCE).await;
    drop(broker);
    let (broker, address) = start(keeping(&directory)).await;
    assert!(!log_in_fails(address, "other").await);
    assert_eq!(broker.user("ada").unwrap().tags(), ["monitoring"]);
    broker
        .put_user("ada", change(Password::default()))
        .await
        .unwrap();
    for password in ["other", "ada", ""] {
        assert!(log_in_fails(address, password).await, "{password:?}");
    }
}

#[tokio::test]
async fn the_default_user_can_be_deleted_for_good() {
    let directory = directory("no-guest");
    let (broker, address) = start(keeping(&directory)).await;
    add_user(&broker, "ada", "/").await;
    broker.delete_user("guest").await.unwrap();
    open(address, "ada", "/").await;
    broker.shutdown(PATIENCE).await;
    drop(broker);
    let (broker, address) = start(keeping(&directory)).await;
    assert!(broker.user("guest").is_none());
    open(address, "ada", "/").await;
}

#[tokio::test]
async fn whatever_is_not_allowed_is_named_and_changes_nothing() {
    let config = "users = [{ name = 'fixed', password = 'fixed' }]\nvhosts = [{ name = 'own' }]";
    let (broker, _) = start(Config::from_toml(config).unwrap()).await;
    add_vhost(&broker, "v").await;
    add_user(&broker, "ada", "v").await;
    let before = broker.definitions();
    let pattern = |pattern: &str| PermissionConfig {
        write: pattern.to_owned(),
        ..PermissionConfig::all("v")
    };
    let text = |outcome: Result<(), leveret::AccountError>| outcome.unwrap_err().to_string();
    let huge = "a".repeat(leveret::access::PATTERN_BYTES_MAX + 1);
    let topics = TopicPermissionConfig {
        vhost: "v".to_owned(),
        exchange: "x".to_owned(),
        write: "(".to_owned(),
        read: String::new(),
    };
    let nowhere = PermissionConfig::all("nowhere");
    let limits = UserLimits::default();
    let belongs = "belongs to the configuration: change it there, and start the broker again";
    let found = [
        text(broker.set_permissions("ada", pattern("(")).await),
        text(broker.set_permissions("ada", pattern(&huge)).await),
        text(broker.set_topic_permissions("ada", topics).await),
        text(broker.set_permissions("ada", nowhere).await),
        text(broker.set_permissions("nobody", pattern("")).await),
        text(broker.clear_permissions("nobody", "v").await),
        text(broker.set_user_limits("nobody", limits).await),
        text(
            broker
                .set_vhost_limits("nowhere", VhostLimits::default())
                .await,
        ),
        text(broker.put_user("", UserChange::default()).await),
        text(broker.put_vhost(&"v".repeat(256), Default::default()).await),
        text(broker.set_permissions("fixed", pattern("")).await),
        text(broker.put_user("fixed", UserChange::default()).await),
        text(broker.put_vhost("own", Default::default()).await),
        text(broker.set_vhost_limits("own", VhostLimits::default()).await),
    ];
    let expected = [
        "user \"ada\", vhost \"v\", write permission: expected a regular expression (unclosed group)".to_owned(),
        "user \"ada\", vhost \"v\", write permission: expected at most 16384 bytes".to_owned(),
        "user \"ada\", vhost \"v\", topic write on exchange \"x\" permission: expected a regular expression \
         (unclosed group)"
            .to_owned(),
        "vhost 'nowhere' does not exist".to_owned(),
        "user 'nobody' does not exist".to_owned(),
        "user 'nobody' does not exist".to_owned(),
        "user 'nobody' does not exist".to_owned(),
        "vhost 'nowhere' does not exist".to_owned(),
        "user name: expected 1 to 255 bytes, found 0".to_owned(),
        "vhost name: expected 1 to 255 bytes, found 256".to_owned(),
        format!("user 'fixed' {belongs}"),
        format!("user 'fixed' {belongs}"),
        format!("vhost 'own' {belongs}"),
        format!("vhost 'own' {belongs}"),
    ];
    assert_eq!(found, expected);
    let after = broker.definitions();
    assert_eq!(
        (after.permissions, after.vhosts),
        (before.permissions, before.vhosts)
    );
}
