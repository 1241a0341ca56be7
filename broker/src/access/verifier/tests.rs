//! Tests of the threads that check passwords.

#![allow(clippy::unwrap_used)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::*;
use crate::access::Access;
use crate::config::PasswordHash;

/// Longest wait for a verdict, so that a lost one fails a test instead of holding it up.
const PATIENCE: Duration = Duration::from_secs(30);

struct Tells(Mutex<Sender<bool>>);

impl Asker for Tells {
    fn on_verdict(&self, is_right: bool) {
        let _ = self.0.lock().unwrap().send(is_right);
    }
}

struct Rig {
    access: Access,
    verifier: Verifier,
}

impl Rig {
    fn new(more: &str) -> Self {
        let text = format!(
            "{more}\nusers = [\n{{ name = 'ada', password = 'hush' }},\n\
             {{ name = 'slow', password_hash = '{SLOW}' }}]"
        );
        let config = Config::from_toml(&text).unwrap();
        Self {
            access: Access::new(&config).unwrap(),
            verifier: Verifier::new(&config),
        }
    }

    fn submit(&self, user: &str, password: &str, asker: &Arc<Tells>) {
        self.submit_from(Origin::InProcess, user, password, asker);
    }

    fn submit_from(&self, origin: Origin, user: &str, password: &str, asker: &Arc<Tells>) {
        let asker: Weak<Tells> = Arc::downgrade(asker);
        self.submit_attempt(Attempt {
            user: self.access.user(user),
            password: password.as_bytes().into(),
            is_vain: false,
            origin,
            asker,
        });
    }

    fn submit_attempt(&self, attempt: Attempt) {
        if let Some(work) = self.verifier.submit(attempt) {
            thread::spawn(|| work.run());
        }
    }

    fn verdict(&self, user: &str, password: &str) -> bool {
        let (asker, verdicts) = asker();
        self.submit(user, password, &asker);
        verdicts.recv_timeout(PATIENCE).unwrap()
    }
}

/// The password `hush`, at a cost that a test can bear many times.
const SLOW: &str = "$argon2id$v=19$m=64,t=3,p=2$c29tZXNhbHRzb21lc2FsdA$\
                    L1q3YlZz5QV14Kpd1y3ihou6hLdt6cgE9PKfOVGtLUE";

fn asker() -> (Arc<Tells>, Receiver<bool>) {
    let (send, receive) = channel();
    (Arc::new(Tells(Mutex::new(send))), receive)
}

#[test]
fn a_verdict_is_told_whoever_asks() {
    for more in ["", "password_hashing = 'argon2id'", "login_threads = 3"] {
        let rig = Rig::new(more);
        for user in ["ada", "slow"] {
            assert!(rig.verdict(user, "hush"), "{more}");
            assert!(rig.verdict(user, "hush"), "{more}");
            for wrong in ["", "hus", "hush "] {
                assert!(!rig.verdict(user, wrong), "{more}");
            }
        }
        assert!(!rig.verdict("eve", "hush"));
        assert!(!rig.verdict("eve", ""));
    }
}

#[test]
fn every_one_of_many_hears_of_it_and_no_more_threads_than_allowed_work() {
    let rig = Rig::new("login_threads = 2");
    let (asker, verdicts) = asker();
    for number in 0..200 {
        let user = ["ada", "slow", "eve"][number % 3];
        let password = ["hush", "push"][number % 2];
        rig.submit(user, password, &asker);
        assert!(rig.verifier.0.lock().threads <= 2);
    }
    let told = (0..200).filter(|_| verdicts.recv_timeout(PATIENCE).unwrap());
    // One of three is unknown, every other password is right.
    assert_eq!(told.count(), 67);
}

#[test]
fn a_changed_password_is_not_remembered_as_right() {
    let rig = Rig::new("");
    assert!(rig.verdict("ada", "hush"));
    let mut ada = rig.access.user("ada").unwrap().config().clone();
    let hash = PasswordHash::of("other", PasswordHashing::Sha256, [1; 16]).unwrap();
    ada.password = Password::hashed(hash);
    let change = [crate::access::AccountChange::PutUser(ada)];
    rig.access.take(rig.access.judge(&change).unwrap());
    assert!(!rig.verdict("ada", "hush"));
    assert!(rig.verdict("ada", "other"));
}

fn remembered(rig: &Rig) -> String {
    format!("{:?}", rig.verifier.0.lock().verified.as_ref().unwrap())
}

#[test]
fn only_what_is_right_and_let_in_is_remembered() {
    let rig = Rig::new("");
    rig.verdict("ada", "hus");
    rig.verdict("eve", "hush");
    let (asker, verdicts) = asker();
    let asker_of_vain: Weak<Tells> = Arc::downgrade(&asker);
    rig.submit_attempt(Attempt {
        user: rig.access.user("ada"),
        password: b"hush"[..].into(),
        is_vain: true,
        origin: Origin::InProcess,
        asker: asker_of_vain,
    });
    assert!(verdicts.recv_timeout(PATIENCE).unwrap());
    assert_eq!(remembered(&rig), "Verified(0 logins)");
    rig.verdict("ada", "hush");
    assert_eq!(remembered(&rig), "Verified(1 logins)");
}

#[test]
fn whoever_was_right_a_moment_ago_is_not_put_off_for_others_failures() {
    // A delay of an hour: whoever has failed too often waits for minutes.
    let rig = Rig::new("failed_login_delay_ms = 3600000");
    assert!(rig.verdict("ada", "hush"));
    let (asker, verdicts) = asker();
    for _ in 0..=crate::limits::FAILED_LOGINS_AT_ONCE {
        rig.submit("ada", "guess", &asker);
        assert!(!verdicts.recv_timeout(PATIENCE).unwrap());
    }
    let (late, never) = self::asker();
    rig.submit("slow", "hush", &late);
    rig.submit("ada", "guess", &late);
    assert!(rig.verdict("ada", "hush"));
    let elsewhere = Origin::of(Some("192.0.2.1".parse().unwrap()));
    rig.submit_from(elsewhere, "slow", "hush", &asker);
    assert!(verdicts.recv_timeout(PATIENCE).unwrap());
    assert!(never.try_recv().is_err());
}

#[test]
fn an_attempt_whose_asker_has_gone_is_no_failure() {
    let rig = Rig::new("login_threads = 1\nfailed_login_delay_ms = 3600000");
    let (asker, verdicts) = asker();
    let gone: Weak<Tells> = Weak::new();
    for _ in 0..10 * crate::limits::FAILED_LOGINS_AT_ONCE {
        rig.submit_attempt(Attempt {
            user: rig.access.user("ada"),
            password: b"guess"[..].into(),
            is_vain: false,
            origin: Origin::InProcess,
            asker: gone.clone(),
        });
    }
    rig.submit("ada", "hush", &asker);
    assert!(verdicts.recv_timeout(PATIENCE).unwrap());
}

#[test]
fn a_thread_that_was_never_there_takes_nobodys_place() {
    let rig = Rig::new("login_threads = 1");
    let (asker, verdicts) = asker();
    let first: Weak<Tells> = Arc::downgrade(&asker);
    let attempt = Attempt {
        user: None,
        password: b"hush"[..].into(),
        is_vain: false,
        origin: Origin::InProcess,
        asker: first,
    };
    drop(rig.verifier.submit(attempt).unwrap());
    rig.submit("ada", "hush", &asker);
    let both: Vec<_> = (0..2)
        .map(|_| verdicts.recv_timeout(PATIENCE).unwrap())
        .collect();
    assert_eq!(both, [false, true]);
}

#[test]
fn the_threads_end_with_the_verifier() {
    let rig = Rig::new("failed_login_delay_ms = 3600000");
    let (asker, _verdicts) = asker();
    for _ in 0..2 * crate::limits::FAILED_LOGINS_AT_ONCE {
        rig.submit("ada", "guess", &asker);
    }
    let shared = Arc::downgrade(&rig.verifier.0);
    drop(rig);
    let start = Instant::now();
    while shared.strong_count() > 0 {
        assert!(start.elapsed() < PATIENCE);
        thread::yield_now();
    }
}
