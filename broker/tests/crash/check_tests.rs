//! The judge itself: each rule is seen to be broken by a bad history and kept by a similar good one.

use crate::check::{Rule, check};
use crate::history::{Event, MessageId};

fn queue() -> String {
    "q".to_owned()
}

fn publishing(message: MessageId) -> Event {
    Event::Publishing {
        message,
        publisher: 1,
        queues: vec![queue()],
        persistent: true,
    }
}

fn transient(message: MessageId) -> Event {
    Event::Publishing {
        message,
        publisher: 1,
        queues: vec![queue()],
        persistent: false,
    }
}

fn confirmed(message: MessageId) -> Event {
    Event::Confirmed { message }
}

fn came(message: MessageId, reader: u32, redelivered: bool) -> Event {
    Event::Delivered {
        queue: queue(),
        message: Some(message),
        reader,
        redelivered,
        intact: true,
    }
}

fn acking(message: MessageId) -> Event {
    let queue = queue();
    Event::Acking { queue, message }
}

fn returning(message: MessageId) -> Event {
    let queue = queue();
    Event::Returning { queue, message }
}

fn drained() -> Event {
    Event::Drained { queue: queue() }
}

fn object(event: fn(String) -> Event) -> Event {
    event("queue x".to_owned())
}

fn declaring(object: String) -> Event {
    Event::Declaring { object }
}

fn declared(object: String) -> Event {
    Event::Declared { object }
}

fn deleting(object: String) -> Event {
    Event::Deleting { object }
}

fn deleted(object: String) -> Event {
    Event::Deleted { object }
}

fn found(object: String) -> Event {
    let is_there = true;
    Event::Looked { object, is_there }
}

fn missed(object: String) -> Event {
    let is_there = false;
    Event::Looked { object, is_there }
}

const LEFT: [Event; 2] = [Event::Leaving { reader: 1 }, Event::Left { reader: 1 }];

#[track_caller]
fn broken(events: impl IntoIterator<Item = Event>) -> Vec<Rule> {
    let mut history = vec![Event::Started];
    history.extend(events);
    let violations = check(&history);
    violations.iter().map(|violation| violation.rule).collect()
}

#[test]
fn a_history_of_kept_promises_has_no_violation() {
    let lives = [
        vec![publishing(1), publishing(2), publishing(3), transient(4)],
        vec![confirmed(1), confirmed(2), confirmed(4)],
        vec![came(1, 1, false), returning(1), came(2, 1, false)],
        vec![came(1, 1, true), acking(1), Event::Started],
        vec![came(2, 2, true), acking(2), came(3, 2, false), drained()],
    ];
    assert_eq!(broken(lives.concat()), []);
}

#[test]
fn a_confirmed_message_that_is_missing_is_lost() {
    let lost = [publishing(1), confirmed(1), Event::Started, drained()];
    assert_eq!(broken(lost), [Rule::Lost]);
    let unconfirmed = [publishing(1), Event::Started, drained()];
    assert_eq!(broken(unconfirmed), []);
    let acked = [publishing(1), confirmed(1), came(1, 1, false), acking(1)];
    assert_eq!(
        broken(acked.into_iter().chain([Event::Started, drained()])),
        []
    );
}

#[test]
fn a_message_that_was_only_delivered_before_the_crash_is_lost() {
    let published = [publishing(1), confirmed(1), came(1, 1, false)];
    let crashed = published.into_iter().chain([Event::Started, drained()]);
    assert_eq!(broken(crashed), [Rule::Lost]);
}

#[test]
fn a_message_whose_ack_was_lost_once_must_stay_until_the_next_ack() {
    let first = [publishing(1), confirmed(1), came(1, 1, false), acking(1)];
    let second = [Event::Started, came(1, 2, true), Event::Started, drained()];
    assert_eq!(broken(first.into_iter().chain(second)), [Rule::Lost]);
}

#[test]
fn each_queue_must_get_its_copy() {
    let fanned_out = Event::Publishing {
        message: 1,
        publisher: 1,
        queues: vec![queue(), "r".to_owned()],
        persistent: true,
    };
    let drained_too = Event::Drained {
        queue: "r".to_owned(),
    };
    let events = [fanned_out, confirmed(1), came(1, 1, false), drained()];
    let events = events.into_iter().chain([drained_too]);
    assert_eq!(broken(events), [Rule::Lost]);
}

#[test]
fn a_transient_message_must_be_there_in_its_own_life_alone() {
    assert_eq!(
        broken([transient(1), confirmed(1), drained()]),
        [Rule::Lost]
    );
    let restarted = [transient(1), confirmed(1), Event::Started];
    assert_eq!(broken(restarted.clone().into_iter().chain([drained()])), []);
    let survived = restarted.into_iter().chain([came(1, 1, false)]);
    assert_eq!(broken(survived), [Rule::TransientSurvived]);
}

#[test]
fn what_nobody_published_to_the_queue_is_invented() {
    assert_eq!(broken([came(1, 1, false)]), [Rule::Invented]);
    assert_eq!(broken([confirmed(1)]), [Rule::Invented]);
    let nameless = Event::Delivered {
        queue: queue(),
        message: None,
        reader: 1,
        redelivered: false,
        intact: false,
    };
    assert_eq!(broken([nameless]), [Rule::Invented]);
    let elsewhere = Event::Delivered {
        queue: "r".to_owned(),
        message: Some(1),
        reader: 1,
        redelivered: false,
        intact: true,
    };
    assert_eq!(broken([publishing(1), elsewhere]), [Rule::Invented]);
}

#[test]
fn a_changed_message_is_altered() {
    let changed = Event::Delivered {
        queue: queue(),
        message: Some(1),
        reader: 1,
        redelivered: false,
        intact: false,
    };
    assert_eq!(broken([publishing(1), changed]), [Rule::Altered]);
}

#[test]
fn a_second_delivery_must_be_marked() {
    let first = [publishing(1), came(1, 1, false), returning(1)];
    let unmarked = first.clone().into_iter().chain([came(1, 1, false)]);
    assert_eq!(broken(unmarked), [Rule::TwiceUnmarked]);
    let marked = first.into_iter().chain([came(1, 1, true)]);
    assert_eq!(broken(marked), []);
    let after_a_crash = [publishing(1), came(1, 1, false), Event::Started];
    let unmarked = after_a_crash.into_iter().chain([came(1, 2, false)]);
    assert_eq!(broken(unmarked), [Rule::TwiceUnmarked]);
}

#[test]
fn two_clients_must_not_hold_the_same_message() {
    let first = [publishing(1), came(1, 1, false)];
    let stolen = first.clone().into_iter().chain([came(1, 2, true)]);
    assert_eq!(broken(stolen), [Rule::TwiceAtOnce]);
    let left = first.into_iter().chain(LEFT).chain([came(1, 2, true)]);
    assert_eq!(broken(left), []);
}

#[test]
fn an_acked_message_must_not_come_back_while_the_ack_cannot_be_lost() {
    let acked = [publishing(1), came(1, 1, false), acking(1)];
    let taken = || acked.clone().into_iter().chain(LEFT);
    let back = [came(1, 2, true)];
    assert_eq!(broken(taken().chain(back.clone())), [Rule::BackAfterAck]);

    let stopped = [Event::StoppedCleanly, Event::Started];
    let back_after_stop = taken().chain(stopped.clone()).chain(back.clone());
    assert_eq!(broken(back_after_stop), [Rule::BackAfterAck]);

    let back_after_crash = taken().chain([Event::Started]).chain(back.clone());
    assert_eq!(broken(back_after_crash), []);
    let never_taken = acked.into_iter().chain(stopped).chain(back);
    assert_eq!(broken(never_taken), []);
}

#[test]
fn what_was_purged_must_not_come_back_and_need_not_be_there() {
    let emptying = || Event::Emptying { queue: queue() };
    let emptied = || Event::Emptied { queue: queue() };
    let purged = [publishing(1), confirmed(1), emptying(), emptied()];
    let purged = || purged.clone().into_iter().chain([Event::Started]);
    assert_eq!(broken(purged().chain([drained()])), []);
    let back = purged().chain([came(1, 1, false)]);
    assert_eq!(broken(back), [Rule::BackAfterEmptying]);
    let unanswered = [publishing(1), confirmed(1), emptying(), came(1, 1, false)];
    assert_eq!(broken(unanswered), []);
    let later = [
        emptying(),
        publishing(1),
        confirmed(1),
        emptied(),
        drained(),
    ];
    assert_eq!(broken(later), [Rule::Lost]);
}

#[test]
fn a_reader_gets_a_publishers_messages_in_their_order() {
    let published = [publishing(1), publishing(2)];
    let swapped = [came(2, 1, false), came(1, 1, false)];
    let events = published.clone().into_iter().chain(swapped);
    assert_eq!(broken(events), [Rule::OutOfOrder]);
    let two_readers = [came(2, 1, false), came(1, 2, false)];
    assert_eq!(broken(published.into_iter().chain(two_readers)), []);
}

#[test]
fn order_holds_over_a_restart_for_marked_messages_too() {
    let published = [publishing(1), publishing(2), came(1, 1, false)];
    let restarted = [came(2, 1, false), Event::Started];
    let swapped = [came(2, 2, true), came(1, 2, true)];
    let events = published.into_iter().chain(restarted).chain(swapped);
    assert_eq!(broken(events), [Rule::OutOfOrder]);
}

#[test]
fn an_unmarked_message_must_be_later_than_all_that_was_delivered_in_earlier_lives() {
    let events = [
        publishing(1),
        publishing(2),
        came(2, 1, false),
        Event::Started,
        came(1, 2, false),
    ];
    assert_eq!(broken(events), [Rule::OutOfOrder]);
}

#[test]
fn a_declared_object_must_be_there() {
    let answered = [object(declaring), object(declared), Event::Started];
    let gone = answered.clone().into_iter().chain([object(missed)]);
    assert_eq!(broken(gone), [Rule::ObjectLost]);
    assert_eq!(broken(answered.into_iter().chain([object(found)])), []);
    let unanswered = [object(declaring), Event::Started];
    for either in [object(missed), object(found)] {
        assert_eq!(broken(unanswered.clone().into_iter().chain([either])), []);
    }
}

#[test]
fn a_deleted_object_must_be_gone() {
    let there = [object(declaring), object(declared), object(deleting)];
    let deleted = there.clone().into_iter().chain([object(deleted)]);
    let back = deleted.clone().chain([Event::Started, object(found)]);
    assert_eq!(broken(back), [Rule::ObjectBack]);
    assert_eq!(broken(deleted.chain([object(missed)])), []);
    for either in [object(missed), object(found)] {
        assert_eq!(broken(there.clone().into_iter().chain([either])), []);
    }
    assert_eq!(broken([object(found)]), [Rule::ObjectBack]);
}
