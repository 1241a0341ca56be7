//! Offers, ticks, commits, loads and restarts in any order: everything is released, once for each life of
//! the broker at most, in order and not early.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Offer(Vec<(u64, bool)>),
    Advance(u64),
    Tick,
    Commit,
    Serve,
    Finish,
    Restart,
}

fn any_op() -> impl Strategy<Value = Op> {
    let message = (prop_oneof![0..4_u64, 0..30_u64], any::<bool>());
    prop_oneof![
        4 => prop::collection::vec(message, 1..5).prop_map(Op::Offer),
        3 => (0..12_u64).prop_map(Op::Advance),
        3 => Just(Op::Tick),
        3 => Just(Op::Commit),
        3 => Just(Op::Serve),
        3 => Just(Op::Finish),
        1 => Just(Op::Restart),
    ]
}

/// What is held: deadline, number, and whether it is in the log.
#[derive(Default)]
struct Model {
    held: BTreeSet<(Moment, u64, bool)>,
    out: Vec<(Moment, u64, bool)>,
    offered: u64,
}

impl Model {
    fn offer(&mut self, driver: &Driver, messages: &[(u64, bool)]) -> Vec<Message> {
        let messages = messages.iter().map(|(delay_ms, persistent)| {
            let at = driver.now.after_ms(*delay_ms);
            self.held.insert((at, self.offered, *persistent));
            self.offered += 1;
            delayed(&(self.offered - 1).to_string(), *delay_ms, *persistent)
        });
        messages.collect()
    }

    /// What has been released is what is due first, and is due.
    fn check(&mut self, driver: &Driver) {
        let Some((released, _)) = &driver.out else {
            return;
        };
        if !self.out.is_empty() {
            return;
        }
        for message in released {
            let first = self.held.pop_first().unwrap();
            assert_eq!(body(message), first.1.to_string());
            assert!(first.0 <= driver.now, "too early");
            self.out.push(first);
        }
    }

    fn restart(&mut self) {
        self.held.extend(self.out.drain(..));
        self.held.retain(|(_, _, persistent)| *persistent);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn everything_is_released_once_in_order_and_never_early(ops in prop::collection::vec(any_op(), 1..80)) {
        let (mut driver, mut model) = (Driver::new(), Model::default());
        for op in ops {
            match op {
                Op::Offer(messages) => {
                    let messages = model.offer(&driver, &messages);
                    driver.offer(messages);
                }
                Op::Advance(ms) => driver.now = driver.now.after_ms(ms),
                Op::Tick => drop(driver.tick_if_due()),
                Op::Commit => drop(driver.commit()),
                Op::Serve => drop(driver.serve()),
                Op::Finish => {
                    driver.finish();
                    model.out.clear();
                }
                Op::Restart => {
                    driver.restart();
                    model.restart();
                }
            }
            model.check(&driver);
            let status = driver.queue.status();
            let transient = model.held.iter().filter(|held| !held.2).count() as u64;
            let on_its_way_out = (0..=PART_MESSAGES_MAX as u64).contains(
                &(status.resident_messages - transient));
            assert!(on_its_way_out && status.ready <= model.held.len() as u64);
        }
        settle_all(&mut driver, &mut model);
    }
}

/// Lets time pass until nothing is left, and looks at all that comes.
fn settle_all(driver: &mut Driver, model: &mut Model) {
    for round in 0..60 {
        let before = driver.now;
        driver.now = driver.now.after_ms(1);
        loop {
            model.check(driver);
            let finished = !driver.finish().is_empty();
            model.out.clear();
            if !finished && !driver.tick_if_due() && !driver.serve() && !driver.commit() {
                break;
            }
        }
        // What was left over by then, or came while a part was out, may have to wait for a pause.
        let is_late = |held: &&(Moment, u64, bool)| round > 1 && held.0 < before;
        assert_eq!(model.held.iter().find(is_late), None, "late");
    }
    assert!(model.held.is_empty());
    assert!(driver.journal.left().is_empty(), "all of it is settled");
    let status = driver.queue.status();
    assert_eq!((status.ready, status.held_bytes), (0, 0));
}
