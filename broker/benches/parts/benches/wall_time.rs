//! How long the broker's parts take.
//!
//! ```sh
//! cargo bench -p leveret-benches --bench wall_time
//! cargo bench -p leveret-benches --bench wall_time -- session
//! ```

use std::cell::RefCell;

use divan::Bencher;
use divan::counter::ItemsCount;

use leveret_benches::{MESSAGES, PARTS, warm};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// One round at a time, since each uses up what was made ready for it.
#[divan::bench(args = PARTS.iter().map(|(name, _)| *name), sample_size = 1, sample_count = 200)]
fn round(bencher: Bencher<'_, '_>, name: &str) {
    let part = RefCell::new(warm(name));
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .with_inputs(|| part.borrow_mut().prepare())
        .bench_local_values(|()| part.borrow_mut().round());
}
