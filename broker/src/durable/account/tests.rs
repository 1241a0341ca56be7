//! The bytes of accounts: as the format says, back again, and refused by name.

#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::durable::catalog::{self, Entry};

/// Written by RabbitMQ 3.10.8 for the user `guest` with the password `guest`.
const GUEST: &str = "7kXQweaCDSPJukErigQJP9js9+cuMC9gbpsVyZgf5wOXZ2ZE";

fn ada() -> UserConfig {
    UserConfig {
        name: "ada".to_owned(),
        password: Password::hashed(PasswordHash::from_base64(GUEST, None).unwrap()),
        tags: vec!["monitoring".to_owned(), "\u{e9}".to_owned()],
        connections_max: Some(0),
        channels_max: Some(u32::MAX),
        permissions: vec![PermissionConfig {
            vhost: "/".to_owned(),
            configure: "^c".to_owned(),
            write: String::new(),
            read: ".*".to_owned(),
        }],
        topic_permissions: vec![TopicPermissionConfig {
            vhost: "/".to_owned(),
            exchange: "x".to_owned(),
            write: "{username}".to_owned(),
            read: String::new(),
        }],
    }
}

fn orders() -> VhostConfig {
    VhostConfig {
        name: "orders".to_owned(),
        connections_max: Some(7),
        queues_max: None,
        exchanges_max: None,
        bindings_max: None,
        description: "the shop's".to_owned(),
        tags: vec!["production".to_owned()],
        default_queue_type: Some(DefaultQueueType::Quorum),
    }
}

#[test]
fn the_limits_of_exchanges_and_bindings_come_back() {
    let limited = VhostConfig {
        exchanges_max: Some(8),
        bindings_max: Some(0),
        ..orders()
    };
    assert_eq!(read(&vhost_image(&limited)), [AccountEntry::Vhost(limited)]);
}

fn read(image: &Image) -> Vec<AccountEntry> {
    let entries = image
        .iter()
        .map(|(key, value)| match catalog::decode(key, value) {
            Ok(Entry::Account(entry)) => entry,
            other => panic!("{other:?}"),
        });
    entries.collect()
}

#[test]
fn accounts_are_written_as_the_format_says() {
    let user = [
        &b"\x01"[..],
        b"\x1e\0\0\0rabbit_password_hashing_sha256",
        b"\x30\0\0\x007kXQweaCDSPJukErigQJP9js9+cuMC9gbpsVyZgf5wOXZ2ZE",
        b"\x2f\0\0\0",
        b"\x0cmax-channelsl\0\0\0\0\xff\xff\xff\xff",
        b"\x0fmax-connectionsl\0\0\0\0\0\0\0\0",
        b"\x0a\0\0\0monitoring\x02\0\0\0\xc3\xa9",
    ];
    let expected = [
        (
            b"r\x03\0\0\0ada\x01\0\0\0/".to_vec(),
            b"\x01\x02\0\0\0^c\0\0\0\0\x02\0\0\0.*".to_vec(),
        ),
        (
            b"t\x03\0\0\0ada\x01\0\0\0/\x01\0\0\0x".to_vec(),
            b"\x01\x0a\0\0\0{username}\0\0\0\0".to_vec(),
        ),
        (b"u\x03\0\0\0ada".to_vec(), user.concat()),
    ];
    assert_eq!(user_image(&ada()), Image::from(expected));
    let vhost = [
        &b"\x01\x06\0\0\0quorum\x0a\0\0\0the shop's"[..],
        b"\x19\0\0\0\x0fmax-connectionsl\0\0\0\0\0\0\0\x07",
        b"\x0a\0\0\0production",
    ];
    let expected = [(b"v\x06\0\0\0orders".to_vec(), vhost.concat())];
    assert_eq!(vhost_image(&orders()), Image::from(expected));
    let expected = [(b"a".to_vec(), b"\x01".to_vec())];
    assert_eq!(begun_image(), Image::from(expected));
}

#[test]
fn accounts_come_back() {
    let without = UserConfig {
        permissions: Vec::new(),
        topic_permissions: Vec::new(),
        ..ada()
    };
    let user = "ada".to_owned();
    let expected = [
        AccountEntry::Permission {
            user: user.clone(),
            permission: ada().permissions.remove(0),
        },
        AccountEntry::TopicPermission {
            user,
            permission: ada().topic_permissions.remove(0),
        },
        AccountEntry::User(without),
    ];
    assert_eq!(read(&user_image(&ada())), expected);
    let nobody = UserConfig::named("nobody");
    assert_eq!(read(&user_image(&nobody)), [AccountEntry::User(nobody)]);
    let vhosts = [orders(), VhostConfig::named("v")];
    for vhost in vhosts {
        assert_eq!(read(&vhost_image(&vhost)), [AccountEntry::Vhost(vhost)]);
    }
    assert_eq!(read(&begun_image()), [AccountEntry::Begun]);
}

#[test]
fn a_password_in_clear_text_never_gets_here_as_such() {
    let user = UserConfig {
        password: Password::new("hush"),
        ..ada()
    };
    for value in user_image(&user).values() {
        assert!(!value.windows(4).any(|bytes| bytes == b"hush"));
    }
}

/// An entry with other bytes, and what is said of it.
fn refusal(image: &Image, kind: u8, spoil: impl FnOnce(&mut Vec<u8>)) -> String {
    let (key, value) = image.iter().find(|(key, _)| key[0] == kind).unwrap();
    let mut value = value.clone();
    spoil(&mut value);
    catalog::decode(key, &value).unwrap_err().to_string()
}

fn replaced(value: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let at = value.windows(from.len()).position(|bytes| bytes == from);
    let at = at.unwrap();
    value[at..at + to.len()].copy_from_slice(to);
}

#[test]
fn what_cannot_be_read_is_an_error_that_names_whose_it_is() {
    let (user, vhost) = (user_image(&ada()), vhost_image(&orders()));
    let version = "it is of version 9, and only version 1 is known";
    let names = [
        (&user, b'u', "user 'ada'"),
        (&user, b'r', "permission of user 'ada' in vhost '/'"),
        (
            &user,
            b't',
            "topic permission of user 'ada' on exchange 'x' in vhost '/'",
        ),
        (&vhost, b'v', "vhost 'orders'"),
        (&begun_image(), b'a', "the beginning of the accounts"),
    ];
    for (image, kind, name) in names {
        let text = refusal(image, kind, |value| value[0] = 9);
        assert_eq!(text, format!("catalog entry of {name}: {version}"));
        let text = refusal(image, kind, |value| value.push(0));
        let malformed = "its bytes contradict each other";
        assert_eq!(text, format!("catalog entry of {name}: {malformed}"));
    }
    let text = refusal(&user, b'u', |value| replaced(value, b"sha256", b"md9999"));
    assert!(
        text.ends_with("hashed by 'rabbit_password_hashing_md9999', which is not known"),
        "{text}"
    );
    let text = refusal(&user, b'u', |value| replaced(value, b"7kXQ", b"7k Q"));
    assert!(text.ends_with("contradict each other"), "{text}");
    let text = refusal(&user, b'u', |value| {
        replaced(value, b"max-channels", b"max-sessions");
    });
    assert!(text.ends_with("its limit 'max-sessions' is not known"));
    let text = refusal(&vhost, b'v', |value| replaced(value, b"quorum", b"stream"));
    assert!(text.ends_with("its default queue type 'stream' is not known"));
    let negative =
        |value: &mut Vec<u8>| replaced(value, b"l\0\0\0\0\0\0\0\x07", b"l\xff\0\0\0\0\0\0\x07");
    assert!(refusal(&vhost, b'v', negative).ends_with("contradict each other"));
}

#[test]
fn a_name_that_nobody_can_have_is_no_entry() {
    for name in ["", &"u".repeat(256)] {
        let images = [
            user_image(&UserConfig::named(name)),
            vhost_image(&VhostConfig::named(name)),
        ];
        for (key, value) in images.iter().flatten() {
            assert!(catalog::decode(key, value).is_err(), "{key:?}");
        }
    }
}

#[test]
fn no_part_of_an_entry_is_one() {
    let images = [user_image(&ada()), vhost_image(&orders()), begun_image()];
    for (key, value) in images.iter().flatten() {
        for len in 1..key.len() {
            assert!(catalog::decode(&key[..len], value).is_err(), "{len}");
        }
        // Tags go on to the end: without the last one, or both, it is an account with fewer.
        let whole_without_tags = [4 + "\u{e9}".len(), 4 + 10 + 4 + 2, 4 + "production".len()];
        for len in 0..value.len() {
            let cut = catalog::decode(key, &value[..len]);
            let is_whole = whole_without_tags.contains(&(value.len() - len));
            assert!(cut.is_err() || is_whole, "{key:?} {len}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_lies_there_is_an_entry_or_an_error(
        kind in prop::sample::select(&b"aurtv"[..]),
        names in prop::collection::vec("[a-z/]{0,3}", 0..4),
        value in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let _ = catalog::decode(&key(kind, &names), &value);
        let _ = catalog::decode(&value, &value);
    }

    #[test]
    fn a_difference_leads_from_one_image_to_the_other(
        before in prop::collection::btree_map("[a-d]", "[x-z]", 0..5),
        after in prop::collection::btree_map("[a-d]", "[x-z]", 0..5),
    ) {
        let image = |texts: &BTreeMap<String, String>| -> Image {
            let bytes = |text: &String| text.clone().into_bytes();
            texts.iter().map(|(key, value)| (bytes(key), bytes(value))).collect()
        };
        let (mut was, is) = (image(&before), image(&after));
        let mut changes = Vec::new();
        differences(&was, &is, &mut changes);
        let same = before.iter().filter(|one| after.get(one.0) == Some(one.1)).count();
        let gone = before.keys().filter(|key| !after.contains_key(*key)).count();
        prop_assert_eq!(changes.len(), after.len() - same + gone);
        for change in changes {
            match change {
                CatalogChange::Put { key, value } => drop(was.insert(key, value)),
                CatalogChange::Delete { key } => drop(was.remove(&key)),
                other => panic!("{other:?}"),
            }
        }
        prop_assert_eq!(was, is);
    }
}
