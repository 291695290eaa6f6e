"""What is left when a process is killed in the middle of a write: by SIGKILL, with real files and servers."""

import collections
import os
import pathlib
import sqlite3
import subprocess
import sys

import pytest
from tiered.drivers import own_server, shared_server  # noqa: F401 - fixtures

HERE = pathlib.Path(__file__).resolve().parent
LANES = 4
RUNS = int(os.environ.get("HOTSET_KILLS", "200")) // LANES
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a kill of this kind is POSIX's")


@pytest.fixture(scope="module")
def lanes(tmp_path_factory):
    """Folders in which writers behind were killed, over and over, side by side."""
    folders = [tmp_path_factory.mktemp("lane") for _ in range(LANES)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = str(HERE / "behind_lane.py")
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", script, str(folder), str(seed), str(RUNS)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed, folder in enumerate(folders)
    ]
    try:
        for child in children:
            _, errors = child.communicate(timeout=240)
            assert child.returncode == 0, errors
    finally:
        for child in children:
            child.kill()
            child.wait()
    return folders


def acknowledged(folder):
    """Return the last value of each key that a writer knows to be acknowledged."""
    last = {}
    for line in (folder / "acknowledged").read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            key, _, value = line.partition("\t")
            last[key] = max(last.get(key, 0), int(value))
    return last


def rows(folder, query):
    database = sqlite3.connect(folder / "origin")
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


@pytest.mark.stress
def test_every_acknowledged_write_reaches_the_origin(lanes):
    total = 0
    for folder in lanes:
        there = dict(rows(folder, "SELECT key, value FROM rows"))
        for key, value in acknowledged(folder).items():
            total += 1
            if key.startswith("once"):
                assert there[key] == value
            else:
                # The last one may have been written down and not have lived to be noted.
                assert value <= there[key] <= value + 1
    print(f"{total} acknowledged writes in {LANES * RUNS} kills")
    assert total > LANES * RUNS


@pytest.mark.stress
def test_they_come_in_order_and_none_twice_in_effect(lanes):
    repeated = 0
    for folder in lanes:
        effects = collections.defaultdict(list)
        for key, value, seq in rows(folder, "SELECT key, value, seq FROM log ORDER BY rowid"):
            effects[key].append((value, seq))
        assert effects
        for key, seen in effects.items():
            assert seen == sorted(set(seen)), key
            assert len({seq for _, seq in seen}) == len(seen), key
            assert not key.startswith("once") or len(seen) == 1
        repeated += rows(folder, "SELECT sum(repeated) FROM given")[0][0]
    assert repeated, "no kill came between the origin and the journal, so that nothing was proved"


@pytest.mark.stress
def test_no_older_one_is_given_after_a_newer_one(lanes):
    """Not even to an origin that looks at no numbers."""
    for folder in lanes:
        given = collections.defaultdict(list)
        for key, seq in rows(folder, "SELECT key, seq FROM given ORDER BY rowid"):
            given[key].append(seq)
        for key, seqs in given.items():
            assert seqs == sorted(seqs), key
