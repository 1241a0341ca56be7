# amqprs' own tests: unit, integration and documentation tests, without TLS. One of them logs in with
# RABBIT-CR-DEMO, which the broker must be told to offer.
. "$(dirname "${BASH_SOURCE[0]}")/../cargo.sh"

CRATE=amqprs
CRATE_VERSION=2.1.5
CRATE_SHA256=b768f791c4e8b038dc883cb0f1b533a498a9e59a7ddb352ed2ea9cb0a728dbf4
CRATE_TESTS=(--features compliance_assert,traces,urispec)

PINNED="amqprs $CRATE_VERSION"
EXPECTED_PASS=65
ISOLATION=network
SECONDS_MAX=300   # 90 s of tests, half of them one that counts heartbeats
NIGHTLY=
DEFINITIONS=definitions.json

install() { crate_install; }
run_suite() { crate_run; }
