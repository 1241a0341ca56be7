//! Paging of one sequence by itself.

#![allow(clippy::unwrap_used)]
use super::super::super::{Head, LAST_BLOCK_BYTES_MIN, NEVER};
use super::*;
use crate::core::queue::testing::message;

const BLOCK: u64 = BLOCK_ENTRIES_MAX as u64;

fn logged(position: u64) -> Entry {
    let mut entry = Entry::new(message("12"), position, NEVER);
    entry.logged = true;
    entry
}

fn filled(entries: impl IntoIterator<Item = Entry>) -> Sequence {
    let mut ready = Sequence::default();
    entries.into_iter().for_each(|entry| ready.push(entry));
    ready
}

fn rules(written_below: u64, last_block_bytes_min: u64) -> PageRules {
    PageRules::of_all(&PageLimits {
        written_below,
        front_bytes: FRONT_BYTES_MIN,
        last_block_bytes_min,
    })
}

/// Pages out from the second block on.
fn paged(entries: impl IntoIterator<Item = Entry>) -> Sequence {
    let mut ready = filled(entries);
    let mut from = BLOCK;
    while let Paged::Out { next, .. } = ready.page_out(from, &rules(u64::MAX, LAST_BLOCK_BYTES_MIN))
    {
        from = next;
    }
    ready
}

fn run(first: u64, last: u64) -> StoredRun {
    StoredRun {
        first,
        last,
        count: last - first + 1,
        bytes: 2 * (last - first + 1),
    }
}

fn runs(ready: &Sequence) -> Vec<StoredRun> {
    let run = |block: &Block| match block {
        Block::Stored(run) => Some(*run),
        Block::Resident(_) => None,
    };
    ready.blocks.iter().filter_map(run).collect()
}

fn load(ready: &mut Sequence, positions: std::ops::Range<u64>) {
    let through = positions.end - 1;
    let entries = positions.clone().map(logged).collect();
    assert!(ready.place_loaded(positions.start, through, entries, 0));
}

#[test]
fn an_entry_with_its_run_costs_no_more_than_one_without() {
    assert_eq!(size_of::<Block>(), 40);
}

#[test]
fn only_what_the_store_has_as_it_is_leaves_memory() {
    let returned = |position| {
        let mut entry = logged(position);
        entry.mark_returned();
        entry
    };
    let transient = |position| Entry::new(message(""), position, NEVER);
    let others: [&dyn Fn(u64) -> Entry; 3] =
        [&returned, &transient, &|position| logged(position + BLOCK)];
    for other in others {
        let entries = (0..BLOCK - 1).map(logged).chain([other(BLOCK - 1)]);
        let mut ready = filled(entries);
        let passed = ready.page_out(0, &rules(u64::MAX, LAST_BLOCK_BYTES_MIN));
        assert!(matches!(passed, Paged::Passed { .. }), "{passed:?}");
        assert_eq!(ready.counts.stored_len, 0);
    }
    let mut ready = filled((0..BLOCK).map(logged));
    let waits = ready.page_out(0, &rules(BLOCK - 1, LAST_BLOCK_BYTES_MIN));
    assert!(matches!(waits, Paged::NotWritten), "{waits:?}");
    let out = ready.page_out(0, &rules(BLOCK, LAST_BLOCK_BYTES_MIN));
    assert!(matches!(&out, Paged::Out { next: BLOCK, entries } if entries.len() == 256));
    assert_eq!(runs(&ready), [run(0, BLOCK - 1)]);
    assert!(ready.take().is_none());
    assert!(matches!(ready.head(), Head::Stored));
}

#[test]
fn the_last_block_stays_until_it_is_full() {
    let mut ready = filled((0..BLOCK - 1).map(logged));
    let not_full = ready.page_out(0, &rules(u64::MAX, LAST_BLOCK_BYTES_MIN));
    assert!(matches!(not_full, Paged::Nothing), "{not_full:?}");
    let heavy = ready.page_out(0, &rules(u64::MAX, 2));
    assert!(matches!(heavy, Paged::Out { .. }), "{heavy:?}");
}

#[test]
fn neighbours_become_one_run_and_others_do_not() {
    let ready = paged((0..4 * BLOCK).map(logged));
    assert_eq!(runs(&ready), [run(BLOCK, 4 * BLOCK - 1)]);
    assert_eq!(ready.counts.len, 4 * BLOCK);
    assert_eq!(
        (ready.counts.stored_len, ready.counts.stored_bytes),
        (768, 1536)
    );
    // The message at the border is elsewhere, and may come back.
    let border = 2 * BLOCK;
    let mut ready = paged((0..border).chain(border + 1..=3 * BLOCK).map(logged));
    let expected = [run(BLOCK, border - 1), run(border + 1, 3 * BLOCK)];
    assert_eq!(runs(&ready), expected);
    ready.put_back(&mut vec![logged(border)]);
    load(&mut ready, BLOCK..border);
    load(&mut ready, border + 1..3 * BLOCK + 1);
    assert_eq!((ready.counts.stored_len, ready.counts.stored_bytes), (0, 0));
    let positions = std::iter::from_fn(|| ready.take().map(|e| e.position));
    assert!(positions.eq(0..=3 * BLOCK));
}

#[test]
fn what_comes_back_goes_before_a_run() {
    let mut ready = paged((0..3 * BLOCK).map(logged));
    let mut taken: Vec<Entry> = (0..BLOCK).map_while(|_| ready.take()).collect();
    assert!(matches!(ready.head(), Head::Stored));
    ready.put_back(&mut taken);
    assert_eq!(ready.counts.len, 3 * BLOCK);
    let positions = std::iter::from_fn(|| ready.take().map(|e| e.position));
    assert!(positions.eq(0..BLOCK));
    ready.push(logged(3 * BLOCK));
    load(&mut ready, BLOCK..BLOCK + 300);
    assert_eq!(runs(&ready), [run(BLOCK + 300, 3 * BLOCK - 1)]);
    load(&mut ready, BLOCK + 300..3 * BLOCK);
    let positions = std::iter::from_fn(|| ready.take().map(|e| e.position));
    assert!(positions.eq(BLOCK..=3 * BLOCK));
    assert_eq!((ready.counts.len, ready.counts.bytes), (0, 0));
}

#[test]
fn a_run_that_the_store_counted_wrong_ends_all_the_same() {
    for (count, bytes) in [(9, 99), (2, 1)] {
        let mut ready = Sequence::default();
        let wrong = StoredRun {
            count,
            bytes,
            ..run(0, 9)
        };
        ready.push_stored(wrong);
        assert!(!ready.place_loaded(1, 9, Vec::new(), 0), "no such run");
        let entries = (0..3).map(logged).collect();
        assert!(ready.place_loaded(0, 9, entries, 1));
        assert_eq!(
            (
                ready.counts.len,
                ready.counts.bytes,
                ready.counts.stored_len
            ),
            (3, 6, 0)
        );
    }
}

#[test]
fn a_little_stays_at_the_front() {
    let count = FRONT_MESSAGES_MIN + 3 * BLOCK;
    let mut ready = filled((0..count).map(logged));
    assert!((0..100).all(|_| ready.take().is_some()));
    let end = FRONT_MESSAGES_MIN + 100;
    assert_eq!(
        ready.end_of_front(&mut Sum::default(), FRONT_BYTES_MIN),
        Some(end)
    );
    let out = ready.page_out(end, &rules(u64::MAX, LAST_BLOCK_BYTES_MIN));
    assert!(matches!(out, Paged::Out { next, .. } if next == end + BLOCK - 100));
    let wanted = |ready: &Sequence| ready.wanted(&mut Sum::default());
    assert_eq!(wanted(&ready), ControlFlow::Break(None));
    assert_eq!(
        ready.end_of_front(&mut Sum::default(), FRONT_BYTES_MIN),
        Some(end),
        "it ends at a run at the latest"
    );
    while ready
        .take()
        .is_some_and(|e| e.position < end - FRONT_LOW_MESSAGES)
    {}
    let next = Some(run(end, end + BLOCK - 101));
    assert_eq!(wanted(&ready), ControlFlow::Break(next));
    let mut short = filled((0..FRONT_MESSAGES_MIN).map(logged));
    assert_eq!(
        short.end_of_front(&mut Sum::default(), FRONT_BYTES_MIN),
        None
    );
}

#[test]
fn a_purge_names_all_that_is_logged_and_nothing_that_is_elsewhere() {
    let transient = |position| Entry::new(message(""), position, NEVER);
    let first = [transient(0), logged(1), transient(2), logged(3), logged(5)];
    let rest = (6..BLOCK + 1).chain(BLOCK + 2..2 * BLOCK + 2).map(logged);
    let mut ready = filled(first.into_iter().chain(rest));
    let from = ready.page_out(BLOCK + 1, &rules(u64::MAX, LAST_BLOCK_BYTES_MIN));
    assert!(matches!(from, Paged::Out { .. }));
    ready.push(transient(2 * BLOCK + 2));
    let mut ranges = Vec::new();
    ready.logged_ranges(|range| ranges.push((range.first, range.last, range.count)));
    let resident = (5, BLOCK, BLOCK - 4);
    let stored = (BLOCK + 2, 2 * BLOCK + 1, BLOCK);
    assert_eq!(ranges, [(1, 3, 2), resident, stored]);
}
