//! What the library shows of itself.

use leveret::config::{Password, PasswordHash, PasswordHashing};
use leveret::{Broker, Config, Definitions, UserChange};

use crate::canary::assert_none;

fn config() -> Config {
    let mut config = Config::from_toml(
        "default_pass = 'CANARY-default'
         [[users]]
         name = 'ada'
         password = 'CANARY-config'",
    )
    .unwrap();
    config.loopback_users.clear();
    config
}

#[tokio::test]
async fn nothing_shows_a_secret_in_debug() {
    let config = config();
    let broker = Broker::start(config.clone()).unwrap();
    let change = UserChange {
        password: Some(Password::new("CANARY-put")),
        ..UserChange::default()
    };
    assert_none("a change", format!("{change:?}").as_bytes());
    broker.put_user("eve", change).await.unwrap();
    let text = r#"{"users":[{"name":"bob","password":"CANARY-definitions","tags":[]}]}"#;
    let read = Definitions::from_json(text, "/").unwrap();
    let report = broker.import_definitions(&read).await.unwrap();
    let hash = PasswordHash::of(
        "CANARY-hash",
        PasswordHashing::Argon2id,
        *b"CANARYCANARYCANA",
    );
    let exported = broker.definitions();
    for (what, shown) in [
        ("the configuration", format!("{config:?}")),
        ("it as TOML", toml::to_string(&config).unwrap()),
        ("the broker", format!("{broker:#?}")),
        ("its users", format!("{:?}", broker.users())),
        ("definitions", format!("{read:?}")),
        ("them as JSON", read.to_json("leveret", "0")),
        ("a report", format!("{report:?} {report}")),
        ("an export", format!("{exported:?}")),
        ("it as JSON", exported.to_json("leveret", "0")),
        ("a hash", format!("{hash:?}")),
        (
            "a password",
            format!("{:?}", Password::new("CANARY-password")),
        ),
    ] {
        assert_none(what, shown.as_bytes());
    }
}

/// The message of a panic is made of `Debug`.
#[test]
fn a_panic_shows_no_secret() {
    let caught = std::panic::catch_unwind(|| {
        assert_eq!(Password::new("CANARY-left"), Password::new("CANARY-right"));
    });
    let message = caught.unwrap_err();
    assert_none(
        "a panic",
        message.downcast_ref::<String>().unwrap().as_bytes(),
    );
}

#[test]
fn an_error_of_a_configuration_shows_no_secret() {
    for text in [
        "default_pass = CANARY",
        "default_pass = ['CANARY']",
        "default_pass = 'CANARY",
        "users = 'CANARY'",
        "users = ['CANARY']",
        "users = [{ name = 'ada', password = 'CANARY' ]",
        "users = [{ name = 'ada', password = ['CANARY'] }]",
        "users = [{ name = 'ada', passwort = 'CANARY' }]",
        "users = [{ name = 'ada', password = 'CANARY', password_hash = 'CANARY' }]",
        "users = [{ name = 'ada', password_hash = 'CANARY' }]",
        "users = [{ name = 'ada', password_hash = ['CANARY'] }]",
        "users = [{ name = 'ada', password = 'CANARY', hashing_algorithm = 'sha256' }]",
        "users = [{ name = 'ada', password = 'CANARY' }, { name = 'ada', password = 'CANARY' }]",
        "[[users]]\nname = 'ada'\npassword = 'CANARY'\npermissions = [{ vhost = 'nowhere' }]",
    ] {
        let error = Config::from_toml(text).unwrap_err();
        assert_none(text, format!("{error} {error:?}").as_bytes());
    }
}

#[test]
fn an_error_of_definitions_shows_no_secret() {
    for text in [
        r#"{"users":[{"name":"ada","password":"CANARY""#,
        r#"{"users":[{"name":"ada","password":["CANARY"]}]}"#,
        r#"{"users":[{"name":"ada","password_hash":"CANARY"}]}"#,
        r#"{"users":[{"name":"ada","password":{"CANARY":1}}]}"#,
        r#"{"users":"CANARY"}"#,
        r#"{"users":["CANARY"]}"#,
    ] {
        let error = Definitions::from_json(text, "/").unwrap_err();
        assert_none(text, format!("{error} {error:?}").as_bytes());
    }
}
