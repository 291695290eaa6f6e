"""The suites of other projects pass on Hotset's classes, and refuse a wrong one.

Runs what `make conformance` runs; it downloads from the package index, so it is asked for by `pytest -m network`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.network


def test_suites_written_for_other_libraries_pass(tmp_path):
    script = Path(__file__).with_name("run.py")
    done = subprocess.run(
        [sys.executable, str(script), "--work", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "control" in done.stdout
