# The integration tests of kombu over AMQP, the messaging library of celery. Those of its other
# transports want Redis, MongoDB, Kafka and the like.
. "$(dirname "${BASH_SOURCE[0]}")/../pypi.sh"

PYPI=kombu
PYPI_VERSION=5.7.0
PYPI_SHA256=31e62fdfd2381caa3422f8e02b84a491d9a2180ddda74507b57f4cb1e1c2c2c9
PYPI_TESTS=(t/integration/test_py_amqp.py)

PINNED="kombu $PYPI_VERSION"
EXPECTED_PASS=51
ISOLATION=network
SECONDS_MAX=180   # 40 s
NIGHTLY=

install() { pypi_install; }
run_suite() { pypi_run; }
