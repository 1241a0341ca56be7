//! The levels by themselves.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::core::queue::ready::{LoadedPart, PageLimits, Paged, Part, StoredRun};
use crate::core::queue::testing::prioritized;

const LIMITS: PageLimits = PageLimits {
    written_below: u64::MAX,
    front_bytes: 0,
    last_block_bytes_min: 0,
};

fn entry(position: u64, priority: u8) -> Entry {
    let mut entry = Entry::new(prioritized("12", None, true, priority), position, NEVER);
    entry.logged = true;
    entry
}

fn filled(priorities: &[u8]) -> Levels {
    let mut levels = Levels::new(9);
    for (position, priority) in (0..).zip(priorities) {
        levels.push(entry(position, *priority));
    }
    levels
}

fn page_all(levels: &mut Levels) {
    while !matches!(levels.page_next(&LIMITS), Paged::Nothing) {}
}

fn positions(levels: &mut Levels) -> Vec<u64> {
    std::iter::from_fn(|| levels.take().map(|entry| entry.position)).collect()
}

fn load(levels: &mut Levels, entries: Vec<Entry>, through: u64) -> usize {
    load_but(levels, entries, through, 0)
}

fn load_but(levels: &mut Levels, entries: Vec<Entry>, through: u64, unreadable: u64) -> usize {
    let wanted = levels.wanted().unwrap();
    let mut dropped = Vec::new();
    let loaded = LoadedPart {
        part: wanted.part,
        first: wanted.run.first,
        through,
        entries,
        unreadable,
    };
    levels.place_loaded(loaded, &mut dropped);
    dropped.len()
}

#[test]
fn the_highest_of_any_set_is_found() {
    let mut set = LevelSet::default();
    assert_eq!(set.highest(), None);
    for level in [0, 63, 64, 127, 128, 200, 255] {
        set.set(level, true);
        assert_eq!(set.highest(), Some(level));
    }
    set.set(255, false);
    set.set(200, false);
    assert_eq!(set.highest(), Some(128));
}

#[test]
fn a_level_costs_nothing_until_it_has_a_message() {
    let mut levels = filled(&[9, 0, 9]);
    assert_eq!(levels.levels.len(), 2);
    assert_eq!(positions(&mut levels), [0, 2, 1]);
    assert_eq!(*levels.counts(), Counts::default());
}

#[test]
fn a_level_goes_as_one_run_and_comes_back_without_the_others() {
    let mut levels = filled(&[0, 1, 0, 1, 0, 1]);
    page_all(&mut levels);
    let run = |first, last| StoredRun {
        first,
        last,
        count: 3,
        bytes: 6,
    };
    assert_eq!(levels.counts().stored_len, 6);
    let wanted = levels.wanted().unwrap();
    assert_eq!((wanted.part, wanted.run), (Part::Level(1), run(1, 5)));
    let between = [(1, 1), (2, 0), (3, 1), (4, 0), (5, 1)].map(|(at, level)| entry(at, level));
    assert_eq!(load(&mut levels, between.into(), 5), 2);
    assert_eq!(levels.counts().stored_len, 3);
    assert_eq!(positions(&mut levels), [1, 3, 5]);
    let wanted = levels.wanted().unwrap();
    assert_eq!((wanted.part, wanted.run), (Part::Level(0), run(0, 4)));
}

#[test]
fn what_cannot_be_read_may_be_of_another_level_and_is_missed_at_the_end() {
    let mut levels = filled(&[0, 1, 0, 1, 0, 1]);
    page_all(&mut levels);
    load_but(&mut levels, vec![entry(1, 1), entry(3, 1)], 4, 2);
    assert_eq!(positions(&mut levels), [1, 3]);
    let wanted = levels.wanted().unwrap();
    assert_eq!((wanted.run.first, wanted.run.last), (5, 5));
    load_but(&mut levels, Vec::new(), 5, 1);
    assert_eq!(levels.wanted().unwrap().part, Part::Level(0));
    assert_eq!(levels.counts().len, 3);
}

#[test]
fn a_block_with_holes_that_may_be_filled_stays() {
    let mut levels = filled(&[1, 0, 1, 0, 1, 0]);
    let mut out: Vec<Entry> = (0..3).map(|_| levels.take().unwrap()).collect();
    let last = out.pop().unwrap();
    // 0 and 2 are back, 4 is away and may come back later; and so it is after everything was purged.
    levels.put_back(&mut out, 6);
    levels.push(entry(6, 1));
    page_all(&mut levels);
    assert_eq!(levels.counts().stored_len, 3, "the other level");
    levels.put_back(&mut vec![last], 7);
    assert_eq!(positions(&mut levels), [0, 2, 4, 6]);

    let mut levels = filled(&[1, 0, 1, 0, 1, 0]);
    let mut out: Vec<Entry> = (0..3).map(|_| levels.take().unwrap()).collect();
    levels.take_all();
    levels.put_back(&mut out.drain(..2).collect(), 6);
    levels.push(entry(6, 1));
    page_all(&mut levels);
    assert_eq!(levels.counts().stored_len, 0);
    levels.put_back(&mut out, 7);
    assert_eq!(positions(&mut levels), [0, 2, 4, 6]);
}

#[test]
fn runs_far_from_each_other_stay_apart() {
    let mut levels = Levels::new(9);
    let far = paging::RUN_GAP_MAX;
    for position in [0, 1 + far, 1 + 2 * far, 2 + 3 * far] {
        levels.push(entry(position, 1));
        page_all(&mut levels);
    }
    let ends = |levels: &Levels| levels.wanted().map(|w| (w.run.first, w.run.last)).unwrap();
    assert_eq!(ends(&levels), (0, 0));
    load(&mut levels, vec![entry(0, 1)], 0);
    assert_eq!(levels.take().unwrap().position, 0);
    assert_eq!(ends(&levels), (1 + far, 1 + 2 * far));
}

#[test]
fn nothing_is_taken_while_sorting_and_what_fits_in_one_part_stays() {
    let run = StoredRun {
        first: 0,
        last: 9,
        count: 4,
        bytes: 8,
    };
    let found = || [(0, 1), (3, 2), (4, 1), (9, 2)].map(|(at, level)| entry(at, level));
    let mut levels = Levels::new(9);
    levels.recover(run);
    levels.push(entry(10, 5));
    levels.push(entry(11, 1));
    assert!(matches!(levels.head(), Head::Stored) && levels.take().is_none());
    assert_eq!(load(&mut levels, found().into(), 9), 0);
    assert_eq!(levels.counts().stored_len, 0);
    assert_eq!(positions(&mut levels), [10, 3, 9, 0, 4, 11]);

    let mut levels = Levels::new(9);
    levels.recover(run);
    levels.push(entry(10, 2));
    let [a, b, c, d] = found();
    assert_eq!(load(&mut levels, vec![a, b], 3), 2);
    assert!(levels.wanted().unwrap().is_to_be_sorted);
    assert_eq!((levels.counts().len, levels.counts().stored_len), (5, 4));
    assert_eq!(load(&mut levels, vec![c, d], 9), 2);
    let counts = (levels.counts().len, levels.counts().bytes);
    assert_eq!((counts, levels.counts().stored_len), ((5, 10), 4));
    let wanted = levels.wanted().unwrap();
    let ends = (wanted.part, wanted.run.first, wanted.run.last);
    assert_eq!(ends, (Part::Level(2), 3, 9));
}
