//! What went wrong in other brokers, as their change logs tell, and the test that holds each here.

use std::collections::BTreeSet;

use crate::list::defines;

/// What went wrong in other brokers, as their change logs tell, and the test that holds it here.
const BUGS_OF_OTHERS: [(&str, &str, &str); 27] = [
    (
        "acked messages reappear after a restart",
        "broker/tests/durability.rs",
        "dur_03_unacked_messages_come_back_marked_and_acked_ones_do_not",
    ),
    (
        "files padded with zeros after a crash",
        "storage/src/tests/damage.rs",
        "every_file_at_every_length",
    ),
    (
        "a deleted queue reappears",
        "broker/tests/durability.rs",
        "what_was_deleted_unbound_or_purged_does_not_come_back",
    ),
    (
        "corruption when a client goes in the middle of a body",
        "broker/tests/attack/others.rs",
        "who_goes_in_the_middle_of_a_message_leaves_nothing_of_it",
    ),
    (
        "a message larger than a frame, routed to two queues, corrupts the second",
        "broker/tests/attack/others.rs",
        "a_message_of_many_frames_is_whole_in_every_queue",
    ),
    (
        "the dead-letter header corrupt after several deaths",
        "broker/tests/attack/topology.rs",
        "n049_the_table_of_deaths_grows_with_queues_and_not_with_deaths",
    ),
    (
        "confirmed before the disk has it",
        "broker/tests/crash/faults.rs",
        "while_a_sync_takes_long_nothing_is_confirmed_and_all_else_goes_on",
    ),
    (
        "definitions raced on one temporary file",
        "broker/tests/attack/others.rs",
        "definitions_imported_at_once_are_all_there",
    ),
    (
        "counters leaked on purge and requeue",
        "broker/tests/attack/others.rs",
        "what_is_purged_requeued_and_dropped_counts_as_nothing",
    ),
    (
        "requeued messages read twice",
        "broker/tests/attack/others.rs",
        "what_is_purged_requeued_and_dropped_counts_as_nothing",
    ),
    (
        "an empty segment at the end",
        "storage/src/tests/damage.rs",
        "every_file_at_every_length",
    ),
    (
        "free space by the wrong unit",
        "storage/src/disk/real/tests.rs",
        "some_space_is_free",
    ),
    (
        "a slow shutdown with many queues that delete themselves",
        "broker/tests/attack/others.rs",
        "many_queues_that_delete_themselves_are_gone_at_once",
    ),
    (
        "compaction that does not sync",
        "storage/src/tests/crash.rs",
        "sampled_images_of_long_histories",
    ),
    (
        "compacted blocks left out of a sync",
        "storage/src/tests/crash.rs",
        "every_image_of_a_short_history",
    ),
    (
        "a consumer with a corrupt file deleted by itself",
        "storage/src/tests/damage.rs",
        "a_missing_segment_is_named_with_its_logs_and_the_rest_goes_on",
    ),
    (
        "a store that does not open after one truncated block",
        "storage/src/tests/damage.rs",
        "every_file_at_every_length",
    ),
    (
        "durable by a sync that starts no writing",
        "storage/src/tests/crash.rs",
        "every_image_of_a_short_history",
    ),
    (
        "logs purged before their header was durable",
        "storage/src/tests/damage.rs",
        "falling_back_to_the_checkpoint_before_a_compaction",
    ),
    (
        "metadata and snapshots not crash-atomic",
        "storage/src/tests/crash.rs",
        "every_image_of_a_short_history",
    ),
    (
        "state half initialised after recovery from a checkpoint",
        "storage/src/tests/damage.rs",
        "a_damaged_or_missing_newest_checkpoint_costs_nothing",
    ),
    (
        "recovery that fails when a writer deletes meanwhile",
        "storage/src/tests/faults.rs",
        "after_any_fault_all_that_was_promised_is_there",
    ),
    (
        "two targets that are one process: delivered twice",
        "broker/tests/attack/others.rs",
        "a_queue_that_is_reached_by_many_ways_gets_one_copy",
    ),
    (
        "compaction without an end",
        "storage/src/tests/space.rs",
        "old_messages_do_not_hold_on_to_the_space_around_them",
    ),
    (
        "paths that grow until they are too long",
        "broker/tests/attack/methods.rs",
        "n027_names_are_bytes_and_never_paths",
    ),
    (
        "what is not known stops the start",
        "broker/src/durable/restore/tests.rs",
        "an_exchange_type_that_is_not_known_is_named",
    ),
    (
        "out-of-order completion stalls",
        "storage/src/tests/faults.rs",
        "what_gathers_during_a_sync_goes_with_the_next_one",
    ),
];

/// Those of a cluster: followers that lack what was confirmed, stale leaders, false quorums.
const BUGS_THAT_WAIT: [(&str, &str); 4] = [
    ("a follower elected that lacks confirmed data", "clustering"),
    ("a stale leader writes the list of replicas", "clustering"),
    (
        "acks of a log that was reverted form a quorum",
        "clustering",
    ),
    ("an overflow of a stream's file of offsets", "streams"),
];

#[test]
fn every_bug_of_others_has_its_test() {
    for (bug, file, function) in BUGS_OF_OTHERS {
        assert!(defines(file, function), "{bug}: no {function} in {file}");
    }
    let bugs: BTreeSet<_> = BUGS_OF_OTHERS.iter().map(|(bug, ..)| bug).collect();
    assert_eq!(bugs.len(), BUGS_OF_OTHERS.len());
    assert!(BUGS_THAT_WAIT.iter().all(|(bug, _)| !bugs.contains(bug)));
}
