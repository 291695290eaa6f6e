"""Runs test suites that were written for other libraries on Hotset's classes, and prints how each of them does.

The text of the suites is fetched, never kept or edited: cachetools' tests come from its source distribution, held to
one version and checksum; CPython's `test_functools` and `mapping_tests` come from the running interpreter's own
standard library. Each suite runs on its own library too, in the same run, and on one wrong class that it must refuse.

Exit status: 0 if every subject passes all but the excused tests and every control is refused; 1 otherwise. Without
the standard library's tests the suites of CPython are left out by name; with CI=true that is a failure as well.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from suites import (  # noqa: E402 -- the runner is a script: its folder is on the path only now
    CACHETOOLS,
    CACHETOOLS_SHA256,
    CACHETOOLS_VERSION,
    MAPPING_MODULE,
    SUITES,
    Suite,
)

SECONDS = 300


class UnavailableError(Exception):
    """A suite's text cannot be had here."""


@dataclass
class Result:
    """What one suite said of one subject."""

    tests: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    broken: str = ""

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.tests.values())

    def __str__(self) -> str:
        if self.broken:
            return f"did not finish: {self.broken}"
        counts = self.counts
        return f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"


def fetch_cachetools(work: Path) -> Path:
    """Download and unpack the pinned source distribution; pip checks the checksum, and so do we on a kept copy."""
    sdist = work / f"cachetools-{CACHETOOLS_VERSION}.tar.gz"
    if not sdist.exists() or hashlib.sha256(sdist.read_bytes()).hexdigest() != CACHETOOLS_SHA256:
        requirements = work / "requirements.txt"
        requirements.write_text(f"cachetools=={CACHETOOLS_VERSION} --hash=sha256:{CACHETOOLS_SHA256}\n")
        download = ["download", "-q", "--no-deps", "--no-binary", ":all:", "--require-hashes", "-d", str(work)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *download, "-r", str(requirements)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise UnavailableError(f"cachetools {CACHETOOLS_VERSION} could not be downloaded:\n{done.stderr.strip()}")
    with tarfile.open(sdist) as tar:
        tar.extractall(work, filter="data")
    return sdist.with_name(sdist.name.removesuffix(".tar.gz"))


def prepare(work: Path) -> dict[str, str]:
    """Lay out all suites' text under `work`; returns the origins that are missing, each with the reason."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=prepend\n")
    missing = {}
    try:
        unpacked = fetch_cachetools(work)
        shutil.copytree(unpacked / "tests", work / "cachetools_suite", dirs_exist_ok=True)
        shutil.copytree(unpacked / "src" / "cachetools", work / "own" / "cachetools", dirs_exist_ok=True)
    except UnavailableError as error:
        missing[CACHETOOLS] = str(error)

    stdlib = work / "stdlib"
    stdlib.mkdir(exist_ok=True)
    for origin, name in (("functools", "test_functools"), ("mapping", "mapping_tests")):
        spec = importlib.util.find_spec("test") and importlib.util.find_spec(f"test.{name}")
        if not spec or not spec.origin:
            missing[origin] = (
                f"this interpreter's standard library has no test.{name} "
                f"(on Debian and Ubuntu: libpython3.{sys.version_info.minor}-testsuite)"
            )
            continue
        shutil.copy(spec.origin, stdlib)
    (stdlib / "test_mapping.py").write_text(MAPPING_MODULE)
    return missing


def run(suite: Suite, subject: str, work: Path, library: str, skips: dict[str, str]) -> Result:
    """Run one suite in an interpreter of its own; no subject means the suite's own library."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "outcomes.jsonl"
        out.touch()
        folders = [str(HERE / "startup"), str(work / "own"), str(work / "stdlib"), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "CONFORMANCE_LIBRARY": library,
            "CONFORMANCE_OUT": str(out),
            "CONFORMANCE_SKIPS": json.dumps(skips),
            "CONFORMANCE_SUBJECT": subject.replace("LIBRARY", library),
            "CONFORMANCE_TARGET": suite.target,
            "PYTHONPATH": os.pathsep.join(filter(None, folders)),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-c", str(work / "pytest.ini"), "--rootdir", str(work)]
        command += ["-p", "conformance_plugin", "-p", "no:cacheprovider", str(work / suite.selection)]
        command += ["-k", suite.keyword] if suite.keyword else []
        result = Result()
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
            )
            if done.returncode not in {0, 1}:
                said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
                result.broken = f"exit status {done.returncode}: {said[-1] if said else 'no output'}"
        except subprocess.TimeoutExpired:
            result.broken = f"no end within {SECONDS} s"
        for line in out.read_text().splitlines():
            note(result, **json.loads(line))
        return result


def note(result: Result, test: str, outcome: str, why: str) -> None:
    """Enter one outcome; the worst of a test's phases and subtests counts."""
    worst = ("passed", "skipped", "failed")
    known = result.tests.get(test, "passed")
    result.tests[test] = max(known, outcome, key=worst.index)
    if outcome == "skipped":
        result.skipped[test] = why
    elif outcome == "failed":
        result.failed[test] = why


def refused(result: Result, test: str) -> bool:
    """Whether the suite noticed the wrong class in the very test that judges it."""
    return any(name.split("::")[-1] == test for name in result.failed)


def machine(work: Path, library: str) -> str:
    versions = [f"CPython {platform.python_version()}", f"cachetools {CACHETOOLS_VERSION}"]
    return f"{library} on {', '.join(versions)}, {platform.system()} {platform.machine()}; work in {work.name}/"


def report_suite(suite: Suite, work: Path, library: str, skips: dict[str, str], reasons: dict[str, str]) -> list[str]:
    """Run one suite on everything, print its lines, and return what is wrong with them."""
    wrong = []
    own = run(suite, "", work, library, {})
    print(f"{suite.selection}{f' -k {suite.keyword}' if suite.keyword else ''}")
    print(f"  {suite.own:32} {own}   (its own)")
    if own.broken or own.failed or len(own.tests) < suite.least:
        wrong.append(f"{suite.selection}: its own library does not pass it: {own} {own.broken}{list(own.failed)}")
    for subject in suite.subjects:
        result = run(suite, subject, work, library, skips)
        name = subject.replace("LIBRARY:", f"{library}.").replace("adapters:Mapping", f"{library}.")
        name = name.replace("adapters:Nested", f"{library}.")
        print(f"  {name:32} {result}")
        if result.broken:
            wrong.append(f"{suite.selection} on {name}: {result.broken}")
        elif set(result.tests) != set(own.tests):
            wrong.append(f"{suite.selection} on {name}: {len(result.tests)} tests ran, {len(own.tests)} on its own")
        wrong += [f"{suite.selection} on {name}: {test}\n{why}" for test, why in result.failed.items()]
        reasons.update({f"{suite.origin} {test.split('::')[-1]}": why for test, why in result.skipped.items()})
    control = run(suite, suite.control, work, library, skips)
    caught = refused(control, suite.refused_by)
    print(f"  {'control ' + suite.control.partition(':')[2]:32} {'refused' if caught else 'NOT REFUSED'}: {control}")
    if not caught:
        wrong.append(f"{suite.selection}: {suite.refused_by} accepts {suite.control}: {control}")
    return wrong


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/conformance"), help="where the suites are laid out")
    parser.add_argument("--library", default="hotset", help="another module whose classes stand in, e.g. cachetools")
    parser.add_argument("--only", default="", help="run the suites whose selection holds this text")
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    missing = prepare(work)
    skips = tomllib.loads((HERE / "skips.toml").read_text())

    print(machine(work, options.library))
    wrong: list[str] = []
    reasons: dict[str, str] = {}
    for suite in SUITES:
        if options.only not in suite.selection or suite.origin in missing:
            continue
        nested = suite.subjects[0].startswith("adapters:Nested")
        excused = {} if nested else skips.get(suite.origin, {})
        wrong += report_suite(suite, work, options.library, excused, reasons)

    if reasons:
        print("\nskipped, and why")
        for test, why in sorted(reasons.items()):
            print(f"  {test}: {why}")
    for origin, why in missing.items():
        print(f"\nnot run: {origin}: {why}")
        if os.environ.get("CI") == "true" or origin == CACHETOOLS:
            wrong.append(f"{origin} was not run")
    if wrong:
        print("\nwrong")
        for line in wrong:
            print(f"- {line}")
    print(f"\nconformance: {'FAILED' if wrong else 'ok'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
