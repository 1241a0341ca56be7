//! `kill -9` at random moments under load, over and over on the same directory.

use std::time::Duration;

use crate::clients::{Amount, Clients};
use crate::content::Random;
use crate::history::Event;
use crate::load::{Load, PATIENCE, open, within};
use crate::process::{BrokerProcess, Setup};
use crate::runs::{rounds, seed};

/// How long a broker lives at most, from its first client on.
const LIFE_MS_MAX: u64 = 1500;

/// What a round publishes at most, so that the last drain has an end.
const AMOUNT: Amount = Amount {
    publishers: 3,
    messages_each: 700,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_the_broker_is_killed_over_and_over() {
    let (seed, rounds) = (seed(), rounds());
    let run = format!("{rounds} rounds with LEVERET_CRASH_SEED={seed}");
    eprintln!("{run}");
    let mut random = Random::new(seed);
    let (setup, load) = (Setup::fresh("kills"), Load::default());
    for _ in 0..rounds {
        live_and_die(&setup, &load, &mut random).await;
    }
    assert!(load.history.confirmed() > rounds, "hardly a load");
    drain_twice(&setup, &load).await;
    load.judge(&run);
}

async fn live_and_die(setup: &Setup, load: &Load, random: &mut Random) {
    let mut broker = begin_life(setup, load);
    let uri = broker.uri();
    let declaring = async {
        let (_connection, channel) = open(&uri).await?;
        load.declare_what_stays(&channel).await
    };
    within(PATIENCE, "looking", load.look(&uri)).await.unwrap();
    within(PATIENCE, "declaring", declaring).await.unwrap();
    let clients = Clients::start(load, &uri, AMOUNT, random);
    // The moment is what is being tested, so there is nothing to wait for but time.
    tokio::time::sleep(Duration::from_millis(random.below(LIFE_MS_MAX))).await;
    if random.chance(20) {
        clients.stopped().await;
        broker.stop();
        load.history.add(Event::StoppedCleanly);
    } else {
        broker.kill();
        clients.ended().await;
    }
    if random.chance(20) {
        setup.start_and_kill(Duration::from_millis(random.below(40)));
    }
}

fn begin_life(setup: &Setup, load: &Load) -> BrokerProcess {
    let broker = setup.start();
    load.history.add(Event::Started);
    broker
}

/// Takes all there is, stops in good order, and looks whether any of it comes back.
pub(crate) async fn drain_twice(setup: &Setup, load: &Load) {
    for _ in 0..2 {
        let mut broker = begin_life(setup, load);
        load.look_and_drain(&broker.uri()).await;
        broker.stop();
        load.history.add(Event::StoppedCleanly);
    }
}
