# lapin's own tests: unit, integration and documentation tests, on tokio. TLS and the runtimes smol and
# async-global-executor are left out: their features bring tests of nothing that a broker does otherwise.
. "$(dirname "${BASH_SOURCE[0]}")/../cargo.sh"

CRATE=lapin
CRATE_VERSION=4.12.3
CRATE_SHA256=3212643cc0031d982f81a62360998106268587237d81d6e8501a0a323e13b656
CRATE_TESTS=(--no-default-features --features tokio)

PINNED="lapin $CRATE_VERSION"
EXPECTED_PASS=41
ISOLATION=network
SECONDS_MAX=180   # 15 s of tests; the examples in the documentation are compiled here
NIGHTLY=

install() { crate_install; }
run_suite() { crate_run; }
