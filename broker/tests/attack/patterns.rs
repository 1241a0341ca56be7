//! Numbers 45, 46 and 58: patterns that are made to be matched slowly, and policies that change under the
//! feet of publishers.

use leveret::config::{PermissionConfig, UserConfig};
use leveret::{ApplyTo, Config, Policy, PolicyKind};
use leveret_protocol::method::queue;
use leveret_protocol::{Properties, ShortStr, TableBuf};

use crate::arena::{Arena, impatient, user};
use crate::attacker::Attacker;
use crate::topology::{bind, confirmed_up_to, confirming, routed};

#[tokio::test]
async fn n045_patterns_that_could_match_in_very_many_ways_take_no_longer() {
    let mut arena = Arena::new().await;
    let mut attacker = confirming(&arena).await;
    attacker.declare("matched", &TableBuf::new()).await;
    let many = |word: &str, count| vec![word; count].join(".");
    let patterns = [
        many("#", 128),
        // Each `#` may end anywhere, and none of the ways leads to the end.
        many("#.a", 63) + ".z",
        many("#.*", 63) + ".z",
        many("*.#.a", 42) + ".z",
        many("#.a.#.b", 31) + ".z",
    ];
    for pattern in &patterns {
        let bind = bind("matched", "amq.topic", pattern);
        attacker.call(1, bind, queue::BindOk::ID).await;
    }
    // Prefixes of one another, so that many are alive at once.
    for words in 1..=60 {
        let pattern = many("#.a", words);
        let bind = bind("matched", "amq.topic", &pattern);
        attacker.call(1, bind, queue::BindOk::ID).await;
    }
    for key in [
        many("a", 128),
        many("", 256),
        many("b.a", 63),
        many("a.b", 63) + ".z",
    ] {
        for _ in 0..10 {
            routed(&mut arena, &mut attacker, "amq.topic", &key).await;
            assert!(attacker.get("matched").await.is_some());
        }
    }
    drop(attacker);
    arena.ends_empty().await;
}

/// Patterns on which a matcher that goes back and tries again would try for years.
const EXPONENTIAL: [&str; 4] = ["^(a+)+$", "^(a|aa)+$", "^(a|a?)+$", "(.*a){20}$"];

#[tokio::test]
async fn n046_patterns_of_permissions_and_policies_match_in_linear_time() {
    for pattern in EXPONENTIAL {
        let all = PermissionConfig {
            vhost: "/".to_owned(),
            configure: format!("{pattern}|^healthy"),
            write: ".*".to_owned(),
            read: ".*".to_owned(),
        };
        let config = Config {
            users: vec![UserConfig {
                permissions: vec![all],
                ..user("guest")
            }],
            ..impatient()
        };
        let mut arena = Arena::with(config).await;
        let definition = [("max-length", 5_i64)];
        let policy = Policy::new(
            PolicyKind::User,
            "p",
            pattern,
            ApplyTo::Queues,
            0,
            definition,
        );
        arena.broker.set_policy("/", policy.unwrap()).unwrap();
        let mut attacker = Attacker::on_channel(arena.address).await;
        let name = "a".repeat(254) + "!";
        let declare = queue::Declare {
            queue: ShortStr(name.as_bytes()),
            ..Default::default()
        };
        attacker.method(1, declare).await;
        arena.still_serves().await;
        attacker.closed_channel(403, "ACCESS_REFUSED").await;
        drop(attacker);
        arena.ends_empty().await;
    }
}

#[test]
fn n046_patterns_that_compile_to_too_much_are_refused() {
    for pattern in [
        "((a{1000}){1000}){1000}",
        r"\w{100000}",
        "(?:x*){50000}y{50000}",
    ] {
        let definition = [("max-length", 5_i64)];
        let policy = Policy::new(
            PolicyKind::User,
            "p",
            pattern,
            ApplyTo::Queues,
            0,
            definition,
        );
        assert!(policy.is_err(), "{pattern}");
        let mut guest = user("guest");
        guest.permissions[0].write = pattern.to_owned();
        let config = Config {
            users: vec![guest],
            ..Config::default()
        };
        assert!(leveret::Broker::start(config).is_err(), "{pattern}");
    }
}

fn limited(messages: i64) -> Policy {
    let definition = [("max-length", messages)];
    Policy::new(
        PolicyKind::User,
        "churn",
        "^churned",
        ApplyTo::Queues,
        0,
        definition,
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn n058_policies_may_change_while_everybody_publishes() {
    let mut arena = Arena::new().await;
    let mut attacker = confirming(&arena).await;
    attacker.declare("churned", &TableBuf::new()).await;
    let broker = arena.broker.clone();
    let churning = tokio::task::spawn_blocking(move || {
        for round in 0..300 {
            broker.set_policy("/", limited(round % 3)).unwrap();
            if round % 5 == 0 {
                broker.clear_policy("/", PolicyKind::User, "churn").unwrap();
            }
        }
        broker.set_policy("/", limited(0)).unwrap();
    });
    let mut published = 0;
    while !churning.is_finished() || published == 0 {
        for _ in 0..20 {
            attacker
                .publish("churned", &Properties::default(), b"body")
                .await;
        }
        confirmed_up_to(&mut attacker, published + 20).await;
        published += 20;
        arena.still_serves().await;
    }
    churning.await.unwrap();
    // A limit of nothing leaves nothing.
    assert_eq!(attacker.get("churned").await, None);
    drop(attacker);
    arena.ends_empty().await;
}

#[test]
fn n058_policies_that_say_nonsense_are_refused() {
    let refused = |key: &str, value: i64| {
        let definition = [(key, value)];
        Policy::new(PolicyKind::User, "p", ".*", ApplyTo::All, 0, definition).is_err()
    };
    for key in ["no-such-key", "", "max-length\0", "x-max-length"] {
        assert!(refused(key, 1), "{key:?}");
    }
    for key in [
        "max-length",
        "max-length-bytes",
        "message-ttl",
        "expires",
        "delivery-limit",
    ] {
        assert!(refused(key, i64::MIN), "{key}");
    }
    assert!(refused("expires", 0));
}
