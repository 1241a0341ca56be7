//! The classic queue against a naive model of itself, over random histories on a virtual clock.
//!
//! The model keeps plain vectors, sorts by priority and number after each change, finds the next slot by looking at all of
//! them, and does one message at a time. Both are asked the same questions, and after each step the
//! counts, the deliveries, the dead letters, the promised ticks and the bells have to agree.
//!
//! A durable queue has to do the same once its commits have come, and what its records leave has to
//! be the persistent messages that the model has.

#![allow(clippy::unwrap_used)]

mod model;
mod pair;

use proptest::prelude::*;

use super::testing::{changed, consumer, getter};
use super::*;
use pair::Pair;

/// What a message's body is padded to, by its number: 0 to 3 bytes beyond its name.
fn padded(number: u64) -> String {
    format!("{number}{}", &"..."[..(number % 4) as usize])
}

/// What a message asks for.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    ttl_ms: Option<u64>,
    priority: u8,
}

#[derive(Clone, Debug)]
enum Step {
    Offer {
        asked: Vec<Asked>,
    },
    OfferMany,
    Attach(Wanted),
    Detach {
        slot: usize,
        unsettled: bool,
    },
    PullOnly {
        slot: usize,
        pull_only: bool,
    },
    Pull {
        slot: usize,
        room: Room,
    },
    Get {
        slot: usize,
    },
    Settle {
        slot: usize,
        verdict: Verdict,
        chosen: u64,
    },
    Wait {
        ms: u64,
    },
    Tick,
    Purge,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    getter: bool,
    no_ack: bool,
    exclusive: bool,
    pull_only: bool,
    prefetch: u16,
    priority: i64,
}

impl Wanted {
    fn spec(self) -> SlotSpec {
        let mut spec = match self.getter {
            true => getter(self.no_ack),
            false => changed(consumer(self.prefetch), |exclusive, pull_only, priority| {
                *exclusive = self.exclusive;
                *pull_only = self.pull_only;
                *priority = self.priority;
            }),
        };
        spec.no_ack = self.no_ack;
        spec
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    let ttl = prop_oneof![4 => Just(None), 1 => (0..30_u64).prop_map(Some)];
    let priority = prop_oneof![3 => 0..6_u8, 1 => any::<u8>()];
    let asked = (ttl, priority).prop_map(|(ttl_ms, priority)| Asked { ttl_ms, priority });
    let verdict = prop_oneof![
        Just(Verdict::Ack),
        Just(Verdict::Requeue),
        Just(Verdict::Discard)
    ];
    prop_oneof![
        8 => prop::collection::vec(asked, 1..6).prop_map(|asked| Step::Offer { asked }),
        1 => Just(Step::OfferMany),
        3 => any_wanted().prop_map(Step::Attach),
        1 => (0..8_usize, any::<bool>()).prop_map(|(slot, unsettled)| Step::Detach { slot, unsettled }),
        1 => (0..8_usize, any::<bool>()).prop_map(|(slot, pull_only)| Step::PullOnly { slot, pull_only }),
        8 => (0..8_usize, 0..7_u32, 0..20_usize).prop_map(|(slot, messages, bytes)| Step::Pull { slot, room: Room { messages, bytes } }),
        2 => (0..8_usize).prop_map(|slot| Step::Pull { slot, room: Room { messages: 400, bytes: 9999 } }),
        2 => (0..8_usize).prop_map(|slot| Step::Get { slot }),
        6 => (0..8_usize, verdict, any::<u64>()).prop_map(|(slot, verdict, chosen)| Step::Settle { slot, verdict, chosen }),
        2 => (1..25_u64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Tick),
        1 => Just(Step::Purge),
    ]
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    let sometimes = || prop::bool::weighted(0.2);
    let parts = (
        sometimes(),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.05),
        sometimes(),
        prop_oneof![Just(0_u16), 1..5_u16],
        prop_oneof![5 => Just(0_i64), 1 => -1..2_i64],
    );
    parts.prop_map(
        |(getter, no_ack, exclusive, pull_only, prefetch, priority)| Wanted {
            getter,
            no_ack,
            exclusive,
            pull_only,
            prefetch,
            priority,
        },
    )
}

fn any_options() -> impl Strategy<Value = ClassicOptions> {
    let rarely =
        |range: std::ops::Range<u64>| prop_oneof![3 => Just(None), 1 => range.prop_map(Some)];
    let overflow = prop_oneof![
        Just(Overflow::DropHead),
        Just(Overflow::RejectPublish),
        Just(Overflow::RejectPublishDeadLetter)
    ];
    let parts = (
        rarely(0..40),
        rarely(0..9),
        rarely(0..30),
        overflow,
        any::<bool>(),
        any::<bool>(),
        prop_oneof![2 => Just(0), 3 => 1..5_u8, 1 => Just(255)],
    );
    parts.prop_map(
        |(
            message_ttl_ms,
            length_max,
            length_bytes_max,
            overflow,
            dead_letters,
            auto_delete,
            max_priority,
        )| {
            ClassicOptions {
                auto_delete,
                expires_ms: None,
                // The model's consumers all take turns.
                single_active_consumer: false,
                max_priority,
                message_ttl_ms,
                length_max,
                length_bytes_max,
                overflow,
                dead_letters,
                ..ClassicOptions::default()
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_classic_queue_does_what_its_model_does(
        options in any_options(),
        steps in prop::collection::vec(any_step(), 1..120),
    ) {
        let mut pair = Pair::new(options);
        for step in steps {
            pair.step(step);
        }
    }

    #[test]
    fn a_durable_queue_does_what_its_model_does_and_writes_it_down(
        options in any_options(),
        steps in prop::collection::vec(any_step(), 1..120),
    ) {
        let mut pair = Pair::durable(options);
        for step in steps {
            pair.step(step);
        }
    }

    #[test]
    fn an_unlimited_queue_does_what_its_model_does(steps in prop::collection::vec(any_step(), 1..160)) {
        let mut pair = Pair::new(ClassicOptions { dead_letters: true, ..ClassicOptions::default() });
        for step in steps {
            pair.step(step);
        }
    }
}
