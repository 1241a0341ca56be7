# amiquip's unit tests, of which two speak to a broker. They do so only if they are told where it is,
# and pass without a word otherwise.
. "$(dirname "${BASH_SOURCE[0]}")/../cargo.sh"

CRATE=amiquip
CRATE_VERSION=0.4.2
CRATE_SHA256=57e34be7db1d0210da6ac2dde4236e0177daa321a589715e495e8b2226325f9f
CRATE_TESTS=(--lib)
# Its TLS is OpenSSL's.
CRATE_PACKAGES=(libssl-dev:/usr/include/openssl/ssl.h pkg-config:/usr/bin/pkg-config)

PINNED="amiquip $CRATE_VERSION"
EXPECTED_PASS=40
ISOLATION=network
SECONDS_MAX=60   # 1 s of tests
# Two unit tests of heartbeats, which no broker takes part in, fail in one of seven runs while compilers
# work beside them.
CRATE_PUNCTUAL=yes
NIGHTLY=

install() { crate_install; }
# In a shell of its own, so that the priority ends with it.
run_suite() (
    export AMIQUIP_TEST_URL=amqp://guest:guest@127.0.0.1:5672/
    crate_run
)
