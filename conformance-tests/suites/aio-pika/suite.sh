# The tests of aio-pika. They start a broker in Docker; running_broker.py hands them the one that runs.
. "$(dirname "${BASH_SOURCE[0]}")/../pypi.sh"

PYPI=aio-pika
PYPI_VERSION=10.2.1
PYPI_SHA256=e4f77afd9179a3cca5a904c3b0a1190256a36d9f90650db908b1b2245eb27487
PYPI_TESTS=(-p running_broker --deselect tests/test_amqps.py tests)

PINNED="aio-pika $PYPI_VERSION"
EXPECTED_PASS=945
ISOLATION=network
SECONDS_MAX=1800   # 15 minutes on busy cores: it takes a snapshot of memory around every test
NIGHTLY=yes

install() { pypi_install; }
run_suite() { pypi_run; }
