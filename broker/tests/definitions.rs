//! Definitions from outside: files of several versions of RabbitMQ, the binary's commands, and a broker
//! that keeps its data.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use leveret::config::Config;
use leveret::definitions::{PolicyDefinition, dry_run, load};
use leveret::{Broker, Definitions, Report, StartError};

const DEADLINE: Duration = Duration::from_secs(10);

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/definitions");
    folder.join(name)
}

fn directory(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("definitions-{test}"));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// What a broker that begins with this file has in the end, with the report of importing it.
fn imported(name: &str) -> (Definitions, Report) {
    let broker = Broker::start(Config::default().with_definitions(fixture(name))).unwrap();
    let read = load(&fixture(name), "/").unwrap();
    let report = dry_run(&read, &Config::default()).unwrap();
    (broker.definitions(), report)
}

fn json(definitions: &Definitions) -> String {
    definitions.to_json("RabbitMQ", "3.13.7")
}

fn not_honoured(report: &Report) -> Vec<String> {
    report
        .not_honoured
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Each policy with its name, pattern, what it applies to and priority, sorted.
fn policies(definitions: &Definitions) -> Vec<String> {
    let line = |one: &PolicyDefinition| {
        let kind = if one.is_operator { "operator " } else { "" };
        let (name, pattern) = (&one.name, &one.pattern);
        format!(
            "{kind}'{name}': {pattern} {} {}",
            one.apply_to, one.priority
        )
    };
    let mut lines: Vec<_> = definitions.policies.iter().map(line).collect();
    lines.sort_by_key(|line| !line.starts_with("operator"));
    lines
}

#[tokio::test]
async fn a_file_of_3_8_has_no_types_and_tags_with_commas() {
    let (has, report) = imported("rabbitmq-3.8.json");
    let expected = [
        "parameters[0] 'to-berlin' in vhost '/' of component 'shovel': there is no such component here",
        "exchanges[1] 'custom' in vhost '/': there is no exchange type 'x-of-no-plugin' here",
        "queues[1] 'stream' in vhost '/': queue type 'stream' of queue 'stream' in vhost '/' is not available",
        "bindings[1] from 'custom' to 'q' in vhost '/': there is no exchange 'custom', neither in the \
         definitions nor in the broker",
    ];
    assert_eq!(not_honoured(&report), expected);
    let guest = has.users.iter().find(|user| user.name == "guest").unwrap();
    assert_eq!(guest.tags, ["administrator", "monitoring"]);
    assert!(guest.password.matches(b"guest"));
    let vhosts: Vec<_> = has.vhosts.iter().map(|vhost| &*vhost.name).collect();
    assert_eq!(vhosts, ["/", "shop"]);
    assert_eq!(
        (has.queues.len(), has.exchanges.len(), has.bindings.len()),
        (1, 1, 1)
    );
}

/// Written by `rabbitmqctl export_definitions` of RabbitMQ 3.10.8, with fewer users and vhosts.
#[tokio::test]
async fn a_real_file_of_3_10_has_pairs_for_objects_and_bindings_to_what_it_leaves_out() {
    let (has, report) = imported("rabbitmq-3.10.json");
    let missing = "neither in the definitions nor in the broker";
    let expected = [
        "global_parameters[0] 'mine': there are no global parameters here".to_owned(),
        format!(
            "bindings[2] from 'orders' to 'inner' in vhost '/': there is no exchange 'inner', {missing}"
        ),
        format!(
            "bindings[3] from 'orders' to 'mine' in vhost '/': there is no queue 'mine', {missing}"
        ),
    ];
    let mut found = not_honoured(&report);
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(
        policies(&has),
        ["operator 'cap': .* queues 1", "'ttl': ^orders queues 3"]
    );
    let odd = has.queues.iter().find(|queue| queue.name == "odd").unwrap();
    let arguments = odd.arguments.view();
    assert_eq!(arguments.get("big").unwrap().as_integer(), Some(1 << 40));
    assert_eq!(
        arguments.get("void").unwrap().as_long_str(),
        Some(&b"undefined"[..])
    );
    let limited = has
        .users
        .iter()
        .find(|user| user.name == "limited")
        .unwrap();
    assert_eq!(
        (limited.connections_max, limited.channels_max),
        (Some(1), Some(2))
    );
    let limits = has
        .limits
        .iter()
        .find(|limits| limits.vhost == "leveret-two-queues")
        .unwrap();
    assert_eq!(limits.queues_max, Some(2));
    assert_eq!(has.topic_permissions.len(), 1);
    let described = has
        .vhosts
        .iter()
        .find(|vhost| vhost.name == "described")
        .unwrap();
    assert_eq!(
        (&*described.description, described.tags.len()),
        ("The second", 2)
    );
}

#[tokio::test]
async fn files_of_3_13_and_4_3_say_the_same_but_for_internal() {
    let needless = "policies[0] 'short' in vhost 'shop' definition.queue-leader-locator: there is nothing for \
                    this policy key to decide on one node";
    let (of_3_13, report) = imported("rabbitmq-3.13.json");
    assert_eq!(not_honoured(&report), [needless]);
    let (of_4_3, report) = imported("rabbitmq-4.3.json");
    assert_eq!(not_honoured(&report), [needless]);
    let inner = of_3_13
        .exchanges
        .iter()
        .find(|exchange| exchange.name == "inner")
        .unwrap();
    assert_eq!(inner.internal, Some(true));
    let without_internal = json(&of_3_13).replace("\"internal\":true", "\"internal\":false");
    assert_eq!(json(&of_4_3), without_internal);
    // Over what is there, a file that does not say it changes nothing about it.
    let broker =
        Broker::start(Config::default().with_definitions(fixture("rabbitmq-3.13.json"))).unwrap();
    let later = load(&fixture("rabbitmq-4.3.json"), "/").unwrap();
    let report = broker.import_definitions(&later).await.unwrap();
    assert_eq!(
        (report.exchanges, report.queues, report.bindings),
        (0, 0, 0)
    );
    assert_eq!(json(&broker.definitions()), json(&of_3_13));
}

#[tokio::test]
async fn a_file_of_one_vhost_makes_that_vhost() {
    let (has, report) = imported("rabbitmq-4.1-one-vhost.json");
    assert_eq!(not_honoured(&report), [""; 0]);
    let names: Vec<_> = has
        .vhosts
        .iter()
        .map(|vhost| (&*vhost.name, &*vhost.description))
        .collect();
    assert_eq!(names, [("shop", "the shop")]);
    assert_eq!(has.bindings[0].vhost, "shop");
}

async fn connect(broker: &Broker, user: &str, vhost: &str) -> lapin::Result<Connection> {
    let address = broker.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let uri = format!("amqp://{user}:guest@{address}/{vhost}");
    Connection::connect(&uri, ConnectionProperties::default()).await
}

#[tokio::test]
async fn perm_13_imported_users_log_in_with_their_hashes_and_are_held_to_their_topics() {
    let broker =
        Broker::start(Config::default().with_definitions(fixture("rabbitmq-3.13.json"))).unwrap();
    assert!(connect(&broker, "guest", "shop").await.is_err());
    let connection = connect(&broker, "app", "shop").await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    let publish = async |key: &str| {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        channel
            .basic_publish("x".into(), key.into(), options, b"", properties)
            .await?
            .await
    };
    publish("app.one").await.unwrap();
    publish("app.one").await.unwrap();
    let refused = publish("other.one").await.unwrap_err().to_string();
    let expected = "ACCESS_REFUSED - access to topic 'other.one' in exchange 'x' in vhost 'shop' refused for \
                    user 'app'";
    assert!(refused.contains(expected), "{refused}");
    broker.shutdown(DEADLINE).await;
}

fn kept(data_dir: &Path) -> Config {
    Config {
        data_dir: Some(data_dir.to_owned()),
        ..Config::default()
    }
}

/// Every file below a directory with what is in it.
fn bytes_below(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(bytes_below(&path)),
            false => found.push((path.clone(), fs::read(&path).unwrap())),
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_contradicts_the_data_directory_stops_the_start_and_adds_nothing_to_it() {
    let directory = directory("contradiction");
    let data = directory.join("data");
    let broker = Broker::start(kept(&data)).unwrap();
    let connection = connect(&broker, "guest", "%2f").await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare("q".into(), options, FieldTable::default())
        .await
        .unwrap();
    broker.shutdown(DEADLINE).await;
    drop(broker);
    let file = directory.join("definitions.json");
    let text = r#"{"vhosts": [{"name": "/"}, {"name": "new"}], "queues": [
        {"name": "other", "vhost": "new", "durable": true},
        {"name": "q", "vhost": "/", "durable": true, "arguments": {"x-max-length": 3}}]}"#;
    fs::write(&file, text).unwrap();
    let exported = |config: &Config| {
        let disk =
            leveret_storage::disk::RealDisk::open_read_only(config.data_dir.as_ref().unwrap())
                .unwrap();
        leveret_storage::inspect::verify(&disk).unwrap().catalog
    };
    let before = exported(&kept(&data));
    let error = Broker::start(kept(&data).with_definitions(&file)).unwrap_err();
    let StartError::Definitions(error) = error else {
        panic!("{error}");
    };
    let expected = "queues[1] 'q' in vhost '/': inequivalent arg 'x-max-length' for queue 'q' in vhost '/': \
                    received the value '3' of type 'long' but current is none";
    assert_eq!(error.problems[0].to_string(), expected);
    assert_eq!(error.count(), 1);
    assert_eq!(exported(&kept(&data)), before);
    // And one that does not contradict it comes in, is kept, and is found there by the next start.
    fs::write(&file, text.replace("\"x-max-length\": 3", "")).unwrap();
    for new in [true, false] {
        let broker = Broker::start(kept(&data).with_definitions(&file)).unwrap();
        assert_eq!(broker.definitions().queues.len(), 2);
        broker.shutdown(DEADLINE).await;
        drop(broker);
        assert_eq!(
            exported(&kept(&data)) != before,
            new || exported(&kept(&data)).len() > before.len()
        );
    }
}

#[tokio::test]
async fn what_a_running_broker_imports_is_safe_when_it_answers() {
    let directory = directory("running");
    let data = directory.join("data");
    let broker = Broker::start(kept(&data)).unwrap();
    let text = r#"{"queues": [{"name": "q", "vhost": "/", "durable": true}],
                   "bindings": [{"source": "amq.topic", "vhost": "/", "destination": "q", "routing_key": "a"}]}"#;
    let definitions = Definitions::from_json(text, "/").unwrap();
    let report = broker.import_definitions(&definitions).await.unwrap();
    assert_eq!((report.queues, report.bindings), (1, 1));
    // What a crash at this moment would leave.
    let copy = directory.join("copy");
    fs::create_dir_all(&copy).unwrap();
    for (path, bytes) in bytes_below(&data) {
        let to = copy.join(path.strip_prefix(&data).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
    let after = Broker::start(kept(&copy)).unwrap();
    assert_eq!(after.definitions().bindings.len(), 1);
    after.shutdown(DEADLINE).await;
    broker.shutdown(DEADLINE).await;
}

/// How many of ten messages, published one by one, a queue takes.
async fn accepted(broker: &Broker, queue: &str) -> usize {
    let connection = connect(broker, "guest", "shop").await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let options = ConfirmSelectOptions::default();
    channel.confirm_select(options).await.unwrap();
    let mut accepted = 0;
    for _ in 0..10 {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let publish = channel.basic_publish("".into(), queue.into(), options, b"m", properties);
        accepted += usize::from(publish.await.unwrap().await.unwrap().is_ack());
    }
    accepted
}

#[tokio::test]
async fn pol_01_policies_of_a_file_hold_from_the_start_and_those_of_a_running_import_at_once() {
    let data = directory("policies").join("data");
    let file = r#"{"vhosts": [{"name": "shop"}], "users": [{"name": "guest", "password": "guest", "tags": ""}],
        "permissions": [{"user": "guest", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}],
        "policies": [{"vhost": "shop", "name": "short", "pattern": "^q", "apply-to": "queues", "priority": 1,
                      "definition": {"max-length": 5, "overflow": "reject-publish"}}],
        "queues": [{"name": "q1", "vhost": "shop"}, {"name": "q2", "vhost": "shop"}]}"#;
    fs::write(data.with_file_name("a.json"), file).unwrap();
    let config = || kept(&data).with_definitions(data.with_file_name("a.json"));
    let broker = Broker::start(config()).unwrap();
    assert_eq!(accepted(&broker, "q1").await, 5);
    let cap = r#"{"parameters": [{"vhost": "shop", "component": "operator_policy", "name": "cap",
        "value": {"pattern": ".*", "apply-to": "queues", "priority": 0, "definition": {"max-length": 3}}}]}"#;
    let cap = Definitions::from_json(cap, "/").unwrap();
    let report = broker.import_definitions(&cap).await.unwrap();
    assert_eq!((report.policies, report.not_honoured.len()), (1, 0));
    assert_eq!(accepted(&broker, "q2").await, 3);
    let expected = ["operator 'cap': .* queues 0", "'short': ^q queues 1"];
    assert_eq!(policies(&broker.definitions()), expected);
    broker.shutdown(DEADLINE).await;
    // What the running broker imported is kept; the file is imported over it again.
    let broker = Broker::start(config()).unwrap();
    assert_eq!(policies(&broker.definitions()), expected);
    // The messages were transient, so the queue takes as many as before.
    assert_eq!(accepted(&broker, "q2").await, 3);
    broker.shutdown(DEADLINE).await;
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    command.args(arguments).env_clear().current_dir(directory);
    command.output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn check_prints_what_has_no_effect_and_what_importing_would_do() {
    let directory = directory("check");
    let file = fixture("rabbitmq-3.8.json");
    let output = run(
        &directory,
        &["definitions", "check", file.to_str().unwrap()],
    );
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<_> = stdout(&output).lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(
        lines[0].starts_with("not honoured: parameters[0] 'to-berlin' in vhost '/'"),
        "{lines:?}"
    );
    let expected = "definitions: 2 users, 2 vhosts, 1 permissions, 0 policies; new: 1 exchanges, 1 queues, 1 \
                    bindings; not honoured: 4";
    assert_eq!(lines[4], expected);
}

#[test]
fn check_names_every_problem_and_fails() {
    let directory = directory("check-broken");
    fs::write(
        directory.join("a.json"),
        r#"{"queues": [{"vhost": "/"}, {"name": "q"}], "vhosts": []}"#,
    )
    .unwrap();
    let output = run(&directory, &["definitions", "check", "a.json"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "problem: a.json: queues[0] in vhost '/': name is missing\n\
                    problem: a.json: queues[1] 'q': vhost is missing\n";
    assert_eq!(stdout(&output), expected);
    assert_eq!(
        stderr(&output),
        "leveret: a.json: 2 problems, nothing would be imported\n"
    );
}

#[test]
fn export_writes_what_serve_would_begin_with_and_changes_nothing() {
    let directory = directory("export");
    let file = fixture("rabbitmq-3.13.json");
    let import = format!("load_definitions={}", file.display());
    let first = run(
        &directory,
        &[
            "definitions",
            "export",
            "--ephemeral",
            "--set",
            &import,
            "--output",
            "a.json",
        ],
    );
    assert!(first.status.success(), "{first:?}");
    let again = run(
        &directory,
        &[
            "definitions",
            "export",
            "--ephemeral",
            "--set",
            "load_definitions=a.json",
        ],
    );
    assert_eq!(
        stdout(&again),
        fs::read_to_string(directory.join("a.json")).unwrap()
    );
    let has = load(&directory.join("a.json"), "/").unwrap();
    assert_eq!(
        (has.queues.len(), has.exchanges.len(), has.bindings.len()),
        (2, 2, 2)
    );
    let missing = run(
        &directory,
        &["definitions", "export", "--data-dir", "nothing"],
    );
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("nothing"), "{missing:?}");
    assert!(!directory.join("nothing").exists());
}

#[tokio::test]
async fn export_reads_a_data_directory_without_changing_it() {
    let directory = directory("export-data");
    let data = directory.join("data");
    let broker =
        Broker::start(kept(&data).with_definitions(fixture("rabbitmq-3.13.json"))).unwrap();
    let expected = broker.definitions();
    broker.shutdown(DEADLINE).await;
    drop(broker);
    let before = bytes_below(&data);
    let output = run(&directory, &["definitions", "export", "--data-dir", "data"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(bytes_below(&data), before);
    let has = Definitions::from_json(stdout(&output), "/").unwrap();
    // Users and vhosts are the configuration's.
    let topology = |definitions: &Definitions| {
        let text = json(definitions);
        let at = text.find("  \"policies\": ").unwrap();
        text[at..].to_owned()
    };
    assert_eq!(topology(&has), topology(&expected));
    let expected = [
        "operator 'cap': .* queues 0",
        "'short': ^q$ classic_queues 1",
    ];
    assert_eq!(policies(&has), expected);
}

#[test]
fn a_directory_is_read_in_the_order_of_names_and_the_later_file_counts() {
    let directory = directory("folder");
    let user = |password: &str| {
        format!(r#"{{"users": [{{"name": "ada", "password": "{password}", "tags": ""}}]}}"#)
    };
    fs::write(directory.join("b.json"), user("second")).unwrap();
    fs::write(directory.join("a.json"), user("first")).unwrap();
    fs::write(directory.join(".hidden"), "no JSON").unwrap();
    let config = Config::default().with_definitions(&directory);
    let broker = Broker::start(config).unwrap();
    let users = broker.definitions().users;
    assert_eq!(users.len(), 1);
    assert!(users[0].password.matches(b"second"));
}

#[test]
fn a_broken_file_stops_the_binary_before_it_makes_a_data_directory() {
    let directory = directory("broken");
    fs::write(directory.join("a.json"), "{").unwrap();
    let output = run(&directory, &["--set", "load_definitions=a.json"]);
    assert_eq!(output.status.code(), Some(1));
    let last = stderr(&output).lines().last().unwrap();
    assert!(
        last.starts_with(
            "leveret: definitions not imported, 1 problem: a.json: the file: this is not JSON"
        ),
        "{last}"
    );
    assert!(!directory.join("leveret-data").exists());
}
