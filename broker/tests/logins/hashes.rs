//! Passwords kept in every way: in the configuration, in definitions, and in a data directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leveret::config::{HashingAlgorithm, Password, PasswordHash, PasswordHashing};
use leveret::{Broker, Config, Definitions, UserChange};

use crate::dialogue::{Answer, plain, refused};
use crate::support::start;

fn directory(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("logins-{test}"));
    let _ = std::fs::remove_dir_all(&directory);
    directory
}

async fn put(broker: &Broker, user: &str, password: &str) {
    let change = UserChange {
        password: Some(Password::new(password)),
        ..UserChange::default()
    };
    broker.put_user(user, change).await.unwrap();
}

fn algorithm_of(broker: &Broker, user: &str) -> HashingAlgorithm {
    let users = broker.definitions().users;
    let user = users.iter().find(|one| one.name == user).unwrap();
    user.password.hash().unwrap().algorithm()
}

async fn knows(address: SocketAddr, user: &str, password: &str) {
    assert_eq!(plain(address, user, password).await, Answer::LoggedIn);
    let wrong = format!("{password}x");
    assert_eq!(plain(address, user, &wrong).await, refused("PLAIN"));
}

#[tokio::test]
async fn users_are_hashed_as_configured_and_keep_their_hash() {
    let data = directory("kept");
    let config = |hashing| Config {
        data_dir: Some(data.clone()),
        password_hashing: hashing,
        failed_login_delay_ms: 1,
        ..Config::default()
    };
    for hashing in PasswordHashing::ALL {
        let broker = Broker::start(config(hashing)).unwrap();
        put(&broker, hashing.as_str(), "hush").await;
        broker.shutdown(Duration::from_secs(5)).await;
    }
    let (broker, address) = start(config(PasswordHashing::Sha512)).await;
    for hashing in PasswordHashing::ALL {
        assert_eq!(algorithm_of(&broker, hashing.as_str()), hashing.algorithm());
        knows(address, hashing.as_str(), "hush").await;
    }
    // The default user was made by the first of them.
    assert_eq!(algorithm_of(&broker, "guest"), HashingAlgorithm::Sha256);
    broker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn definitions_bring_every_hash_and_take_it_out_again() {
    let fixed = |hashing| PasswordHash::of("hush", hashing, [7; 16]).unwrap();
    let user = |name: &str, hash: &str, algorithm: &str| {
        format!(
            r#"{{"name":"{name}","password_hash":"{hash}","hashing_algorithm":"{algorithm}","tags":[]}}"#
        )
    };
    let mut users = vec![r#"{"name":"clear","password":"hush","tags":[]}"#.to_owned()];
    for hashing in PasswordHashing::ALL {
        let (hash, algorithm) = (fixed(hashing), hashing.algorithm().name());
        users.push(user(hashing.as_str(), &hash.to_base64(), algorithm));
        users.push(user(
            &format!("{}-text", hashing.as_str()),
            &hash.to_text(),
            algorithm,
        ));
        users.push(user(
            &format!("{}-unnamed", hashing.as_str()),
            &hash.to_base64(),
            "",
        ));
    }
    let text = format!(r#"{{"users":[{}]}}"#, users.join(","));
    let read = Definitions::from_json(&text, "/").unwrap();
    let config = Config {
        password_hashing: PasswordHashing::Argon2id,
        failed_login_delay_ms: 1,
        ..Config::default()
    };
    let (broker, address) = start(config).await;
    broker.import_definitions(&read).await.unwrap();
    assert_eq!(algorithm_of(&broker, "clear"), HashingAlgorithm::Argon2id);
    knows(address, "clear", "hush").await;
    let exported = broker.definitions().to_json("leveret", "0");
    for hashing in PasswordHashing::ALL {
        for name in ["", "-text", "-unnamed"] {
            let name = format!("{}{name}", hashing.as_str());
            knows(address, &name, "hush").await;
            let hash = format!("\"password_hash\":\"{}\"", fixed(hashing).to_base64());
            let line = exported
                .lines()
                .find(|line| line.contains(&format!("\"{name}\"")));
            assert!(line.unwrap().contains(&hash), "{exported}");
        }
    }
    assert!(!exported.contains("hush") && !exported.contains("$argon2id$"));
}

#[tokio::test]
async fn a_password_that_has_changed_is_the_only_one_at_once() {
    for hashing in PasswordHashing::ALL {
        let config = Config {
            password_hashing: hashing,
            failed_login_delay_ms: 1,
            ..Config::default()
        };
        let (broker, address) = start(config).await;
        put(&broker, "ada", "old").await;
        knows(address, "ada", "old").await;
        put(&broker, "ada", "new").await;
        assert_eq!(plain(address, "ada", "old").await, refused("PLAIN"));
        knows(address, "ada", "new").await;
        broker.delete_user("ada").await.unwrap();
        assert_eq!(plain(address, "ada", "new").await, refused("PLAIN"));
    }
}
