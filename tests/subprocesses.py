"""Run a script in an interpreter of its own, so that a crash, a hang or a leak fails one test only."""

import os
import pathlib
import subprocess
import sys
import textwrap

TESTS = pathlib.Path(__file__).resolve().parent


def run_script(source, *arguments, timeout=120, check=True, environment=None):
    """Run `source`; return the finished process, failing with its whole output when it exits with an error."""
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    process = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(source), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **(environment or {})},
    )
    if check:
        assert process.returncode == 0, (
            f"exit status {process.returncode}\n--- stdout\n{process.stdout}\n--- stderr\n{process.stderr}"
        )
    return process
