//! The power goes: everything the filesystem has not been made to write is gone.
//!
//! The data directory lies on an ext4 of its own in a loop-mounted file, which is shut down without
//! flushing its log under load, while the broker is frozen. What lay in memory alone never reaches
//! the file. The request is made by Python, because it needs code that this
//! workspace does not allow itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clients::{Amount, Clients};
use crate::content::Random;
use crate::history::Event;
use crate::kills::drain_twice;
use crate::load::{Load, PATIENCE, open, within};
use crate::process::{Setup, scratch};
use crate::runs::{Mounted, allows, rounds, run, seed};

/// The image is sparse; this is far more than a run leaves on it.
const IMAGE: &str = "1G";

/// Below this much free space the disk counts as full.
const FREE_BYTES_MIN: u64 = 4 << 20;

const AMOUNT: Amount = Amount {
    publishers: 3,
    messages_each: 400,
};

/// `EXT4_IOC_SHUTDOWN` with the flag that leaves the log as it is on the disk.
const SHUT_DOWN: &str = "\
import fcntl, os, struct, sys
EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
directory = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, struct.pack('I', NO_LOG_FLUSH))
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let seed = seed();
    let rounds = (rounds() / 5).max(2);
    let report = format!("{rounds} power cuts with LEVERET_CRASH_SEED={seed}");
    let (mut random, load) = (Random::new(seed), Load::on_a_failing_store());
    for _ in 0..rounds {
        machine.live_until_the_power_goes(&load, &mut random).await;
    }
    let disk = machine.mount();
    if disk.is_some() {
        drain_twice(&machine.setup(), &load).await;
    }
    load.judge(&report);
}

struct Machine {
    image: PathBuf,
    place: PathBuf,
}

impl Machine {
    /// `None`, with a message, where loop devices cannot be mounted or shut down.
    fn new() -> Option<Self> {
        let test = "a power cut";
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash-power-disk");
        Mounted::clear(&place);
        let place = scratch("power-disk");
        let image = scratch("power-image").join("image");
        let machine = Self { image, place };
        let image = machine.image.to_str().unwrap();
        let is_made = allows(test, "truncate", &["-s", IMAGE, image])
            && allows(test, "mkfs.ext4", &["-q", "-F", image]);
        let _disk = is_made.then(|| machine.mount()).flatten()?;
        let place = machine.place.to_str().unwrap();
        let is_cut = allows(test, "python3", &["-c", SHUT_DOWN, place]);
        is_cut.then_some(machine.clone_paths())
    }

    fn clone_paths(&self) -> Self {
        Self {
            image: self.image.clone(),
            place: self.place.clone(),
        }
    }

    fn mount(&self) -> Option<Mounted<'_>> {
        let image = self.image.to_str().unwrap();
        Mounted::new("a power cut", &["-o", "loop", image], &self.place)
    }

    fn setup(&self) -> Setup {
        let mut setup = Setup::at(self.place.join("data"));
        let free = format!("storage.disk_free_min_bytes={FREE_BYTES_MIN}");
        setup.settings.push(free);
        setup
    }

    fn cut_power(&self) {
        let place = self.place.to_str().unwrap();
        run("python3", &["-c", SHUT_DOWN, place]);
    }

    async fn live_until_the_power_goes(&self, load: &Load, random: &mut Random) {
        let _disk = self.mount().expect("it could be mounted before");
        let mut broker = self.setup().start();
        load.history.add(Event::Started);
        let uri = broker.uri();
        within(PATIENCE, "looking", load.look(&uri)).await.unwrap();
        let declaring = async {
            let (_connection, channel) = open(&uri).await?;
            load.declare_what_stays(&channel).await
        };
        within(PATIENCE, "declaring", declaring).await.unwrap();
        let clients = Clients::start(load, &uri, AMOUNT, random);
        // The moment is what is being tested, so there is nothing to wait for but time.
        tokio::time::sleep(Duration::from_millis(100 + random.below(1200))).await;
        // A machine without power computes nothing either: what a broker says that outlives its disk
        // is another test's.
        broker.freeze();
        self.cut_power();
        broker.kill();
        clients.ended().await;
    }
}
