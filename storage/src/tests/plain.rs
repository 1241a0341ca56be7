//! [`Plain`]: what a store should hold, as simple as it can be said; and random histories for both.

use std::collections::BTreeMap;

use crate::{CatalogChange, LogId, NewMessage, Records, Settled};

/// One message of the plain store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlainMessage {
    pub(super) bytes: Vec<u8>,
    pub(super) return_count: u32,
}

/// A store as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plain {
    pub(super) logs: BTreeMap<u64, BTreeMap<u64, PlainMessage>>,
    pub(super) catalog: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// One thing that is submitted.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Message {
        log: u64,
        index: u64,
        bytes: Vec<u8>,
    },
    Settle {
        log: u64,
        first: u64,
        last: u64,
    },
    Return {
        log: u64,
        index: u64,
        count: u32,
    },
    Mark {
        log: u64,
        below: u64,
    },
    Catalog(Vec<CatalogChange>),
}

impl Plain {
    pub(super) fn apply(&mut self, step: &Step) {
        match step {
            Step::Message { log, index, bytes } => {
                let message = PlainMessage {
                    bytes: bytes.clone(),
                    return_count: 0,
                };
                self.logs.get_mut(log).unwrap().insert(*index, message);
            }
            Step::Settle { log, first, last } => {
                let log = self.logs.get_mut(log).unwrap();
                log.retain(|index, _| !(first..=last).contains(&index));
            }
            Step::Return { log, index, count } => {
                let message = self.logs.get_mut(log).unwrap().get_mut(index).unwrap();
                message.return_count = *count;
            }
            Step::Mark { .. } => {}
            Step::Catalog(changes) => changes.iter().for_each(|change| self.change(change)),
        }
    }

    fn change(&mut self, change: &CatalogChange) {
        match change {
            CatalogChange::Put { key, value } => {
                self.catalog.insert(key.clone(), value.clone());
            }
            CatalogChange::Delete { key } => {
                self.catalog.remove(key);
            }
            CatalogChange::CreateLog(id) => {
                self.logs.insert(id.0, BTreeMap::new());
            }
            CatalogChange::DropLog(id) => {
                self.logs.remove(&id.0);
            }
        }
    }

    /// What the step looks like as a record, before it is applied.
    pub(super) fn record(&self, step: &Step, records: &mut Records) {
        match step {
            Step::Message { log, index, bytes } => records.message(
                LogId(*log),
                NewMessage {
                    index: *index,
                    time_ms: 1,
                    body_bytes: bytes.len() as u32,
                    pieces: &[bytes],
                },
            ),
            Step::Settle { log, first, last } => {
                let settled = self.logs[log].range(first..=last);
                let (count, body_bytes) = settled.fold((0, 0), |(count, bytes), (_, message)| {
                    (count + 1, bytes + message.bytes.len() as u64)
                });
                let settled = Settled {
                    first: *first,
                    last: *last,
                    count,
                    body_bytes,
                };
                records.settle(LogId(*log), settled);
            }
            Step::Return { log, index, count } => records.returned(LogId(*log), *index, *count),
            Step::Mark { log, below } => records.mark(LogId(*log), *below),
            Step::Catalog(changes) => records.catalog(changes, 1),
        }
    }
}

/// A small deterministic source of choices.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound.max(1)
    }
}

/// Makes histories that make sense.
pub(super) struct Author {
    random: Random,
    next_log: u64,
    next_index: BTreeMap<u64, u64>,
    largest: u64,
}

impl Author {
    pub(super) fn new(seed: u64, largest: u64) -> Self {
        Self {
            random: Random::new(seed),
            next_log: 1,
            next_index: BTreeMap::new(),
            largest,
        }
    }

    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Logs that existed when the author takes over.
    pub(super) fn go_on_from(&mut self, next_log: u64, logs: impl Iterator<Item = (u64, u64)>) {
        self.next_log = self.next_log.max(next_log);
        self.next_index.extend(logs);
    }

    pub(super) fn step(&mut self, plain: &Plain) -> Step {
        let Some(log) = self.pick(plain.logs.keys().copied()) else {
            return self.create();
        };
        match self.random.below(100) {
            0..3 => self.create(),
            3..5 => Step::Catalog(vec![
                CatalogChange::DropLog(LogId(log)),
                CatalogChange::Delete {
                    key: log.to_le_bytes().to_vec(),
                },
            ]),
            5..8 => Step::Mark {
                log,
                below: self.random.below(50),
            },
            8..50 => self.message(log),
            kind => {
                let messages = &plain.logs[&log];
                let Some(index) = self.pick(messages.keys().copied()) else {
                    return self.message(log);
                };
                self.about(log, index, kind, messages)
            }
        }
    }

    fn about(
        &mut self,
        log: u64,
        index: u64,
        kind: u64,
        messages: &BTreeMap<u64, PlainMessage>,
    ) -> Step {
        match kind {
            50..60 => Step::Return {
                log,
                index,
                count: messages[&index].return_count + 1,
            },
            60..63 => Step::Settle {
                log,
                first: *messages.keys().next().unwrap(),
                last: *messages.keys().next_back().unwrap(),
            },
            63..75 => {
                let last = messages
                    .range(index..)
                    .nth(2)
                    .map_or(index, |(last, _)| *last);
                let first = index;
                Step::Settle { log, first, last }
            }
            _ => Step::Settle {
                log,
                first: index,
                last: index,
            },
        }
    }

    fn create(&mut self) -> Step {
        let log = self.next_log;
        self.next_log += 1;
        self.next_index.insert(log, 0);
        Step::Catalog(vec![
            CatalogChange::CreateLog(LogId(log)),
            CatalogChange::Put {
                key: log.to_le_bytes().to_vec(),
                value: format!("queue {log}").into_bytes(),
            },
        ])
    }

    fn message(&mut self, log: u64) -> Step {
        // Positions that no stored message has are those of transient ones.
        let skipped = self.random.below(8) / 6;
        let next = self.next_index.entry(log).or_default();
        let index = *next + skipped;
        *next = index + 1;
        let len = self.random.below(self.largest) as usize;
        Step::Message {
            log,
            index,
            bytes: vec![(index * 31 + log) as u8; len],
        }
    }

    fn pick(&mut self, from: impl Iterator<Item = u64>) -> Option<u64> {
        let all: Vec<_> = from.collect();
        let at = self.random.below(all.len() as u64) as usize;
        all.get(at).copied()
    }
}
