//! Tests of the configuration: defaults, documents, layers and the texts of errors.

#![allow(clippy::unwrap_used)]

use super::*;

const EXAMPLE: &str = include_str!("../../docs/leveret.toml");
const REFERENCE: &str = include_str!("../../docs/configuration.md");

fn error(text: &str) -> String {
    Config::from_toml(text).unwrap_err().to_string()
}

fn option(name: &str) -> Origin {
    Origin::CommandLine {
        option: name.to_owned(),
    }
}

#[test]
fn an_empty_document_is_the_default() {
    assert_eq!(Config::from_toml("").unwrap(), Config::default());
    Config::default().validate().unwrap();
}

#[test]
fn conn_03_mechanisms_are_a_list_of_known_names() {
    let offered = |text| Config::from_toml(text).unwrap().auth_mechanisms;
    let demo = offered(r#"auth_mechanisms = ["RABBIT-CR-DEMO", "PLAIN"]"#);
    assert_eq!(demo, [AuthMechanism::RabbitCrDemo, AuthMechanism::Plain]);
    for mechanism in demo {
        assert_eq!(
            AuthMechanism::from_name(mechanism.as_str()),
            Some(mechanism)
        );
    }
    assert_eq!(
        error("auth_mechanisms = []"),
        "line 1: auth_mechanisms: [] is not allowed, expected at least one mechanism"
    );
    assert_eq!(
        error(r#"auth_mechanisms = ["PLAIN", "PLAIN"]"#),
        "line 1: auth_mechanisms: \"PLAIN\" is not allowed, expected each name only once"
    );
    assert_eq!(
        error(r#"auth_mechanisms = ["plain"]"#),
        "line 1: auth_mechanisms[0]: `plain` is not allowed, expected one of `PLAIN`, `AMQPLAIN`, \
         `RABBIT-CR-DEMO`, `EXTERNAL`, `ANONYMOUS`"
    );
}

#[test]
fn the_example_is_the_default() {
    assert_eq!(Config::from_toml(EXAMPLE).unwrap(), Config::default());
}

#[test]
fn the_example_has_every_key() {
    let example: toml::Table = toml::from_str(EXAMPLE).unwrap();
    for key in keys() {
        let mut steps = key.path.split('.');
        let first = example.get(steps.next().unwrap());
        let found = steps.fold(first, |value, step| value?.get(step));
        assert!(found.is_some(), "leveret.toml lacks {}", key.path);
    }
    for name in names_of_entries() {
        let is_there = EXAMPLE.contains(&format!("{name} = "));
        assert!(is_there, "leveret.toml lacks {name}");
    }
}

#[test]
fn the_reference_has_every_key_with_default_and_variable() {
    for key in keys() {
        let row = format!("| `{}` |", key.path);
        let row = REFERENCE.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("configuration.md lacks {}", key.path));
        let variable = key.path.replace('.', "__").to_uppercase();
        assert!(row.contains(&format!("`LEVERET_{variable}`")), "{row}");
        let is_shown = key.path == "users" || row.contains(&format!("`{}`", key.default));
        assert!(is_shown, "{row} lacks {}", key.default);
    }
    for name in names_of_entries() {
        let is_there = REFERENCE.contains(&format!("\n| `{name}` |"));
        assert!(is_there, "configuration.md lacks {name}");
    }
}

/// The keys inside `vhosts`, `users` and `permissions`.
fn names_of_entries() -> Vec<String> {
    let vhost = VhostConfig {
        name: "v".to_owned(),
        connections_max: Some(1),
        queues_max: Some(1),
        exchanges_max: Some(1),
        bindings_max: Some(1),
        description: "what for".to_owned(),
        tags: vec!["t".to_owned()],
        default_queue_type: Some(DefaultQueueType::Quorum),
    };
    let topic = TopicPermissionConfig {
        vhost: "v".to_owned(),
        exchange: "x".to_owned(),
        write: String::new(),
        read: String::new(),
    };
    let user = UserConfig {
        connections_max: Some(1),
        channels_max: Some(1),
        topic_permissions: vec![topic],
        permissions: vec![PermissionConfig::all("/")],
        ..UserConfig::named("ada")
    };
    let tables = [
        toml::Table::try_from(vhost).unwrap(),
        toml::Table::try_from(&user).unwrap(),
        toml::Table::try_from(&user.permissions[0]).unwrap(),
        toml::Table::try_from(&user.topic_permissions[0]).unwrap(),
    ];
    tables
        .iter()
        .flat_map(|table| table.keys().cloned())
        .collect()
}

#[test]
fn the_list_of_keys_has_tables_and_lists() {
    let paths: Vec<_> = keys().into_iter().map(|key| key.path).collect();
    for path in [
        "listeners",
        "log.level",
        "identity.product",
        "users",
        "vhosts",
    ] {
        assert!(paths.iter().any(|known| known == path), "{path}");
    }
}

#[test]
fn reads_addresses_vhosts_and_users() {
    let config = Config::from_toml(
        r#"
        listeners = ["0.0.0.0:5672", "[::1]:0"]
        [[vhosts]]
        name = "orders"
        queues_max = 0
        [[users]]
        name = "ada"
        password = "secret"
        channels_max = 3
        permissions = [{ vhost = "orders", read = "^in" }]
        "#,
    )
    .unwrap();
    assert_eq!(config.listeners[1].to_string(), "[::1]:0");
    assert_eq!(config.vhost_names().collect::<Vec<_>>(), ["/", "orders"]);
    assert_eq!(config.vhost("orders").unwrap().queues_max, Some(0));
    assert_eq!(config.vhost("orders").unwrap().connections_max, None);
    assert_eq!(config.users.len(), 1);
    assert_eq!(config.users[0].channels_max, Some(3));
    assert_eq!(config.users[0].permissions[0].write, "");
}

#[test]
fn limits_on_the_default_vhost_do_not_make_it_two() {
    let config = Config::from_toml("vhosts = [{ name = '/', queues_max = 1 }]").unwrap();
    assert_eq!(config.vhost_names().collect::<Vec<_>>(), ["/"]);
}

#[test]
fn the_first_user_may_do_everything_on_the_default_vhost_and_comes_only_where_nobody_else_is_named()
{
    let read = |text: &str| Config::from_toml(text).unwrap().first_user();
    let guest = read("default_vhost = 'orders'").unwrap();
    assert_eq!((&*guest.name, &*guest.tags[0]), ("guest", "administrator"));
    assert!(guest.password.matches(b"guest"));
    assert_eq!(guest.permissions, [PermissionConfig::all("orders")]);
    let ada = read("default_user = 'ada'\ndefault_pass = 'hush'").unwrap();
    assert!(ada.name == "ada" && ada.password.matches(b"hush"));
    for none in ["default_user = ''", "users = [{ name = 'ada' }]"] {
        assert_eq!(read(none), None, "{none}");
    }
}

#[test]
fn the_default_vhost_belongs_to_the_configuration_where_it_speaks_of_it() {
    let read = |text: &str| -> Vec<String> {
        let config = Config::from_toml(text).unwrap();
        config.own_vhosts().map(|one| one.name).collect()
    };
    assert_eq!(read(""), Vec::<String>::new());
    assert_eq!(
        read("vhosts = [{ name = 'v' }, { name = '/' }]"),
        ["v", "/"]
    );
    let user = "users = [{ name = 'ada', permissions = [{ vhost = '/' }] }]";
    assert_eq!(read(user), ["/"]);
    assert_eq!(read(&format!("vhosts = [{{ name = '/' }}]\n{user}")), ["/"]);
}

#[test]
fn the_default_password_is_in_no_error() {
    let error = Config::from_toml("default_pass = 77")
        .unwrap_err()
        .to_string();
    assert!(!error.contains("77"), "{error}");
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let text = error("\nframe_mex = 1\n");
    assert!(
        text.starts_with("line 2: frame_mex: there is no such key, expected one of `listeners`"),
        "{text}"
    );
    let text = error("log = 3");
    assert_eq!(
        text,
        "line 1: log: integer `3` is not allowed, expected a table"
    );
    let text = error("[log]\nlevel = 'info'\ncolour = true");
    assert!(
        text.starts_with("line 3: log.colour: there is no such key"),
        "{text}"
    );
    let text = error("[[users]]\nname = 'a'\n[[users]]\nname = 'b'\npasword = 'hush'");
    assert!(
        text.starts_with("line 5: users[1].pasword: there is no such key"),
        "{text}"
    );
    assert!(!text.contains("hush"));
}

#[test]
fn a_number_out_of_range_is_named_with_its_range() {
    assert_eq!(
        error("heartbeat_s = 1\nframe_max = 0"),
        "line 2: frame_max: 0 is not allowed, expected a whole number from 4096 to 16777216"
    );
    assert_eq!(
        error("channel_max = 65536"),
        "line 1: channel_max: 65536 is not allowed, expected a whole number from 0 to 65535"
    );
    assert_eq!(
        error("heartbeat_s = \"a\\nb\""),
        "line 1: heartbeat_s: \"a\\nb\" is not allowed, expected a whole number from 0 to 65535"
    );
}

#[test]
fn the_ends_of_a_range_are_allowed() {
    for text in [
        "frame_max = 4096",
        "frame_max = 16777216",
        "channel_max = 0",
    ] {
        Config::from_toml(text).unwrap();
    }
    for text in [
        "frame_max = 4095",
        "frame_max = 16777217",
        "connections_max = 0",
    ] {
        Config::from_toml(text).unwrap_err();
    }
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    assert_eq!(
        error("[capabilities]\nbasic_nack = 1"),
        "line 2: capabilities.basic_nack: integer `1` is not allowed, expected a boolean"
    );
    assert_eq!(
        error("[[vhosts]]\nname = 'a'\nqueues_max = -1"),
        "line 3: vhosts[0].queues_max: integer `-1` is not allowed, \
         expected a whole number from 0 to 4294967295"
    );
    assert_eq!(
        error("[log]\nformat = 'xml'"),
        "line 2: log.format: `xml` is not allowed, expected `text` or `json`"
    );
}

#[test]
fn an_address_without_port_is_named() {
    assert_eq!(
        error("listeners = ['127.0.0.1:5672',\n'localhost']"),
        "line 1: listeners: \"localhost\" is not allowed, expected an IP address and a port \
         such as \"127.0.0.1:5672\" or \"[::1]:5672\""
    );
}

#[test]
fn a_missing_name_is_named() {
    let text = error("frame_max = 8192\n[[users]]\npassword = 'x'");
    assert_eq!(text, "line 2: users[0]: missing field `name`");
}

#[test]
fn what_is_not_toml_has_a_line() {
    let text = error("frame_max = 8192\nheartbeat_s = = 3");
    assert!(text.starts_with("line 2: this is not TOML: "), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn a_permission_on_a_vhost_that_does_not_exist_is_named() {
    let users = "[[users]]\nname = 'a'\n[[users.permissions]]\nvhost = 'b'\n";
    assert_eq!(
        error(users),
        "line 4: users[0].permissions[0].vhost: \"b\" is not allowed, \
         expected the default vhost or one of `vhosts`"
    );
}

#[test]
fn a_pattern_that_is_none_is_named() {
    let users = "[[users]]\nname = 'a'\npermissions = [\n{ vhost = '/', read = '(a' }]\n";
    let text = error(users);
    assert!(
        text.starts_with("line 4: users[0].permissions[0].read: \"(a\" is not allowed"),
        "{text}"
    );
    assert!(
        text.contains("expected a regular expression (unclosed group)"),
        "{text}"
    );
}

#[test]
fn a_name_given_twice_or_empty_is_named() {
    assert!(error("users = [{name='a'}, {name='a'}]").contains("users[1].name"));
    assert!(error("vhosts = [{name='a'}, {name='a'}]").contains("vhosts[1].name"));
    assert!(error("vhosts = [{name=''}]").contains("vhosts[0].name"));
    assert!(error("default_vhost = ''").contains("default_vhost"));
}

#[test]
fn a_long_identity_is_refused() {
    let text = |length| format!("identity.product = '{}'", "x".repeat(length));
    Config::from_toml(&text(NAME_BYTES_MAX)).unwrap();
    assert!(error(&text(NAME_BYTES_MAX + 1)).contains("identity.product"));
}

#[test]
fn a_configuration_put_together_by_hand_is_checked() {
    let config = Config {
        frame_max: 100,
        ..Config::default()
    };
    let error = config.validate().unwrap_err();
    assert_eq!(error.key(), "frame_max");
    assert_eq!(error.origin(), None);
}

#[test]
fn the_stronger_layer_wins_key_by_key() {
    let mut layers = Layers::new();
    let file = "frame_max = 8192\n[log]\nlevel = 'warn'\nformat = 'json'";
    layers.push_document(Some("a.toml"), file).unwrap();
    layers
        .push_value(option("--log-level"), "log.level", "debug")
        .unwrap();
    let config = layers.build().unwrap();
    assert_eq!(config.frame_max, 8192);
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn an_error_of_the_whole_names_the_layer_of_the_key() {
    let mut layers = Layers::new();
    let users = "\nusers = [{ name = 'a', permissions = [{ vhost = '/' }] }]";
    layers.push_document(Some("a.toml"), users).unwrap();
    layers.build().unwrap();
    layers
        .push_value(option("--set"), "default_vhost", "b")
        .unwrap();
    let error = layers.build().unwrap_err();
    assert_eq!(error.key(), "users[0].permissions[0].vhost");
    assert!(error.to_string().starts_with("a.toml:2: "), "{error}");

    let refused = layers.refuse("default_vhost", "\"b\"", "another");
    let text = "option --set: default_vhost: \"b\" is not allowed, expected another";
    assert_eq!(refused.to_string(), text);
}

#[test]
fn the_quotes_of_a_string_may_be_left_out() {
    for (written, read) in [("b c", "b c"), ("\"b\"", "b"), ("5672", "5672"), ("", "")] {
        let mut layers = Layers::new();
        let key = "identity.cluster_name";
        layers.push_value(option("--set"), key, written).unwrap();
        assert_eq!(layers.build().unwrap().identity.cluster_name, read);
    }
}

#[test]
fn a_list_of_strings_may_be_written_with_commas() {
    for written in ["a,b", "[\"a\", \"b\"]", " a , b,"] {
        let mut layers = Layers::new();
        layers
            .push_value(option("--set"), "loopback_users", written)
            .unwrap();
        assert_eq!(layers.build().unwrap().loopback_users, ["a", "b"]);
    }
}

#[test]
fn a_single_value_cannot_smuggle_in_another_key() {
    let mut layers = Layers::new();
    let result = layers.push_value(option("--set"), "frame_max", "8192\nheartbeat_s = 1");
    assert_eq!(result.unwrap_err().key(), "frame_max");
}

#[test]
fn no_text_of_ours_shows_a_password() {
    let text = "users = [{ name = 'ada', password = 'hush' }]";
    let config = Config::from_toml(text).unwrap();
    assert!(!format!("{config:?}").contains("hush"));
    assert!(!toml::to_string(&config).unwrap().contains("hush"));
    for wrong in [
        "users = [{ name = 'ada', password = 4711 }]",
        "users = [{ name = 'ada', password = ['4711'] }]",
        "users = '4711'",
        "users = ['4711']",
        "users = ['4711, expected 4711']",
    ] {
        let text = error(wrong);
        assert!(text.contains("users") && !text.contains("4711"), "{text}");
    }
}

#[test]
fn a_password_matches_itself_only() {
    let password = Password::new("hush");
    assert!(password.matches(b"hush"));
    for wrong in ["", "hus", "husk", "hushh", "HUSH", "hush\0"] {
        assert!(!password.matches(wrong.as_bytes()), "{wrong:?}");
    }
}

#[test]
fn an_empty_password_matches_nothing() {
    for presented in ["", "\0", "x"] {
        assert!(!Password::default().matches(presented.as_bytes()));
    }
}

#[test]
fn the_capabilities_are_announced_under_their_names_in_order() {
    let capabilities = Capabilities {
        basic_nack: false,
        ..Capabilities::default()
    };
    let announced = capabilities.announced();
    assert!(announced.is_sorted());
    assert!(announced.contains(&("basic.nack", false)));
    assert_eq!(announced.iter().filter(|(_, yes)| *yes).count(), 8);
}

#[test]
fn a_consumer_timeout_of_zero_is_none() {
    let mut config = Config::default();
    assert_eq!(config.consumer_timeout(), Some(Duration::from_secs(1800)));
    config.consumer_timeout_ms = 0;
    assert_eq!(config.consumer_timeout(), None);
}

#[test]
fn the_library_keeps_nothing_unless_told_where() {
    assert_eq!(Config::default().data_dir, None);
    assert_eq!(Config::from_toml("data_dir = ''").unwrap().data_dir, None);
    let config = Config::from_toml("data_dir = '/var/lib/leveret'").unwrap();
    assert_eq!(config.data_dir, Some(PathBuf::from("/var/lib/leveret")));
    let printed = toml::to_string(&config).unwrap();
    assert_eq!(
        Config::from_toml(&printed).unwrap().data_dir,
        config.data_dir
    );
}

#[test]
fn the_keys_of_the_storage_are_checked() {
    let text = "[storage]\nsync = 'never'\nsegment_bytes = 65536\ndisk_free_min_bytes = 0";
    let storage = Config::from_toml(text).unwrap().storage;
    assert_eq!(storage.sync, StorageSync::Never);
    assert_eq!(
        (storage.segment_bytes, storage.disk_free_min_bytes),
        (65_536, 0)
    );
    assert_eq!(
        error("[storage]\n\nsegment_bytes = 65535"),
        "line 3: storage.segment_bytes: 65535 is not allowed, \
         expected a whole number from 65536 to 1073741824"
    );
    assert_eq!(
        error("storage.sync = 'sometimes'"),
        "line 1: storage.sync: `sometimes` is not allowed, expected `always` or `never`"
    );
    assert_eq!(
        error("storage = 3"),
        "line 1: storage: integer `3` is not allowed, expected a table"
    );
    let by_hand = Config {
        storage: StorageConfig {
            segment_bytes: 1,
            ..StorageConfig::default()
        },
        ..Config::default()
    };
    assert_eq!(
        by_hand.validate().unwrap_err().key(),
        "storage.segment_bytes"
    );
}

#[test]
fn the_page_of_limits_names_keys_that_there_are() {
    let page = include_str!("../../docs/limits.md");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let named = rows.filter_map(|row| {
        row.split(" | ")
            .nth(1)?
            .strip_prefix('`')?
            .strip_suffix('`')
    });
    let mut count = 0;
    for key in named {
        let of_table = key
            .strip_prefix("vhosts[].")
            .or_else(|| key.strip_prefix("users[]."));
        let is_known = match of_table {
            Some(of_table) => EXAMPLE.contains(&format!("{of_table} = ")),
            None => keys().iter().any(|known| known.path == key),
        };
        assert!(is_known, "limits.md names {key}");
        count += 1;
    }
    assert!(count > 10, "{count} keys");
}
