"""pytest plugin: writes each test's outcome as one JSON line, and turns a listed failure into a skip with its reason.

A listed test still runs: it counts as passed where it passes, so that a list longer than need be shows.
"""

import json
import os
from pathlib import Path

import pytest
import repoint

EXCUSED = json.loads(os.environ.get("CONFORMANCE_SKIPS", "{}"))


def pytest_collection_finish(session):
    """Refuse to judge a module that still holds its own class."""
    subject = repoint.subject()
    target = os.environ.get("CONFORMANCE_TARGET", "")
    if subject is None or not target:
        return
    attribute = target.partition(":")[2]
    for module in {item.module for item in session.items}:
        holder = getattr(module, "c_functools", module)
        if getattr(holder, attribute) is not subject:
            raise pytest.UsageError(f"{module.__name__}: {attribute} was not replaced")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    reason = EXCUSED.get(item.originalname if hasattr(item, "originalname") else item.name)
    if report.failed and reason and repoint.subject() is not None:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 0, reason)


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        line = {"test": report.nodeid.split("::", 1)[1], "outcome": report.outcome, "why": reason_of(report)}
        with Path(os.environ["CONFORMANCE_OUT"]).open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def reason_of(report):
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return report.longrepr[2]
    return report.longreprtext if report.failed else ""
