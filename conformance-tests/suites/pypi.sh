# What the suites that come as Python source packages have in common. Sourced by their suite.sh; it runs
# nothing by itself.
#
# It is not a way to patch a suite: a package is unpacked as it was published, and pytest runs its tests
# with the versions that requirements.txt beside the suite.sh pins, the package itself among them.
#
# A suite.sh that sources this file sets:
#   PYPI PYPI_VERSION   what PyPI calls it
#   PYPI_SHA256         of the source package
#   PYPI_TESTS          pytest's arguments: which tests, and plugins that hand them the broker
#   PYPI_ENVIRONMENT    NAME=VALUE that the tests want to find
# It is handed `cache` (a directory that later runs find again) and `results` (the file of verdicts).
#
# Invariants: the tests run without a network but the loopback; every test that pytest collected has a
# line in the results (pytest_verdicts.py), and a run that ends early a failed one; every command has a
# time limit.

PYPI_SECONDS_MAX=600
PYPI_TESTS=()
PYPI_ENVIRONMENT=()
PYPI_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

pypi_install() {
    local suite=$PYPI_HERE/$PYPI
    if [ "$(cat "$cache/$PYPI/.installed" 2>/dev/null)" = "$(pypi_fingerprint)" ]; then return; fi
    pypi_packages
    rm -rf "$cache/$PYPI"/{.installed,environment,source,fetched}
    pypi_bounded python3 -m venv "$cache/$PYPI/environment"
    pypi_pip install -r "$suite/requirements.txt"
    pypi_fetch
    pypi_fingerprint >"$cache/$PYPI/.installed"
}

pypi_fingerprint() {
    printf '%s\n' "$PYPI_VERSION" "$PYPI_SHA256" "$(python3 --version)"
    cat "$PYPI_HERE/$PYPI/requirements.txt"
}

pypi_packages() {
    python3 -c 'import ensurepip, venv' 2>/dev/null && return
    [ "$(id -u)" = 0 ] || { echo "$PYPI: install python3 and python3-venv, or run this as root" >&2; return 1; }
    pypi_bounded apt-get update -qq
    DEBIAN_FRONTEND=noninteractive pypi_bounded apt-get install -y -qq python3 python3-venv
}

pypi_bounded() { timeout --kill-after=10 "$PYPI_SECONDS_MAX" "$@"; }
pypi_pip() { pypi_bounded "$cache/$PYPI/environment/bin/pip" --disable-pip-version-check "$@"; }

# pip asks a source package for its metadata, hence runs its build backend, which need not come as source;
# what that makes is not used.
pypi_fetch() {
    local fetched=$cache/$PYPI/fetched source=$cache/$PYPI/source
    pypi_pip download --no-deps --no-binary "$PYPI" --dest "$fetched" "$PYPI==$PYPI_VERSION"
    echo "$PYPI_SHA256  $(echo "$fetched"/*.tar.gz)" | sha256sum --check --quiet
    mkdir "$source"
    tar -xzf "$fetched"/*.tar.gz -C "$source" --strip-components=1
    rm -rf "$fetched"
}

# Runs the tests against the broker at 127.0.0.1:5672 and writes their verdicts. pytest's exit code says
# no more than they do, unless something other than a test failed.
pypi_run() {
    local status=0
    cd "$cache/$PYPI/source"
    env PATH="$cache/$PYPI/environment/bin:$PATH" PYTHONPATH="$PYPI_HERE:$PYPI_HERE/$PYPI" \
        PYTHONDONTWRITEBYTECODE=1 PYTEST_VERDICTS="$results" "${PYPI_ENVIRONMENT[@]}" \
        timeout --kill-after=10 "$SECONDS_MAX" "$cache/$PYPI/environment/bin/python" \
        -m pytest -p pytest_verdicts -p no:cacheprovider -p no:warnings --color=no -rfE --tb=short \
        "${PYPI_TESTS[@]}" </dev/null || status=$?
    [ "$status" -le 1 ] || echo "fail pytest-ended-with-$status" >>"$results"
}
