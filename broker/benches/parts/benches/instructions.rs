//! How many instructions the broker's parts take: the same on a busy machine as on an idle one.
//!
//! `.ci/instructions` runs it and holds the counts against those in `instructions.toml`. By hand it
//! needs valgrind and a `gungraun-runner` of the same version as the library:
//!
//! ```sh
//! cargo bench -p leveret-benches --bench instructions
//! ```

#![allow(missing_docs, reason = "the macros make public items without")]

use std::hint::black_box;

use gungraun::{
    Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};

use leveret_benches::{Part, warm};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// A round of a part that is warm. What it used is given back, so that its end is not counted.
#[library_benchmark(setup = warm)]
#[bench::frames_cut("frames_cut")]
#[bench::publishes_read("publishes_read")]
#[bench::properties_parse("properties_parse")]
#[bench::acks_parse("acks_parse")]
#[bench::delivers_write("delivers_write")]
#[bench::route_cached("route_cached")]
#[bench::route_direct("route_direct")]
#[bench::route_fanout_10("route_fanout_10")]
#[bench::route_topic_1000("route_topic_1000")]
#[bench::route_topic_10000("route_topic_10000")]
#[bench::queue_auto_ack("queue_auto_ack")]
#[bench::queue_ack("queue_ack")]
#[bench::log_append_16("log_append_16")]
#[bench::log_append_1024("log_append_1024")]
#[bench::session_16_auto_ack("session_16_auto_ack")]
#[bench::session_16_ack("session_16_ack")]
#[bench::session_16_properties("session_16_properties")]
#[bench::session_16_confirm("session_16_confirm")]
#[bench::session_1024_auto_ack("session_1024_auto_ack")]
#[bench::session_fanout_10("session_fanout_10")]
fn round(mut part: Box<dyn Part>) -> Box<dyn Part> {
    black_box(&mut part).round();
    part
}

library_benchmark_group!(name = parts_of_the_broker, benchmarks = round);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = parts_of_the_broker
);
