# The tests of rabbitpy that speak to a broker.
. "$(dirname "${BASH_SOURCE[0]}")/../pypi.sh"

PYPI=rabbitpy
PYPI_VERSION=3.0.2
PYPI_SHA256=9322a1e82b4d3d1afc21a617ce0b1e86b921174328735e7d54abc9525805ae5c
PYPI_TESTS=(tests/test_integration.py tests/integration)
PYPI_ENVIRONMENT=(RABBITMQ_URL=amqp://guest:guest@127.0.0.1:5672/%2f)

PINNED="rabbitpy $PYPI_VERSION"
EXPECTED_PASS=40
ISOLATION=network
SECONDS_MAX=180   # 12 s
NIGHTLY=

install() { pypi_install; }
run_suite() { pypi_run; }
