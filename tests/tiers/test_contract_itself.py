"""The contract suite: a tier that is right passes it, and one with a single fault does not."""

import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import ClassVar

import pytest
from tiers.broken_tiers import FAULTS
from tiers.dict_tier import DictTier, LocalTier, Storage

from hotset.testing.tier_contract import TierContract

HERE = pathlib.Path(__file__).resolve().parent
CASES = [(suite, test) for suite, tests in FAULTS.items() for test in tests]


class TestDictTier(TierContract):
    @pytest.fixture(autouse=True)
    def storage_of_its_own(self):
        self.storage = Storage()

    def make_tier(self):
        return DictTier(self.storage)

    def make_peer(self):
        return DictTier(self.storage)


class TestLocalTier(TierContract):
    def make_tier(self):
        return LocalTier(Storage())


class TestKnownFailures(TierContract):
    """What `fails_on` names is expected to fail, for one face or for both; all else is not."""

    fails_on: ClassVar = {"test_remove[async]": "removes nothing", "test_expire[async]": "expires nothing"}

    def make_tier(self):
        class RemovesNothing(DictTier):
            async def aremove(self, names, *, expire=False):
                pass

        return RemovesNothing(Storage())

    # Only these: what else removes would fail too.
    for name in dir(TierContract):
        if name.startswith("test_") and name not in {"test_remove", "test_expire", "test_the_last_write_stays"}:
            locals()[name] = None
    del name


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What the suite says of the broken tiers: test case -> whether it failed, for each way it ran."""
    report = tmp_path_factory.mktemp("broken") / "report.xml"
    names = [f"{HERE / 'broken_tiers.py'}::{suite}::{test}" for suite, test in CASES]
    options = ["-q", "--tb=line", "-p", "no:cacheprovider", f"--junitxml={report}"]
    process = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *names],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert process.returncode == 1, process.stdout + process.stderr  # 1: tests were run, and some failed
    found = {}
    for case in ET.parse(report).iter("testcase"):
        suite = case.get("classname").rpartition(".")[2]
        # A test that also fails to clean up is reported twice.
        found[suite, case.get("name")] = case.find("failure") is not None or found.get((suite, case.get("name")), False)
    return found


@pytest.mark.parametrize(("suite", "test"), CASES, ids=lambda value: value)
def test_a_fault_is_found(outcomes, suite, test):
    ways = [
        (name, failed) for (of, name), failed in outcomes.items() if of == suite and f"{name}[".startswith(f"{test}[")
    ]
    assert ways
    assert any(failed for _, failed in ways), f"the fault is not found by {ways}"
