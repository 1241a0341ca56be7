//! Direct replies are no way round a missing permission (attack 51): who may not write to the default exchange
//! reaches no requester, by whatever key and header, and an address that is not known exactly is none.

use leveret::Config;
use leveret::config::{Password, PermissionConfig, UserConfig};
use leveret_protocol::client::OwnedFrame;
use leveret_protocol::method::{basic, confirm, exchange, queue};
use leveret_protocol::{ArrayBuf, Properties, TableBuf, Value};

use crate::owner;
use crate::peer::{Outcome, Peer};
use crate::rights::VHOST;
use crate::support;

const REPLY_QUEUE: &str = "amq.rabbitmq.reply-to";

/// May write to one exchange, which is not the default one.
fn eve() -> UserConfig {
    UserConfig {
        name: "eve".to_owned(),
        password: Password::new("eve"),
        permissions: vec![PermissionConfig {
            vhost: VHOST.to_owned(),
            configure: String::new(),
            write: "^x$".to_owned(),
            read: String::new(),
        }],
        ..UserConfig::default()
    }
}

fn reply_to(frame: &OwnedFrame) -> String {
    let header = frame.header().unwrap();
    let properties = Properties::parse(header.properties).unwrap();
    properties.reply_to.unwrap().to_text().into_owned()
}

/// Waits for replies, and tells the address that requests carry.
async fn request(requester: &mut Peer) -> String {
    let declare = queue::Declare {
        queue: "requests".into(),
        ..Default::default()
    };
    requester.call(declare, queue::DeclareOk::ID).await;
    let consume = basic::Consume {
        queue: REPLY_QUEUE.into(),
        no_ack: true,
        ..Default::default()
    };
    requester.call(consume, basic::ConsumeOk::ID).await;
    let select = confirm::Select::default();
    requester.call(select, confirm::SelectOk::ID).await;
    let asking = Properties {
        reply_to: Some(REPLY_QUEUE.into()),
        ..Default::default()
    };
    let published = requester.publish("", "requests", &asking).await;
    assert_eq!(published, Outcome::Allowed);
    let get = basic::Get {
        queue: "requests".into(),
        no_ack: true,
        ..Default::default()
    };
    requester.call(get, basic::GetOk::ID).await;
    let address = reply_to(&requester.frame().await);
    requester.frame().await;
    address
}

async fn confirming(address: std::net::SocketAddr, user: &str) -> Peer {
    let mut peer = Peer::open(address, user, VHOST).await.ok().unwrap();
    let select = confirm::Select::default();
    peer.call(select, confirm::SelectOk::ID).await;
    peer
}

#[tokio::test]
async fn attack_51_a_reply_takes_write_on_the_default_exchange() {
    let config = Config {
        users: vec![owner(), eve()],
        ..Config::default()
    };
    let (_broker, address) = support::start(config).await;
    let mut requester = Peer::open(address, "owner", VHOST).await.ok().unwrap();
    let declare = exchange::Declare {
        exchange: "x".into(),
        kind: "topic".into(),
        ..Default::default()
    };
    requester.call(declare, exchange::DeclareOk::ID).await;
    let to = request(&mut requester).await;

    let mut eve = confirming(address, "eve").await;
    let keys: ArrayBuf = [Value::LongStr(to.as_bytes())].into_iter().collect();
    for header in ["CC", "BCC"] {
        let headers = TableBuf::new().with(header, Value::Array(keys.view()));
        let copied = Properties {
            headers: Some(headers.view()),
            ..Default::default()
        };
        assert_eq!(eve.publish("x", "k", &copied).await, Outcome::Allowed);
        assert_eq!(eve.publish("x", &to, &copied).await, Outcome::Allowed);
        assert_refused(eve.publish("", "k", &copied).await);
        eve = confirming(address, "eve").await;
    }
    assert_refused(eve.publish("", &to, &Properties::default()).await);

    // Whoever may write to the default exchange has to know the whole address.
    let mut replier = confirming(address, "owner").await;
    for forged in [forged(&to), to.to_uppercase(), format!("{to}=")] {
        let none = Properties::default();
        assert_eq!(replier.publish("", &forged, &none).await, Outcome::Allowed);
    }
    let own = Properties {
        message_id: Some("the one".into()),
        ..Default::default()
    };
    assert_eq!(replier.publish("", &to, &own).await, Outcome::Allowed);

    let delivered = requester.frame().await;
    assert_eq!(delivered.method().unwrap().id(), basic::Deliver::ID);
    let header = requester.frame().await;
    let properties = header.header().unwrap().properties;
    let properties = Properties::parse(properties).unwrap();
    assert_eq!(properties.message_id, Some("the one".into()));
}

fn assert_refused(outcome: Outcome) {
    let text =
        "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'eve'";
    assert_eq!(outcome, Outcome::Refused(403, text.to_owned()));
}

/// The same address with another secret, which is as well formed.
fn forged(address: &str) -> String {
    let (place, secret) = address.rsplit_once('.').unwrap();
    let first = if secret.starts_with('A') { 'B' } else { 'A' };
    format!("{place}.{first}{}", secret.get(1..).unwrap())
}
