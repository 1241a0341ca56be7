# From the lines that a suite wrote about its tests to a verdict on the broker. Sourced by `run`; pure
# apart from reading the two files.
#
# results:         pass NAME | fail NAME | skip NAME REASON, a line per test
# exceptions.txt:  NAME<TAB>REASON, a line per test that RabbitMQ 3.10.8 fails as well; a `*` in the name
#                  stands for any text, and no other character for anything but itself; `#` begins a comment
#
# Invariant: a test that fails and is no exception is a failure, as is a run of fewer passes than expected.

# judge RESULTS EXCEPTIONS EXPECTED: prints what there is to say, a line each; fails if the broker does.
judge() {
    judged "$1" "$2" | awk -v expected="$3" '
        $1 == "pass" { passed++ }
        $1 == "fail" { print "FAIL " $2; failed++ }
        $1 == "excepted-pass" { passed++; print "note: " $2 " passes, though it is an exception" }
        $1 == "unused" { print "note: no test of this name failed: exception " $2 }
        END {
            if (passed < expected) { print "FAIL " passed + 0 " tests passed of " expected; failed++ }
            exit failed > 0
        }'
}

# counts RESULTS EXCEPTIONS: prints `passed=N failed=N excepted=N skipped=N`.
counts() {
    judged "$1" "$2" | awk '
        { seen[$1]++ }
        END {
            printf "passed=%d failed=%d excepted=%d skipped=%d\n", seen["pass"] + seen["excepted-pass"],
                seen["fail"], seen["excepted-fail"], seen["skip"]
        }'
}

# The results with every test that an exception names marked so, and the exceptions that were of no use.
judged() {
    local exceptions=$2
    [ -e "$exceptions" ] || exceptions=/dev/null
    awk -v exceptions="$exceptions" '
        BEGIN {
            while ((getline line < exceptions) > 0) {
                if (line ~ /^(#|[ \t]*$)/) continue
                sub(/\t.*/, "", line)
                names[++total] = line
            }
        }
        function names_it(text, name,   parts, n, i, at) {
            n = split(name, parts, "*")
            if (n == 1) return text == name
            if (substr(text, 1, length(parts[1])) != parts[1]) return 0
            text = substr(text, length(parts[1]) + 1)
            for (i = 2; i < n; i++) {
                if (!(at = index(text, parts[i]))) return 0
                text = substr(text, at + length(parts[i]))
            }
            return length(text) >= length(parts[n]) && substr(text, length(text) - length(parts[n]) + 1) == parts[n]
        }
        {
            which = 0
            for (i = 1; i <= total && !which; i++) if (names_it($2, names[i])) which = i
            if (which && $1 == "fail") used[which] = 1
            print (which && $1 != "skip" ? "excepted-" $1 : $1), $2
        }
        END { for (i = 1; i <= total; i++) if (!used[i]) print "unused", names[i] }
    ' "$1"
}
