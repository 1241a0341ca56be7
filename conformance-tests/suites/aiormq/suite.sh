# The tests of aiormq, the client under aio-pika. The package leaves out the fixtures that start a broker in
# Docker; running_broker.py has them name the one that runs. Half of the tests are the other half again over
# TLS, which is left out.
. "$(dirname "${BASH_SOURCE[0]}")/../pypi.sh"

PYPI=aiormq
PYPI_VERSION=7.2.4
PYPI_SHA256=5fd20bb9583d73de85572198496b65cf028f27527c1733c9840d458e0b40e8fa
PYPI_TESTS=(-p running_broker -k 'not amqps and not ssl' tests)

PINNED="aiormq $PYPI_VERSION"
EXPECTED_PASS=554   # of 560; six are exceptions, most of which pass in most runs
ISOLATION=network
SECONDS_MAX=1800   # 8 minutes on busy cores: it takes a snapshot of memory around every test
NIGHTLY=

install() { pypi_install; }
run_suite() { pypi_run; }
