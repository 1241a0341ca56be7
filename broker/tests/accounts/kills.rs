//! A process that changes users and vhosts all the time, killed at any moment: what it had said was done is
//! done, and the change that was being made is there as a whole or not at all.
//!
//! The process is this test's own program, told by its environment to be the one that is killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use leveret::access::{UserLimits, VhostLimits};
use leveret::config::{Password, PermissionConfig};
use leveret::{Broker, Config, UserChange, VhostSettings};

use crate::{directory, keeping};

const DIRECTORY: &str = "LEVERET_TEST_KILLED_DIRECTORY";
const KILLS: u64 = 8;

/// The change of this number; after any number of them it is known what there is.
async fn change(broker: &Broker, number: u64) {
    let round = number / 8;
    let (user, vhost) = (format!("u{}", round % 3), format!("v{}", round % 2));
    let limit = Some((round % 5) as u32);
    match number % 8 {
        0 => {
            let change = UserChange {
                password: Some(Password::new(user.clone())),
                tags: Some(vec![format!("t{round}")]),
            };
            broker.put_user(&user, change).await.unwrap();
        }
        1 => {
            let settings = VhostSettings {
                description: format!("of round {round}"),
                ..VhostSettings::default()
            };
            broker.put_vhost(&vhost, settings).await.unwrap();
        }
        2 | 3 => {
            let vhost = if number % 8 == 2 { &vhost } else { "/" };
            let all = PermissionConfig::all(vhost);
            broker.set_permissions(&user, all).await.unwrap();
        }
        4 => {
            let limits = UserLimits {
                connections_max: limit,
                channels_max: None,
            };
            broker.set_user_limits(&user, limits).await.unwrap();
        }
        5 => {
            let limits = VhostLimits {
                queues_max: limit,
                ..VhostLimits::default()
            };
            broker.set_vhost_limits(&vhost, limits).await.unwrap();
        }
        6 if round.is_multiple_of(2) => broker.delete_vhost(&vhost).await.unwrap(),
        7 if round.is_multiple_of(3) => broker.delete_user(&user).await.unwrap(),
        _ => broker.clear_permissions(&user, "/").await.unwrap(),
    }
}

/// Everything but the hashes, whose salts are random.
fn accounts(broker: &Broker) -> String {
    let text = broker.definitions().to_json("RabbitMQ", "3.13.7");
    let lines = text.lines().filter(|line| !line.contains("password_hash"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Not a test but the process that is killed: with its directory in the environment it never ends.
#[tokio::test]
async fn killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let broker = Broker::start(keeping(Path::new(&directory))).unwrap();
    for number in 0.. {
        println!("\ndone {number}");
        std::io::stdout().flush().unwrap();
        change(&broker, number).await;
    }
}

/// Lets the process make about so many changes and kills it; says how many it had answered.
fn changes_until_killed(directory: &Path, about: u64) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kills::killed", "--nocapture"]);
    command.env(DIRECTORY, directory).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answered = 0;
    for line in lines.map_while(Result::ok) {
        let Some(number) = line.strip_prefix("done ") else {
            continue;
        };
        answered = number.parse().unwrap();
        if answered == about {
            // Not between two changes, but wherever it is by then.
            std::thread::sleep(Duration::from_micros(about * 97 % 1_500));
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    answered
}

#[tokio::test]
async fn a_kill_leaves_what_was_before_a_change_or_what_came_after_it() {
    let mut model = Broker::start(Config::default()).unwrap();
    let mut made = 0;
    for kill in 0..KILLS {
        let directory: PathBuf = directory(&format!("kill-{kill}"));
        let answered = changes_until_killed(&directory, 3 + kill * 13 % 60);
        if answered < made {
            (model, made) = (Broker::start(Config::default()).unwrap(), 0);
        }
        while made < answered {
            change(&model, made).await;
            made += 1;
        }
        let before = accounts(&model);
        change(&model, made).await;
        made += 1;
        let broker = Broker::start(keeping(&directory)).unwrap();
        let found = accounts(&broker);
        let after = accounts(&model);
        assert!(
            found == before || found == after,
            "after {answered} changes there is\n{found}\nand not\n{before}\nor\n{after}"
        );
        assert!(broker.health().is_ok(), "{}", broker.health());
    }
}
