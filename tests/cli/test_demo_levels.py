"""`hotset demo --levels 5`: its replica and its servers one by one, and the whole of it for a few seconds."""

import contextlib
import json
import os
import pathlib
import shlex
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from cli.demo_runs import PNG, left_behind, start

from hotset.demo import origin as origins
from hotset.demo.places import ClusterPlace, ValkeyPlace
from hotset.demo.replica import Replica
from hotset.testing.servers import ServerError, valkey_binary
from hotset.tiered import TieredCache

USERS = 200


@pytest.fixture
def origin(tmp_path):
    origins.create(tmp_path / "users.sqlite3", USERS, seed=1)
    with contextlib.closing(origins.Origin(tmp_path / "users.sqlite3")) as origin:
        yield origin


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """One whole run with five levels, in a process of its own."""
    folder = tmp_path_factory.mktemp("five")
    arguments = ["--levels", 5, "--cold", "--seconds", 5, "--users", 6000, "--l1", 60, "--json", "out.json"]
    with start(folder, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err, folder


def test_five_levels_stand_in_for_each_other(five):
    code, out, err, folder = five
    assert code == 0, out + err
    found = json.loads((folder / "out.json").read_text())
    assert [level["name"] for level in found["levels"]] == ["memory", "valkey", "cluster", "replica", "origin"]
    assert found["all"]["outdated"] == found["all"]["failed"] == 0
    assert found["all"]["reads"] > 3_000
    assert all(share > 0 for share in found["all"]["shares"]), "each level has answered something"
    before, outage = found["phases"]["before"], found["phases"]["outage"]
    assert outage["shares"][1] < 0.2 * before["shares"][1]
    assert outage["shares"][2] > before["shares"][2], "the next level has taken over"
    assert outage["loads"] / outage["reads"] < 0.2, "and not the origin"
    assert "L3 a Valkey Cluster of 3" in out
    for part in ("answered by L3 (cluster)", "answered by L4 (replica)", "L4 a replica 0.5 s behind"):
        assert part in " ".join(out.split())
    assert (folder / "hotset-demo.png").read_bytes().startswith(PNG)


@pytest.mark.skipif(not pathlib.Path("/proc/self").is_dir(), reason="looks for processes in /proc")
def test_a_run_with_five_levels_leaves_nothing_behind(five):
    assert left_behind(five[3]) == []


@pytest.mark.skipif(not pathlib.Path("/proc/self").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("wait_for", ["starting a Valkey server and", "L2 is dead"])
def test_an_interrupt_leaves_no_node_behind(tmp_path, wait_for):
    arguments = ["--levels", 5, "--cold", "--seconds", 3, "--no-picture"]
    with start(tmp_path, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for line in process.stderr:
            if wait_for in line:
                break
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert time.monotonic() - began < 15
    assert "Traceback" not in err + out
    assert left_behind(tmp_path) == []


@pytest.mark.skipif(not pathlib.Path("/proc/self").is_dir(), reason="looks for processes in /proc")
def test_a_cluster_that_does_not_come_up_is_a_clear_error(tmp_path):
    """The servers of this run know nothing of Clusters."""
    deaf = tmp_path / "deaf-server"
    deaf.write_text(f'#!/bin/sh\nexec {shlex.quote(valkey_binary())} "$@" --cluster-enabled no\n')
    deaf.chmod(0o755)
    script = "import hotset.testing.servers as servers\n"
    script += f"servers.valkey_binary = lambda: {str(deaf)!r}\n"
    script += "from hotset.cli import main\n"
    script += 'raise SystemExit(main(["demo", "--levels", "5", "--users", "200", "--no-picture"]))'
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the Cluster did not start: " in done.stderr
    assert "cluster support disabled" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_behind(tmp_path) == []


def test_a_cluster_that_takes_too_long_is_given_up():
    with contextlib.closing(ClusterPlace("slow", most_bytes=1_000_000, start_timeout=0.5)) as place:
        began = time.monotonic()
        with pytest.raises(ServerError, match="the Cluster did not start: not in time"):
            place.start()
        assert time.monotonic() - began < 10
        assert not any(server.running for server in place._cluster.servers)


def test_the_replica_follows_and_tells_by_how_much_it_is_behind(origin, tmp_path):
    with contextlib.closing(Replica(origin.path, tmp_path / "copy", delay=0.3, latency=0.0)) as replica:
        replica.start()
        assert [row["id"] for row in replica.load_many([3, 5, USERS])] == [3, 5]
        assert replica.load(USERS) is None
        written = dict.fromkeys(range(5), 1)
        history = []  # of writes that have returned: moment, user, version
        behind = 0
        end = time.monotonic() + 2.0
        number = 0
        while time.monotonic() < end:
            number += 1
            user = number % 5
            written[user] = origin.save(user)["version"]
            history.append((time.monotonic(), user, written[user]))
            asked = time.monotonic() - replica.lag()
            seen = replica.load(user)["version"]
            behind += seen < written[user]
            due = max((version for moment, one, version in history if one == user and moment < asked), default=1)
            assert seen >= due, "what was written before the moment that it tells of is there"
            time.sleep(0.01)
        assert behind > 10, "it is a copy that lags"
        last = time.monotonic()
        while time.monotonic() - replica.lag() < last:
            assert time.monotonic() < last + 10
            time.sleep(0.02)
        assert {user: replica.load(user)["version"] for user in range(5)} == written
        assert replica.failure is None


def test_a_replica_that_cannot_follow_tells_so(origin, tmp_path):
    replica = Replica(origin.path, tmp_path / "copy", delay=0.0, latency=0.0)
    with contextlib.closing(replica):
        replica.start()
        with contextlib.closing(sqlite3.connect(origin.path)) as connection:
            connection.execute("DROP TABLE changes")
        end = time.monotonic() + 10
        while replica.failure is None:
            assert time.monotonic() < end
            time.sleep(0.02)
        lag = replica.lag()
        time.sleep(0.1)
        assert replica.lag() >= lag + 0.1


def test_a_replica_is_not_made_over_a_file_of_others(origin, tmp_path):
    (tmp_path / "copy").write_text("precious")
    with contextlib.closing(Replica(origin.path, tmp_path / "copy", delay=0.0, latency=0.0)) as replica:
        with pytest.raises(origins.OriginError, match="was not made by this command"):
            replica.start()
    assert (tmp_path / "copy").read_text() == "precious"


def test_a_place_keeps_to_its_memory(tmp_path):
    with contextlib.closing(ValkeyPlace("small", most_bytes=1_000_000)) as place:
        place.start()
        with TieredCache("test", [place.tier()]) as cache:
            cache.set_many(dict.fromkeys(range(3000), b"x" * 1000))
            there = len(cache.get_many(range(3_000)))
            assert 100 < there < 2_000
            place.kill()
            place.restart()
            place.empty()
        with TieredCache("test", [place.tier()]) as cache:
            cache.set_many(dict.fromkeys(range(3000), b"x" * 1000))
            assert len(cache.get_many(range(3_000))) < 2_000, "also when it is back"


def test_a_place_of_several_keeps_to_its_memory():
    with contextlib.closing(ClusterPlace("small", most_bytes=1_500_000)) as place:
        place.start()
        for _ in range(2):
            with TieredCache("test", [place.tier()]) as cache:
                cache.set_many(dict.fromkeys(range(3000), b"x" * 1000))
                assert 100 < len(cache.get_many(range(3_000))) < 2_000
            place.empty()
            with TieredCache("test", [place.tier()]) as cache:
                assert cache.get_many(range(3_000)) == {}
        servers = place._cluster.servers
        assert len(servers) == 3
    assert not any(server.running for server in servers)
