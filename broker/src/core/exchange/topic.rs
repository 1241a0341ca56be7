//! `topic`: binding keys are patterns of dot-separated words; `*` stands for one word, `#` for any
//! number of them (TOPIC-01..14).
//!
//! The patterns form a trie whose edges are words. A key is matched by walking all paths at once,
//! word by word:
//!
//! ```text
//!  bindings  a.*.c   a.#   a.#.d          key  a.b.d
//!
//!  (root) ──a──▶ (1) ──*──▶ (2) ──c──▶ (3)          entered: root │ 1     │ 2      │  4
//!                 └───#──▶ [H] ──d──▶ (4)           rested:       │ H     │ H      │  H
//!                                                   reached at the end: [H] and (4), so a.# and a.#.d
//! ```
//!
//! A `#` node, once reached, can swallow every further word: it is *rested on* until the end. Any
//! other node is entered at most once per word, because it has one parent. A walk thus costs at most
//! (words × nodes reached), however many `#` the patterns have; there is no backtracking to explode.
//!
//! Before it is stored, a pattern is put into its one simplest form: `#.#` is `#`, and `#.*` is `*.#`
//! (TOPIC-06). So a `#` node never has a wildcard below it.
//!
//! Invariants: every node except the root holds a destination or leads to one; a free node is in the
//! free list and nowhere else.

use std::collections::HashMap;

use rustc_hash::FxHashSet;

use super::{DestinationCounts, Destinations, Exchange, Routing};
use crate::core::binding::Binding;

const ANY_WORD: &[u8] = b"*";
const ANY_WORDS: &[u8] = b"#";

/// Where a node lies in [`Topic::nodes`].
type NodeIndex = usize;
const ROOT: NodeIndex = 0;

/// A trie of binding keys.
#[derive(Debug)]
pub(super) struct Topic {
    nodes: Vec<Node>,
    free: Vec<NodeIndex>,
}

#[derive(Debug, Default)]
struct Node {
    // Peers choose the words, so the hashes are keyed with what no peer knows.
    words: HashMap<Box<[u8]>, NodeIndex>,
    any_word: Option<NodeIndex>,
    any_words: Option<NodeIndex>,
    ends: DestinationCounts,
}

impl Default for Topic {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
            free: Vec::new(),
        }
    }
}

impl Exchange for Topic {
    fn bind(&mut self, binding: &Binding) {
        let mut at = ROOT;
        for word in simplest(binding.routing_key()) {
            at = self.enter_or_grow(at, word);
        }
        self.nodes[at].ends.add(binding.destination());
    }

    fn unbind(&mut self, binding: &Binding) {
        let pattern = simplest(binding.routing_key());
        let mut path = vec![ROOT];
        for word in &pattern {
            let Some(next) = path.last().and_then(|at| self.nodes[*at].child(word)) else {
                return;
            };
            path.push(next);
        }
        if let Some(end) = path.last() {
            self.nodes[*end].ends.remove(binding.destination());
        }
        self.prune(&path, &pattern);
    }

    fn route(&self, routing: &Routing<'_>, found: &mut Destinations) {
        for key in routing.routing_keys {
            self.walk(key, found);
        }
    }
}

impl Topic {
    fn walk(&self, key: &[u8], found: &mut Destinations) {
        let mut walk = Walk::default();
        walk.enter(self, ROOT);
        for word in words(key) {
            walk.step(self, word);
        }
        for at in walk.entered.iter().chain(&walk.rested) {
            found.extend_from(&self.nodes[*at].ends);
        }
    }

    fn enter_or_grow(&mut self, parent: NodeIndex, word: &[u8]) -> NodeIndex {
        if let Some(child) = self.nodes[parent].child(word) {
            return child;
        }
        let child = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            self.nodes.len() - 1
        });
        self.nodes[parent].attach(word, child);
        child
    }

    /// Frees the nodes at the end of the path that no longer lead anywhere.
    fn prune(&mut self, path: &[NodeIndex], pattern: &[&[u8]]) {
        for (step, word) in path.windows(2).zip(pattern).rev() {
            let [parent, child] = [step[0], step[1]];
            if !self.nodes[child].leads_nowhere() {
                return;
            }
            self.nodes[parent].detach(word);
            self.free.push(child);
        }
    }
}

impl Node {
    fn child(&self, word: &[u8]) -> Option<NodeIndex> {
        match word {
            ANY_WORD => self.any_word,
            ANY_WORDS => self.any_words,
            word => self.words.get(word).copied(),
        }
    }

    fn attach(&mut self, word: &[u8], child: NodeIndex) {
        match word {
            ANY_WORD => self.any_word = Some(child),
            ANY_WORDS => self.any_words = Some(child),
            word => {
                self.words.insert(Box::from(word), child);
            }
        }
    }

    fn detach(&mut self, word: &[u8]) {
        match word {
            ANY_WORD => self.any_word = None,
            ANY_WORDS => self.any_words = None,
            word => {
                self.words.remove(word);
            }
        }
    }

    fn leads_nowhere(&self) -> bool {
        self.ends.is_empty()
            && self.words.is_empty()
            && self.any_word.is_none()
            && self.any_words.is_none()
    }
}

/// The nodes reached by the words read so far.
#[derive(Default)]
struct Walk {
    /// Reached by the last word.
    entered: Vec<NodeIndex>,
    /// `#` nodes reached by any word, in the order they were reached; they stay.
    rested: Vec<NodeIndex>,
    known_rested: FxHashSet<NodeIndex>,
    /// What `entered` was before the last word; kept for its room.
    left: Vec<NodeIndex>,
}

impl Walk {
    /// Reads one word of the routing key. Its wildcards are ordinary words (TOPIC-08).
    fn step(&mut self, topic: &Topic, word: &[u8]) {
        std::mem::swap(&mut self.entered, &mut self.left);
        self.entered.clear();
        let rested = self.rested.len();
        for at in 0..self.left.len() {
            self.follow(topic, self.left[at], word);
        }
        for at in 0..rested {
            self.follow(topic, self.rested[at], word);
        }
    }

    fn follow(&mut self, topic: &Topic, from: NodeIndex, word: &[u8]) {
        let node = &topic.nodes[from];
        if let Some(child) = node.words.get(word) {
            self.enter(topic, *child);
        }
        if let Some(child) = node.any_word {
            self.enter(topic, child);
        }
    }

    /// Enters a node, and the `#` below it, which stands for no word too (TOPIC-03).
    fn enter(&mut self, topic: &Topic, at: NodeIndex) {
        self.entered.push(at);
        if let Some(rest) = topic.nodes[at].any_words
            && self.known_rested.insert(rest)
        {
            self.rested.push(rest);
        }
    }
}

/// The words of a key; the empty key has none (TOPIC-01).
fn words(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = key.split(|byte| *byte == b'.');
    words.take(if key.is_empty() { 0 } else { usize::MAX })
}

/// The pattern in its simplest form: in each run of wildcards with a `#` among them, every `*` first
/// and then one `#`.
fn simplest(pattern: &[u8]) -> Vec<&[u8]> {
    let mut simple = Vec::new();
    let mut hash_waits = false;
    for word in words(pattern) {
        match word {
            ANY_WORDS => hash_waits = true,
            ANY_WORD => simple.push(ANY_WORD),
            word => {
                if std::mem::take(&mut hash_waits) {
                    simple.push(ANY_WORDS);
                }
                simple.push(word);
            }
        }
    }
    if hash_waits {
        simple.push(ANY_WORDS);
    }
    simple
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::exchange::tests::{binding, routed};
    use leveret_protocol::{TableBuf, Value};
    use proptest::prelude::*;

    fn bind(topic: &mut Topic, queue: u64, pattern: &str) {
        topic.bind(&binding(queue, pattern, &TableBuf::new()));
    }

    fn unbind(topic: &mut Topic, queue: u64, pattern: &str) {
        topic.unbind(&binding(queue, pattern, &TableBuf::new()));
    }

    fn matches(pattern: &str, key: &str) -> bool {
        let mut topic = Topic::default();
        bind(&mut topic, 1, pattern);
        !routed(&topic, &[key.as_bytes()], None).is_empty()
    }

    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        for key in matching {
            assert!(matches(pattern, key), "{pattern:?} should match {key:?}");
        }
        for key in others {
            assert!(!matches(pattern, key), "{pattern:?} matched {key:?}");
        }
    }

    #[test]
    fn topic_01_words_lie_between_dots() {
        check("*.*", &[".", "a.", ".a", "a.b"], &["", "a", "a.b.c", ".."]);
        check("*", &["a"], &["", ".", "a."]);
    }

    #[test]
    fn topic_02_star_is_one_word_even_an_empty_one() {
        check("a.*.b", &["a..b", "a.x.b"], &["a.b", "a.x.y.b"]);
        check("a.*", &["a."], &["a"]);
        check("*.", &["a."], &["a", "a.b"]);
    }

    #[test]
    fn topic_03_hash_is_any_number_of_words() {
        check("#.b", &["b", "a.b", "a.a.b"], &["a", "b.a", ""]);
        check("a.#", &["a", "a.b", "a.b.c"], &["b", "ab"]);
        check("a.#.b", &["a.b", "a.x.b", "a.x.y.b", "a.b.b"], &["a", "b"]);
    }

    #[test]
    fn topic_04_and_05_the_empty_key_has_no_word() {
        check("*", &[], &[""]);
        check("#", &[""], &[]);
        check("#.#", &["", "a", "a.b"], &[]);
        check("", &[""], &["a", "."]);
    }

    #[test]
    fn topic_06_runs_of_wildcards_have_one_meaning() {
        for pattern in ["*.#", "#.*", "#.*.#"] {
            check(pattern, &["a", "a.b", "."], &[""]);
        }
        check("a.#.#", &["a", "a.b"], &["b"]);
        let mut topic = Topic::default();
        bind(&mut topic, 1, "#.*.#");
        unbind(&mut topic, 1, "#.*.#");
        assert!(topic.nodes[ROOT].leads_nowhere());
    }

    #[test]
    fn topic_07_wildcards_are_whole_words() {
        check("a*", &["a*"], &["ab", "a"]);
        check("#a", &["#a"], &["a", "ba"]);
        check("*#", &["*#"], &["a"]);
    }

    #[test]
    fn topic_08_wildcards_in_the_routing_key_are_words() {
        check("*", &["#", "*"], &[]);
        check("#", &["#", "*.#"], &[]);
        check("a", &[], &["*", "#"]);
        check("a.b", &[], &["a.*", "#"]);
    }

    #[test]
    fn topic_09_two_dots_are_three_words() {
        for pattern in ["#", "*.#", ".."] {
            check(pattern, &[".."], &[]);
        }
        check("*.*", &[], &[".."]);
    }

    #[test]
    fn topic_10_a_trailing_dot_ends_in_an_empty_word() {
        check("a.#", &["a.b."], &[]);
        check("a.*.b", &[], &["a.b."]);
    }

    #[test]
    fn topic_11_matching_is_by_bytes() {
        check("Key.é", &["Key.é"], &["key.é", "Key.e"]);
    }

    #[test]
    fn topic_12_arguments_do_not_matter_to_matching() {
        let mut topic = Topic::default();
        let other = binding(1, "a", &TableBuf::new().with("x", Value::Void));
        bind(&mut topic, 1, "a");
        topic.bind(&other);
        topic.unbind(&other);
        assert_eq!(routed(&topic, &[b"a"], None), [1]);
    }

    #[test]
    fn topic_14_every_key_is_matched() {
        let mut topic = Topic::default();
        bind(&mut topic, 1, "a.*");
        bind(&mut topic, 2, "#.c");
        assert_eq!(routed(&topic, &[b"a.b", b"x.c"], None), [1, 2]);
        assert_eq!(routed(&topic, &[b"x", b"a.c"], None), [1, 2]);
    }

    #[test]
    fn unbinding_gives_the_nodes_back() {
        let mut topic = Topic::default();
        for pattern in ["a.b.c", "a.b", "a.#.c", "*.*"] {
            bind(&mut topic, 1, pattern);
        }
        unbind(&mut topic, 1, "a.b.c");
        unbind(&mut topic, 1, "never.bound");
        assert_eq!(routed(&topic, &[b"a.b"], None), [1]);
        for pattern in ["a.b", "a.#.c", "*.*"] {
            unbind(&mut topic, 1, pattern);
        }
        assert!(topic.nodes[ROOT].leads_nowhere());
        assert_eq!(topic.free.len() + 1, topic.nodes.len());
        bind(&mut topic, 2, "a.b");
        assert_eq!(
            routed(&topic, &[b"a.b"], None),
            [2],
            "freed nodes are clean"
        );
    }

    /// A backtracking matcher needs longer than the universe for this one.
    #[test]
    fn many_hashes_cost_no_more_than_words_times_nodes() {
        let mut topic = Topic::default();
        let pattern = ["#.a"; 60].join(".");
        bind(&mut topic, 1, &format!("{pattern}.b"));
        bind(&mut topic, 2, &pattern);
        let key = ["a"; 128].join(".");
        assert_eq!(routed(&topic, &[key.as_bytes()], None), [2]);
    }

    /// Counts work instead of time: of ten thousand patterns a key touches only those it shares
    /// words with.
    #[test]
    fn ten_thousand_bindings_are_not_searched_one_by_one() {
        let mut topic = Topic::default();
        for n in 0..10_000 {
            bind(&mut topic, n, &format!("sensor.{n}.*.temperature"));
        }
        bind(&mut topic, 10_000, "#.temperature");
        let mut walk = Walk::default();
        walk.enter(&topic, ROOT);
        for word in words(b"sensor.77.kitchen.temperature") {
            walk.step(&topic, word);
            assert!(walk.entered.len() + walk.rested.len() <= 3);
        }
        let found = routed(&topic, &[b"sensor.77.kitchen.temperature"], None);
        assert_eq!(found, [77, 10_000]);
    }

    /// The definition itself: `#` tries every number of words.
    fn naive(pattern: &[&[u8]], key: &[&[u8]]) -> bool {
        match pattern.split_first() {
            None => key.is_empty(),
            Some((&ANY_WORDS, rest)) => (0..=key.len()).any(|n| naive(rest, &key[n..])),
            Some((&word, rest)) => key.split_first().is_some_and(|(first, others)| {
                (word == ANY_WORD || word == *first) && naive(rest, others)
            }),
        }
    }

    fn dotted(alphabet: &'static [&'static str]) -> impl Strategy<Value = String> {
        proptest::collection::vec(proptest::sample::select(alphabet), 0..6)
            .prop_map(|words| words.join("."))
    }

    proptest! {
        #[test]
        fn the_trie_agrees_with_the_definition(
            patterns in proptest::collection::vec(dotted(&["a", "b", "", "*", "#"]), 0..12),
            removed in proptest::collection::vec(any::<bool>(), 12),
            keys in proptest::collection::vec(dotted(&["a", "b", "c", "", "*", "#"]), 1..8),
        ) {
            let mut topic = Topic::default();
            for (queue, pattern) in patterns.iter().enumerate() {
                bind(&mut topic, queue as u64, pattern);
            }
            let mut left = Vec::new();
            for (queue, (pattern, removed)) in patterns.iter().zip(removed).enumerate() {
                match removed {
                    true => unbind(&mut topic, queue as u64, pattern),
                    false => left.push((queue as u64, pattern)),
                }
            }
            for key in keys {
                let key_words: Vec<_> = words(key.as_bytes()).collect();
                let expected: Vec<_> = left
                    .iter()
                    .filter(|(_, p)| naive(&words(p.as_bytes()).collect::<Vec<_>>(), &key_words))
                    .map(|(queue, _)| *queue)
                    .collect();
                prop_assert_eq!(routed(&topic, &[key.as_bytes()], None), expected, "key {:?}", key);
            }
        }
    }
}
