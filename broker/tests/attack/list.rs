//! The list of attacks by number, and where each is tested.
//!
//! A number is tested by functions whose names begin with it: `n004_…` in this crate, `attack_04_…` or
//! `attack_004_…` beside the code that it concerns. The table below says what each number is, names tests
//! of other names that hold it, and which front end a number waits for because what it aims at does not
//! exist. No number may be without one of these.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is known of a number beside the tests that carry it.
pub(crate) enum Held {
    /// By those tests alone.
    ByNumber,
    /// Also, or only, by these: a file of the workspace and a function in it.
    By(&'static [(&'static str, &'static str)]),
    /// By nothing yet: it aims at this, which is not there.
    WaitsFor(&'static str),
}

use Held::{By, ByNumber, WaitsFor};

const API: &str = "the HTTP API";
const UI: &str = "the management interface";

const NUMBERS: [(u8, &str, Held); 100] = [
    (1, "silence before login", ByNumber),
    (2, "other protocols' first bytes", ByNumber),
    (3, "TLS handshakes", ByNumber),
    (4, "frame sizes before login", ByNumber),
    (5, "memory for what is announced", ByNumber),
    (6, "input without an end", ByNumber),
    (7, "nested tables", ByNumber),
    (8, "elements of no width", ByNumber),
    (9, "lengths that contradict each other", ByNumber),
    (
        10,
        "SASL responses",
        By(&[
            (
                "broker/src/access/sasl.rs",
                "conn_09_plain_is_nul_user_nul_password_and_nothing_else",
            ),
            (
                "broker/src/access/sasl.rs",
                "conn_14_the_demo_takes_its_own_words_only",
            ),
        ]),
    ),
    (
        11,
        "telling users from passwords",
        By(&[(
            "broker/src/access/tests.rs",
            "conn_13_wrong_logins_are_refused",
        )]),
    ),
    (12, "JWT", WaitsFor("logins by OAuth 2")),
    (
        13,
        "LDAP and HTTP backends",
        WaitsFor("logins by LDAP or HTTP"),
    ),
    (
        14,
        "trust in certificates",
        By(&[
            (
                "broker/tests/tls/attacks.rs",
                "attack_03_an_authority_signs_only_for_the_names_it_has",
            ),
            (
                "broker/src/tls/certificate_name/tests.rs",
                "no_value_reads_like_another_part",
            ),
        ]),
    ),
    (
        15,
        "users from loopback only",
        By(&[
            (
                "broker/src/access/tests.rs",
                "conn_13_a_loopback_user_is_refused_elsewhere",
            ),
            (
                "broker/src/access/tests.rs",
                "a_mapped_loopback_address_is_loopback",
            ),
            (
                "broker/tests/proxy_protocol.rs",
                "attack_16_the_real_address_decides_who_is_local",
            ),
        ]),
    ),
    (16, "PROXY protocol", ByNumber),
    (17, "tune-ok", ByNumber),
    (18, "connection.open", ByNumber),
    (
        19,
        "compression before login",
        WaitsFor("AMQP over WebSocket"),
    ),
    (
        20,
        "WebSocket frames and origins",
        WaitsFor("AMQP over WebSocket"),
    ),
    (21, "connection floods, forged lines of the log", ByNumber),
    (22, "frame ends and types, heartbeats", ByNumber),
    (23, "frames larger than agreed", ByNumber),
    (24, "channels out of order", ByNumber),
    (25, "methods that do not exist or are cut", ByNumber),
    (26, "a server's methods", ByNumber),
    (27, "names", ByNumber),
    (28, "content out of order", ByNumber),
    (29, "body sizes", ByNumber),
    (30, "property flags", ByNumber),
    (31, "headers and arguments", ByNumber),
    (32, "user-id", ByNumber),
    (33, "qos", ByNumber),
    (34, "acknowledgements", ByNumber),
    (
        35,
        "consumers",
        By(&[(
            "broker/tests/limits.rs",
            "cons_13_a_channel_has_no_more_consumers_than_allowed",
        )]),
    ),
    (36, "recovering, poison messages", ByNumber),
    (37, "transactions", ByNumber),
    (38, "publishes that are refused", ByNumber),
    (39, "returns that nobody reads", ByNumber),
    (
        40,
        "clients that never read",
        By(&[(
            "broker/tests/pressure.rs",
            "a_consumer_that_does_not_read_holds_up_only_itself",
        )]),
    ),
    (
        41,
        "answers that nobody reads",
        By(&[(
            "broker/tests/pressure.rs",
            "a_client_that_asks_and_never_reads_is_not_read_any_more",
        )]),
    ),
    (42, "churn of channels and connections", ByNumber),
    (43, "secrets that are renewed", ByNumber),
    (44, "deleting what others use", ByNumber),
    (45, "topic patterns", ByNumber),
    (
        46,
        "regular expressions",
        By(&[(
            "broker/src/access/tests.rs",
            "a_pattern_that_grows_is_refused",
        )]),
    ),
    (47, "variables in topic permissions", ByNumber),
    (48, "wildcards in binding keys", ByNumber),
    (
        49,
        "rings and chains of exchanges and dead letters",
        By(&[(
            "broker/src/core/dead_letter/tests.rs",
            "dlx_15_histories_are_bounded",
        )]),
    ),
    (50, "numbers that a client names", ByNumber),
    (51, "direct replies, CC and BCC", ByNumber),
    (
        52,
        "passive declares",
        By(&[(
            "broker/tests/authorization/main.rs",
            "every_operation_of_amqp_with_every_kind_of_right",
        )]),
    ),
    (
        53,
        "alternate and dead-letter exchanges of others",
        By(&[
            (
                "broker/tests/authorization/main.rs",
                "every_operation_of_amqp_with_every_kind_of_right",
            ),
            (
                "broker/src/core/topology/tests/queues.rs",
                "perm_03_08_and_17_questions_come_in_order_and_before_the_lock",
            ),
        ]),
    ),
    (54, "reserved names", ByNumber),
    (55, "names that cannot be guessed", ByNumber),
    (
        56,
        "limits of vhosts and users",
        By(&[(
            "broker/tests/accounts/changes.rs",
            "limits_hold_from_now_on_and_count_what_was_there_before",
        )]),
    ),
    (
        57,
        "other vhosts by URI",
        WaitsFor("federation and shovels"),
    ),
    (58, "policies that change", ByNumber),
    (59, "bodies of requests", WaitsFor(API)),
    (60, "slow and many requests, HTTP/2", WaitsFor(API)),
    (61, "request smuggling", WaitsFor(API)),
    (62, "paths", WaitsFor(API)),
    (
        63,
        "a permission for each route",
        By(&[(
            "broker/src/access/request.rs",
            "attack_63_every_request_of_the_management_api_takes_a_tag_first",
        )]),
    ),
    (64, "names as HTML", WaitsFor(UI)),
    (65, "CORS, CSRF", WaitsFor(UI)),
    (66, "credentials in the browser", WaitsFor(UI)),
    (
        67,
        "secrets in logs and answers",
        By(&[
            (
                "broker/tests/binary.rs",
                "what_config_print_prints_is_allowed_and_shows_no_password",
            ),
            ("broker/src/access/tests.rs", "debug_shows_no_password"),
        ]),
    ),
    (68, "headers as formats", WaitsFor(API)),
    (69, "pages, orders, columns", WaitsFor(API)),
    (70, "rates as numbers", WaitsFor(API)),
    (71, "publishing and getting by HTTP", WaitsFor(API)),
    (
        72,
        "definitions",
        By(&[(
            "broker/src/definitions/round_trip_tests.rs",
            "no_text_makes_reading_it_panic",
        )]),
    ),
    (
        73,
        "requests that the broker is made to send",
        WaitsFor("anything that connects to others: nothing does"),
    ),
    (74, "metrics", WaitsFor("a metrics endpoint")),
    (75, "health", WaitsFor("a health endpoint")),
    (76, "sessions", WaitsFor(UI)),
    (
        77,
        "full disks",
        By(&[
            (
                "broker/tests/crash/full.rs",
                "a_full_disk_holds_publishers_up_until_consumers_have_made_room",
            ),
            (
                "storage/src/tests/space.rs",
                "a_full_disk_takes_settlements_and_is_not_full_afterwards",
            ),
        ]),
    ),
    (78, "very many queues", ByNumber),
    (
        79,
        "one message that stays",
        By(&[(
            "storage/src/tests/space.rs",
            "one_old_message_among_ten_thousand",
        )]),
    ),
    (80, "queues declared again", ByNumber),
    (
        81,
        "links, pipes and modes in the data directory",
        By(&[(
            "storage/src/disk/real/tests.rs",
            "a_pipe_a_link_a_socket_and_a_directory_are_not_opened",
        )]),
    ),
    (
        82,
        "crafted files",
        By(&[(
            "storage/src/tests/damage.rs",
            "every_flipped_bit_of_a_store_that_was_not_closed_is_noticed",
        )]),
    ),
    (83, "sizes around a segment's end", ByNumber),
    (84, "times at both ends", ByNumber),
    (85, "memory alarms", ByNumber),
    (86, "decompression", ByNumber),
    (
        87,
        "strangers on the cluster's port",
        WaitsFor("clustering"),
    ),
    (88, "calls between nodes", WaitsFor("clustering")),
    (89, "names that are forwarded", WaitsFor("clustering")),
    (90, "what commands print", ByNumber),
    (91, "MQTT", WaitsFor("MQTT")),
    (92, "failing open", ByNumber),
    (
        93,
        "a test for each class",
        By(&[(
            "broker/tests/attack/list.rs",
            "every_number_is_tested_or_says_what_it_waits_for",
        )]),
    ),
    (94, "panics on what comes from outside", ByNumber),
    (95, "stack and memory", ByNumber),
    (96, "hashers", ByNumber),
    (
        97,
        "unbounded channels, blocking",
        By(&[
            ("broker/tests/tidy.rs", "no_channel_is_unbounded"),
            (
                "broker/tests/crash/faults.rs",
                "while_a_sync_takes_long_nothing_is_confirmed_and_all_else_goes_on",
            ),
        ]),
    ),
    (98, "large destructors", ByNumber),
    (
        99,
        "panics under locks",
        By(&[
            (
                "broker/src/net/workers/tests.rs",
                "a_connection_stays_on_its_thread_and_a_panic_ends_it_alone",
            ),
            (
                "broker/src/core/queue/shared.rs",
                "a_panic_under_the_lock_ends_this_queue_and_says_so",
            ),
            (
                "broker/tests/crash/faults.rs",
                "after_a_failed_sync_nothing_is_confirmed_and_reading_goes_on",
            ),
        ]),
    ),
    (100, "dependencies", ByNumber),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

pub(crate) fn defines(file: &str, function: &str) -> bool {
    let text = std::fs::read_to_string(workspace().join(file)).unwrap_or_default();
    text.contains(&format!("fn {function}("))
}

/// Every Rust file of these folders.
fn sources() -> Vec<String> {
    let folders = [
        "broker/src",
        "broker/tests",
        "storage/src",
        "protocol/src",
        "protocol/tests",
    ];
    let mut open: Vec<_> = folders.map(|folder| workspace().join(folder)).into();
    let mut texts = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                texts.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    texts
}

/// The numbers that test functions carry in their names, and how many functions carry each.
fn numbers_in_names() -> BTreeMap<u8, usize> {
    let mut numbers = BTreeMap::new();
    for text in sources() {
        let names = text
            .lines()
            .filter_map(|line| line.split_once("fn "))
            .map(|(_, name)| name);
        for number in names.flat_map(numbers_of) {
            *numbers.entry(number).or_default() += 1;
        }
    }
    numbers
}

/// The numbers at the beginning of a name such as `n004_x`, `attack_04_x` or `attack_01_and_03_x`.
fn numbers_of(name: &str) -> Vec<u8> {
    let short = name
        .strip_prefix('n')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let Some(rest) = short.or_else(|| name.strip_prefix("attack_")) else {
        return Vec::new();
    };
    let words = rest.split('_').filter(|word| *word != "and");
    words.map_while(|word| word.parse().ok()).collect()
}

#[test]
fn every_number_is_tested_or_says_what_it_waits_for() {
    let listed: Vec<u8> = NUMBERS.iter().map(|(number, ..)| *number).collect();
    assert_eq!(listed, (1..=100).collect::<Vec<_>>());
    let by_name = numbers_in_names();
    let unknown: Vec<_> = by_name
        .keys()
        .filter(|number| !listed.contains(number))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    for (number, what, held) in &NUMBERS {
        let is_in_names = by_name.contains_key(number);
        match held {
            ByNumber => assert!(is_in_names, "nothing tests {number}, {what}"),
            WaitsFor(front_end) => {
                assert!(
                    !is_in_names,
                    "{number}, {what}, is tested and does not wait for {front_end}"
                );
            }
            By(tests) => {
                for (file, function) in *tests {
                    assert!(defines(file, function), "{number}: no {function} in {file}");
                }
            }
        }
    }
}

#[test]
fn names_say_their_numbers() {
    assert_eq!(numbers_of("n004_frame_size("), [4]);
    assert_eq!(numbers_of("attack_01_and_03_who("), [1, 3]);
    assert_eq!(numbers_of("attack_010_a_mechanism("), [10]);
    assert!(numbers_of("names_say(").is_empty());
    assert!(numbers_of("next_4(").is_empty());
}
