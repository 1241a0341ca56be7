# What the suites that come as crates have in common. Sourced by their suite.sh; it runs nothing by itself.
#
# It is not a way to patch a suite: a crate is unpacked as it was published, built with the versions
# that its own Cargo.lock names, and its tests are run by cargo with their own names and defaults.
#
# A suite.sh that sources this file sets:
#   CRATE CRATE_VERSION   what crates.io calls it
#   CRATE_SHA256          of the file that crates.io serves
#   CRATE_TESTS           cargo test's options: features, and which targets
#   CRATE_PACKAGES        Debian packages that the build needs, each as PACKAGE:FILE-IT-BRINGS
#   CRATE_PUNCTUAL        not empty if its tests measure time to some milliseconds
# It is handed `cache` (a directory that later runs find again) and `results` (the file of verdicts).
#
# Invariants: the tests run without a network but the loopback; every test that cargo counted has a line
# in the results, or the run has a failed one that says so; every command has a time limit.

CRATE_FETCH_SECONDS_MAX=300
CRATE_BUILD_SECONDS_MAX=1500   # the largest takes 4 minutes on two cores that are busy otherwise
CRATE_TESTS=()
CRATE_PACKAGES=()
CRATE_PUNCTUAL=

# One build directory for all crates, so that what they have in common is compiled once; without debug
# information, which nobody looks at and half of the time and space goes into.
crate_cargo() {
    (
        cd "$cache/$CRATE/source"
        export CARGO_TARGET_DIR=$cache/cargo-target CARGO_PROFILE_DEV_DEBUG=0 CARGO_TERM_COLOR=never
        # Given as a setting, because a suite that finds none asks for a trace of everything.
        export RUST_LOG=off
        cargo "$@"
    )
}

# Step by step with `&&`, for bash ignores `set -e` in a function that is called as a condition.
crate_install() {
    crate_packages || return
    if [ "$(cat "$cache/$CRATE/.built" 2>/dev/null)" = "$(crate_fingerprint)" ]; then return; fi
    local file
    file=$(crate_fetch) &&
        crate_unpack "$file" &&
        crate_bounded "$CRATE_FETCH_SECONDS_MAX" fetch --locked &&
        crate_bounded "$CRATE_BUILD_SECONDS_MAX" test --locked --offline --no-run "${CRATE_TESTS[@]}" &&
        crate_fingerprint >"$cache/$CRATE/.built"
}

crate_fingerprint() {
    printf '%s\n' "$CRATE_VERSION" "$CRATE_SHA256" "${CRATE_TESTS[@]}" "$(cargo --version)"
}

# For the reader of an exit code: `timeout` starts programs, not functions.
crate_bounded() {
    local seconds=$1
    shift
    export -f crate_cargo
    export cache CRATE
    timeout --kill-after=10 "$seconds" bash -c 'set -euo pipefail; crate_cargo "$@"' crate "$@"
}

crate_packages() {
    local entry missing=()
    for entry in "${CRATE_PACKAGES[@]}"; do
        [ -e "${entry#*:}" ] || missing+=("${entry%%:*}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || { echo "$CRATE: install ${missing[*]}, or run this as root" >&2; return 1; }
    timeout "$CRATE_FETCH_SECONDS_MAX" apt-get update -qq || return
    DEBIAN_FRONTEND=noninteractive timeout "$CRATE_FETCH_SECONDS_MAX" \
        apt-get install -y -qq "${missing[@]}"
}

# Prints the path of the file as crates.io serves it: asking cargo about a version brings that file alone.
crate_fetch() {
    local file
    timeout "$CRATE_FETCH_SECONDS_MAX" \
        cargo info --quiet --registry crates-io "$CRATE@$CRATE_VERSION" >/dev/null || return
    file=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$CRATE-$CRATE_VERSION.crate" -print -quit)
    [ -f "$file" ] || { echo "$CRATE: cargo brought no $CRATE-$CRATE_VERSION.crate" >&2; return 1; }
    echo "$file"
}

crate_unpack() {
    local file=$1 source=$cache/$CRATE/source
    echo "$CRATE_SHA256  $file" | sha256sum --check --quiet || return
    rm -rf "$source"
    mkdir -p "$source"
    tar -xzf "$file" -C "$source" --strip-components=1
}

# Runs the tests against the broker at 127.0.0.1:5672 and writes their verdicts.
crate_run() {
    local log=$cache/$CRATE/run.log status=0
    if [ -n "$CRATE_PUNCTUAL" ]; then crate_hurries; fi
    crate_bounded "$SECONDS_MAX" test --locked --offline --no-fail-fast "${CRATE_TESTS[@]}" \
        >"$log" 2>&1 </dev/null || status=$?
    crate_verdicts "$status" <"$log" >>"$results"
    [ "$status" = 0 ] || cat "$log"
}

# What this shell starts from now on goes before whatever else keeps the machine busy, if that is allowed.
crate_hurries() {
    chrt --fifo --pid 1 "$BASHPID" 2>/dev/null || echo "$CRATE: runs without priority" >&2
}

# From what `cargo test` prints to a line per test: `pass lib::a::b`, `pass smoke::c` for a test of
# tests/smoke.rs, `pass doc::src/lib.rs:31` for an example in the documentation. What a test prints past
# its harness may part the name from the verdict, which then stands in a line of its own.
crate_verdicts() {
    awk -v status="$1" '
        /^ +Running unittests / { target = "lib"; next }
        /^ +Running tests\// { target = $2; gsub(/^tests\/|\.rs$/, "", target); next }
        /^ +Doc-tests / { target = "doc"; next }
        /^test result: / { counted += number("passed") + number("failed") + number("ignored"); next }
        /^test .+ \.\.\. / {
            split_at = index($0, " ... ")
            name = named(substr($0, 6, split_at - 6))
            verdict(substr($0, split_at + 5))
            next
        }
        name != "" { verdict($0) }
        END {
            if (seen != counted) print "fail every-test-has-a-verdict"
            else if (status != 0 && !failed) print "fail cargo-test"
        }

        function named(text) {
            sub(/ - (should panic|compile|compile fail)$/, "", text)
            if (target == "doc") { sub(/ - .*\(line /, ":", text); sub(/\)$/, "", text) }
            gsub(/ /, "-", text)
            return target "::" text
        }
        function verdict(text) {
            if (text == "ok") print "pass " name
            else if (text == "FAILED") { print "fail " name; failed = 1 }
            else if (text ~ /^ignored/) { sub(/^ignored(, )?/, "", text); print "skip " name " " (text ? text : "ignored by the suite") }
            else return
            seen++
            name = ""
        }
        function number(what,   i) {
            for (i = 2; i <= NF; i++) if ($i ~ "^" what) return $(i - 1)
        }
    '
}
