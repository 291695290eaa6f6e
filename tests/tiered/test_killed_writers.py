"""What a process leaves at the levels that is killed in the middle of a write; see writer_killed.py."""

import os
import pathlib

import pytest
from subprocesses import run_script
from tiered.drivers import own_server, shared_server  # noqa: F401 - fixtures

from hotset.testing.clusters import ValkeyCluster

SCRIPT = (pathlib.Path(__file__).resolve().parent / "writer_killed.py").read_text(encoding="utf-8")
pytestmark = [pytest.mark.stress, pytest.mark.skipif(not hasattr(os, "fork"), reason="a kill of this kind is POSIX's")]


@pytest.fixture(scope="module")
def own_cluster(shared_server):
    with ValkeyCluster() as cluster:
        yield cluster


@pytest.fixture
def url(request, kind, shared_server):
    """Where the shared levels are."""
    return (request.getfixturevalue("own_cluster") if kind == "cluster" else shared_server).url


def killed(url, folder, kind, word=""):
    """Have writers killed; in how many cases a level was older then, and of how many."""
    lines = run_script(SCRIPT, url, folder, kind, word, timeout=200).stdout.splitlines()
    older, steps = (int(line.rpartition(": ")[2]) for line in lines[-2:])
    return older, steps


@pytest.mark.parametrize(
    ("kind", "least"),
    [("servers", 40), ("cluster", 40), ("disk", 20), ("replicated", 30), ("sharded", 30), ("gutter", 30)],
)
def test_no_level_is_older_than_the_origin(url, tmp_path, kind, least):
    """It dies before and after every step, between any two members, too, while another process loads and stores."""
    older, steps = killed(url, tmp_path, kind, "holds")
    assert older == 0
    assert steps >= least


@pytest.mark.filterwarnings("ignore:.*hold.*:RuntimeWarning")
@pytest.mark.parametrize("kind", ["servers", "cluster", "disk", "replicated"])
def test_without_holds_it_would(url, tmp_path, kind):
    """Or the test above proves nothing."""
    older, _ = killed(url, tmp_path, kind)
    assert older > 0
