"""What is left in files, and at the members of combined tiers, when a process is killed in the middle of a write."""

import os
import pathlib

import pytest
from subprocesses import run_script
from tiered.drivers import own_server, shared_server  # noqa: F401 - fixtures

SCRIPT = (pathlib.Path(__file__).resolve().parent / "members_killed.py").read_text(encoding="utf-8")
pytestmark = [pytest.mark.stress, pytest.mark.skipif(not hasattr(os, "fork"), reason="a kill of this kind is POSIX's")]


@pytest.mark.parametrize("kind", ["disk", "replicated", "sharded", "gutter"])
def test_no_level_is_older_than_the_origin(shared_server, tmp_path, kind):
    """It dies before and after every step, between any two members, too."""
    process = run_script(SCRIPT, shared_server.url, tmp_path, "holds", kind, timeout=200)
    assert "older: 0" in process.stdout, process.stdout
    steps = int(process.stdout.rpartition("steps: ")[2])
    assert steps >= (20 if kind == "disk" else 30)


@pytest.mark.filterwarnings("ignore:.*hold.*:RuntimeWarning")
@pytest.mark.parametrize("kind", ["disk", "replicated"])
def test_without_holds_it_would(shared_server, tmp_path, kind):
    """Or the test above proves nothing."""
    process = run_script(SCRIPT, shared_server.url, tmp_path, "", kind, timeout=200)
    assert "older: 0" not in process.stdout
