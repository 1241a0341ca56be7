"""A pytest plugin that writes one line per test into the file that PYTEST_VERDICTS names.

`pass NAME`, `fail NAME` or `skip NAME REASON`, where NAME is pytest's id of the test without white space.
It is not a report for people, and changes nothing about how the tests run.

Invariants: a test passes only if its body and everything around it did; a test that is run again after
a failure has the verdict of its last run; a file that cannot be collected is a failed test; tests that
were collected and have no verdict in the end are failed ones.
"""

import os
import re

collected = []
outcomes = {}  # id -> the reports of the last run
written = set()


def pytest_itemcollected(item):
    collected.append(item.nodeid)


def pytest_deselected(items):
    for item in items:
        collected.remove(item.nodeid)


def pytest_collectreport(report):
    if report.failed:
        write("fail", report.nodeid or "collection")
    elif report.skipped:
        write("skip", report.nodeid, reason(report))


def pytest_runtest_logreport(report):
    if report.when == "setup":
        outcomes[report.nodeid] = []
    outcomes.setdefault(report.nodeid, []).append(report)


def pytest_sessionfinish():
    for test in collected:
        write(*verdict(test))


def verdict(test):
    reports = outcomes.get(test, [])
    if any(report.outcome not in ("passed", "skipped") for report in reports):
        return "fail", test
    for report in reports:
        if report.skipped:
            return "skip", test, getattr(report, "wasxfail", None) or reason(report)
    ran = any(report.when == "call" for report in reports)
    return ("pass" if ran else "fail"), test


def reason(report):
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)


def write(outcome, test, why=""):
    if test in written:
        return
    written.add(test)
    line = " ".join([outcome, re.sub(r"\s+", "-", test), *why.split()])
    with open(os.environ["PYTEST_VERDICTS"], "a", encoding="utf-8") as file:
        print(line, file=file)
