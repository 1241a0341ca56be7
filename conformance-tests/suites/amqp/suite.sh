# The integration tests of py-amqp, the client under kombu and celery. Half of them speak to a broker,
# half to a mock of one.
. "$(dirname "${BASH_SOURCE[0]}")/../pypi.sh"

PYPI=amqp
PYPI_VERSION=5.4.2
PYPI_SHA256=9362660c4a31150cf18e78cae2ce8aa1e929fc6c6739e69f6dd5dbea9c3edc82
PYPI_TESTS=(t/integration)

PINNED="amqp $PYPI_VERSION"
EXPECTED_PASS=48
ISOLATION=network
SECONDS_MAX=60   # 6 s
NIGHTLY=

install() { pypi_install; }
run_suite() { pypi_run; }
