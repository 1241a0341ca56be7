# The integration tests of celery over AMQP, results by rpc://. Those of other stores of results want
# Azure, SQL or Redis. celery runs a failed test up to five times more, for many of them are flaky.
. "$(dirname "${BASH_SOURCE[0]}")/../pypi.sh"

PYPI=celery
PYPI_VERSION=5.7.0
PYPI_SHA256=6a5dfcf6662287204f009a02002b9e66c83d4105e47ebabdc7079108772fc6f0
PYPI_TESTS=(t/integration --ignore=t/integration/test_backend.py --ignore=t/integration/test_database_backend.py
    --ignore=t/integration/test_redis_backend.py)
PYPI_ENVIRONMENT=(TEST_BROKER=pyamqp://guest:guest@127.0.0.1:5672// TEST_BACKEND=rpc://)

PINNED="celery $PYPI_VERSION"
EXPECTED_PASS=165
ISOLATION=network
SECONDS_MAX=3000   # 18 minutes: what fails is tried up to five times more
NIGHTLY=yes

install() { pypi_install; }
run_suite() { pypi_run; }
