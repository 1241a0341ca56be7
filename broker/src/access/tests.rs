//! Tests of logins and permissions.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use super::*;
use crate::config::AuthMechanism;

const REMOTE: bool = false;
const LOCAL: bool = true;

fn access() -> Access {
    let config = Config::from_toml(
        r#"
        loopback_users = ["guest"]
        vhosts = [{ name = "orders", connections_max = 0, queues_max = 7 }]
        [[users]]
        name = "guest"
        password = "guest"
        [[users]]
        name = "ada"
        password = "hush"
        tags = ["monitoring"]
        connections_max = 2
        channels_max = 3
        permissions = [
            { vhost = "orders", configure = "", write = "amq\\.default|^out", read = "^in$" },
        ]
        [[users]]
        name = "nopass"
        "#,
    );
    Access::new(&config.unwrap()).unwrap()
}

fn plain(response: &str, peer_is_loopback: bool) -> Result<String, LoginRefused> {
    let claim = sasl::claim(AuthMechanism::Plain, response.as_bytes());
    let Some(sasl::Claim::Password(login)) = claim else {
        return Err(LoginRefused::Malformed);
    };
    let user = access().authenticate_password(login.name, login.password, peer_is_loopback)?;
    Ok(user.name().to_owned())
}

#[test]
fn plain_takes_nul_user_nul_password() {
    assert_eq!(plain("\0ada\0hush", REMOTE).unwrap(), "ada");
}

#[test]
fn conn_13_a_name_that_is_not_utf_8_is_unknown() {
    let refused = access().authenticate_password(b"\xff", b"hush", LOCAL);
    let user = "\u{fffd}".to_owned();
    assert_eq!(refused.unwrap_err(), LoginRefused::UnknownUser { user });
}

#[test]
fn conn_13_wrong_logins_are_refused() {
    let user = |name: &str| name.to_owned();
    for (response, refused) in [
        (
            "\0ada\0hus",
            LoginRefused::WrongPassword { user: user("ada") },
        ),
        ("\0ada\0", LoginRefused::WrongPassword { user: user("ada") }),
        (
            "\0eve\0hush",
            LoginRefused::UnknownUser { user: user("eve") },
        ),
        (
            "\0eve\0nobody",
            LoginRefused::UnknownUser { user: user("eve") },
        ),
        ("\0\0", LoginRefused::UnknownUser { user: user("") }),
        (
            "\0nopass\0",
            LoginRefused::WrongPassword {
                user: user("nopass"),
            },
        ),
    ] {
        assert_eq!(plain(response, LOCAL).unwrap_err(), refused, "{response:?}");
    }
}

#[test]
fn conn_13_a_loopback_user_is_refused_elsewhere() {
    assert_eq!(plain("\0guest\0guest", LOCAL).unwrap(), "guest");
    let user = "guest".to_owned();
    let refused = plain("\0guest\0guest", REMOTE).unwrap_err();
    assert_eq!(refused, LoginRefused::NotLoopback { user });
}

#[test]
fn a_decoded_login_is_checked_alike() {
    let access = access();
    assert!(
        access
            .authenticate_password(b"ada", b"hush", REMOTE)
            .is_ok()
    );
    assert!(access.authenticate_password(b"ada", b"", REMOTE).is_err());
}

#[test]
fn a_mapped_loopback_address_is_loopback() {
    for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert!(is_loopback(address.parse::<IpAddr>().unwrap()), "{address}");
    }
    for address in [
        "10.0.0.1",
        "0.0.0.0",
        "::",
        "::2",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
    ] {
        assert!(
            !is_loopback(address.parse::<IpAddr>().unwrap()),
            "{address}"
        );
    }
}

#[test]
fn permissions_are_per_vhost() {
    let access = access();
    let ada = access.user("ada").unwrap();
    let permissions = access.permissions(&ada, "orders").unwrap();
    assert!(permissions.may_read("in"));
    assert!(!permissions.may_read("in2"));
    assert!(permissions.may_write("out.1"));
    assert!(!permissions.may_write("x.out"));
    assert!(access.permissions(&ada, "/").is_none());
}

#[test]
fn the_empty_pattern_matches_the_empty_name_only() {
    let access = access();
    let ada = access.user("ada").unwrap();
    let permissions = access.permissions(&ada, "orders").unwrap();
    assert!(permissions.may_configure(""));
    assert!(!permissions.may_configure("in"));
}

#[test]
fn perm_02_the_default_exchange_is_checked_by_name() {
    let access = access();
    let ada = access.user("ada").unwrap();
    let permissions = access.permissions(&ada, "orders").unwrap();
    assert!(permissions.may_write(permission_name("")));
    assert!(!permissions.may_write(""));
    assert_eq!(permission_name("in"), "in");
}

#[test]
fn a_pattern_is_not_anchored() {
    let pattern = Pattern::new("b").unwrap();
    assert!(pattern.matches("abc"));
    assert!(!pattern.matches("ac"));
}

#[test]
fn a_pattern_that_grows_is_refused() {
    let too_large = Pattern::new("((a{100}){100}){100}").unwrap_err();
    assert_eq!(too_large, PatternError::TooLarge);
    let too_long = Pattern::new(&"a".repeat(PATTERN_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(too_long, PatternError::TooLong);
    Pattern::new(&"a".repeat(PATTERN_BYTES_MAX)).unwrap();
}

#[test]
fn common_patterns_are_small_enough() {
    for pattern in [
        ".*",
        r"^[\w.-]+$",
        r"^(amq\.gen.*|amq\.default|orders\..{1,64})$",
    ] {
        Pattern::new(pattern).unwrap();
    }
}

#[test]
fn limits_and_tags_are_handed_on() {
    let access = access();
    let ada = access.user("ada").unwrap();
    assert_eq!(
        (ada.connections_max(), ada.channels_max()),
        (Some(2), Some(3))
    );
    assert!(ada.has_tag("monitoring") && !ada.has_tag("administrator"));
    assert_eq!(access.vhost_limits("orders").connections_max, Some(0));
    assert_eq!(access.vhost_limits("orders").queues_max, Some(7));
    assert_eq!(access.vhost_limits("/"), VhostLimits::default());
}

#[test]
fn a_bad_pattern_in_an_unchecked_configuration_names_user_vhost_and_permission() {
    let mut config = Config::default();
    let mut guest = config.first_user().unwrap();
    guest.permissions[0].write = "(?=a)".to_owned();
    config.users = vec![guest];
    let text = Access::new(&config).unwrap_err().to_string();
    assert!(
        text.starts_with("user \"guest\", vhost \"/\", write permission: expected"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn debug_shows_no_password() {
    assert!(!format!("{:?}", access()).contains("hush"));
}

#[test]
fn perm_13_topic_permissions_judge_keys_and_perm_14_only_where_there_is_a_record() {
    let config = Config::from_toml(
        r#"
        [[users]]
        name = "a.b"
        permissions = [{ vhost = "/", configure = ".*", write = ".*", read = ".*" }]
        topic_permissions = [
            { vhost = "/", exchange = "x", write = "^{username}\\.", read = "^({vhost}|in)$" },
        ]
        "#,
    );
    let access = Access::new(&config.unwrap()).unwrap();
    let user = access.user("a.b").unwrap();
    let permissions = access.permissions(&user, "/").unwrap();
    assert!(permissions.limits_topics_of("x") && !permissions.limits_topics_of("y"));
    assert!(permissions.may_write_topic("x", b"a.b.c"));
    assert!(!permissions.may_write_topic("x", b"aXb.c"));
    assert!(permissions.may_read_topic("x", b"/") && permissions.may_read_topic("x", b"in"));
    assert!(!permissions.may_read_topic("x", b"inn"));
    assert!(permissions.may_write_topic("y", b"anything"));
}

#[test]
fn a_change_holds_as_a_whole_or_not_at_all() {
    let config = Config::from_toml("vhosts = [{ name = 'fixed' }]").unwrap();
    let access = Access::new(&config).unwrap();
    let put = |pattern: &str| {
        let mut user = UserConfig::named("ada");
        user.permissions = vec![crate::config::PermissionConfig::all("/")];
        user.permissions[0].read = pattern.to_owned();
        AccountChange::PutUser(user)
    };
    let limited = VhostConfig {
        queues_max: Some(3),
        ..VhostConfig::named("/")
    };
    let vhost = AccountChange::PutVhost(limited);
    let refused = access.judge(&[vhost.clone(), put("(")]).unwrap_err();
    let expected = "user \"ada\", vhost \"/\", read permission: expected a regular expression (unclosed group)";
    assert_eq!(refused.to_string(), expected);
    assert!(access.user("ada").is_none());
    assert_eq!(access.vhost_limits("/"), VhostLimits::default());
    access.take(access.judge(&[vhost, put("^r")]).unwrap());
    assert_eq!(access.vhost_limits("/").queues_max, Some(3));
    let ada = access.user("ada").unwrap();
    assert!(!access.permissions(&ada, "/").unwrap().may_read("x"));
    assert!(access.permissions(&ada, "fixed").is_none());
}

#[test]
fn a_user_who_changes_is_the_same_and_one_who_comes_back_is_another() {
    let access = Access::new(&Config::default()).unwrap();
    let apply = |change| access.take(access.judge(&[change]).unwrap());
    let put = |tag: &str| {
        let mut user = UserConfig::named("ada");
        user.tags = vec![tag.to_owned()];
        user.permissions = vec![crate::config::PermissionConfig::all("/")];
        AccountChange::PutUser(user)
    };
    apply(put("one"));
    let first = access.user("ada").unwrap();
    apply(put("two"));
    let changed = access.user_now(&first).unwrap();
    assert_eq!(changed.tags(), ["two"]);
    // What was compiled of the same text is the very same, so that nobody looks anything up again.
    let permissions = |user: &User| Arc::clone(access.permissions(user, "/").unwrap());
    assert!(Arc::ptr_eq(&permissions(&first), &permissions(&changed)));
    apply(AccountChange::DeleteUser("ada".to_owned()));
    assert!(access.user_now(&first).is_none());
    apply(put("three"));
    assert!(access.user("ada").is_some());
    assert!(access.user_now(&first).is_none());
}

#[test]
fn who_may_do_nothing_may_do_nothing() {
    let nothing = Permissions::nothing();
    for name in ["q", "amq.default", "\n", "^$"] {
        assert!(
            !nothing.may_configure(name) && !nothing.may_write(name) && !nothing.may_read(name)
        );
    }
}

#[test]
fn a_user_who_changes_while_its_password_is_looked_at_is_judged_as_it_is_then() {
    let access = access();
    let login = sasl::Credentials {
        name: b"ada",
        password: b"hush",
    };
    let begin = || access.begin_login(&login, REMOTE);
    let change = |change| access.take(access.judge(&[change]).unwrap());
    let user = "ada".to_owned();

    let pending = begin();
    let mut ada = access.user("ada").unwrap().config().clone();
    ada.tags = vec!["other".to_owned()];
    change(AccountChange::PutUser(ada.clone()));
    let logged_in = access.conclude_login(pending, true).unwrap();
    assert!(logged_in.has_tag("other"));

    let pending = begin();
    ada.password = crate::config::Password::new("other");
    change(AccountChange::PutUser(ada.clone()));
    let refused = access.conclude_login(pending, true).unwrap_err();
    assert_eq!(refused, LoginRefused::WrongPassword { user: user.clone() });

    let pending = begin();
    change(AccountChange::DeleteUser(user.clone()));
    change(AccountChange::PutUser(ada));
    let refused = access.conclude_login(pending, true).unwrap_err();
    assert_eq!(refused, LoginRefused::UnknownUser { user });
}
