"""`hotset bench` from end to end at tiny sizes: no figure is judged, only that it is there."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import hotset
from hotset.cli import main

pytest.importorskip("matplotlib")
pytest.importorskip("rich")

TINY = ["bench", "--quick", "--memory-entries", "0", "--rivals", "textbook-lru,textbook-lfu,ordereddict"]
PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments):
    return main([*TINY, *map(str, arguments)])


def child(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """One whole run, memory included, in a process of its own as a user would start it."""
    folder = tmp_path_factory.mktemp("bench")
    arguments = [*TINY, "--requests", "3000", "--memory-entries", "2000", "--json", "figures.json"]
    done = subprocess.run(
        [sys.executable, "-m", "hotset", *arguments, "--policies", "lru,lfu,arc,tinylfu"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done, folder


def test_a_run_succeeds_and_shows_progress(outcome):
    done, _ = outcome
    assert done.returncode == 0, done.stderr
    assert "hit-ratio curve: lru" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_names_machine_versions_and_every_contestant(outcome):
    done, _ = outcome
    for part in (
        "Machine",
        "cores",
        "Versions",
        f"CPython {sys.version.split()[0]}",
        f"hotset {hotset.__version__}",
    ):
        assert part in done.stdout
    for name in (
        "dict",
        "hotset LRU",
        "hotset LFU",
        "hotset ARC",
        "hotset TinyLFU",
        "OrderedDict LRU",
        "textbook LRU",
        "textbook LFU",
    ):
        assert any(line.startswith(name + " ") for line in done.stdout.splitlines()), name


def test_the_picture_is_written_where_the_user_stands(outcome):
    _, folder = outcome
    content = (folder / "hotset-bench.png").read_bytes()
    assert content.startswith(PNG)
    assert len(content) > 20_000


def test_json_has_every_figure(outcome):
    _, folder = outcome
    found = json.loads((folder / "figures.json").read_text())
    assert found["workload"]["requests"] == 3000
    assert found["machine"]["cores"] == str(os.cpu_count())
    lines = {line["name"]: line for line in found["contestants"]}
    assert lines["dict"]["hit_vs_dict"] == 1.0
    for name in ("hotset LRU", "hotset ARC", "textbook LFU"):
        assert lines[name]["hit"]["median_ns"] > 0
        assert lines[name]["read_through"]["median_ns"] > 0
        assert lines[name]["memory"]["entries"] == 2000
    assert set(found["curves"]["hit_ratios"]) == {"lru", "lfu", "arc", "tinylfu"}


def test_driven_caches_and_replay_agree_on_the_hit_ratio(outcome):
    _, folder = outcome
    found = json.loads((folder / "figures.json").read_text())
    at = found["curves"]["capacities"].index(found["capacity"])
    ratios = {line["name"]: line["hit_ratio"] for line in found["contestants"]}
    curves = found["curves"]["hit_ratios"]
    for name, policy in (
        ("hotset LRU", "lru"),
        ("hotset LFU", "lfu"),
        ("hotset ARC", "arc"),
        ("textbook LRU", "lru"),
        ("OrderedDict LRU", "lru"),
        ("textbook LFU", "lfu"),
    ):
        assert ratios[name] == pytest.approx(curves[policy][at], abs=1e-12), name


def test_the_same_seed_makes_the_same_workload(tmp_path, capsys):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        code = run("--requests", 1000, "--seed", seed, "--no-picture", "--policies", "lru", "--json", tmp_path / name)
        assert code == 0
    a, b, c = (json.loads((tmp_path / name).read_text())["curves"] for name in "abc")
    assert a == b
    assert a != c


def trace_files(folder):
    keys = np.array([5, 6, 5, 7, 5, 6, 8, 5] * 30, dtype=np.uint32)
    np.savez_compressed(folder / "archive.npz", keys=keys, sizes=keys)
    np.save(folder / "array.npy", keys)
    (folder / "text.txt").write_text("".join(f"user {key}\n" for key in keys))
    np.save(folder / "mislabelled.npz.npy", keys)
    (folder / "mislabelled.npz.npy").rename(folder / "mislabelled.npz")
    (folder / "windows.csv").write_bytes("".join(f"k{key}\r\n" for key in keys).encode())
    return keys


@pytest.mark.parametrize("name", ["archive.npz", "mislabelled.npz", "array.npy", "text.txt", "windows.csv"])
def test_a_trace_file_is_replayed(tmp_path, capsys, name):
    keys = trace_files(tmp_path)
    code = run(
        "--trace",
        tmp_path / name,
        "--capacity",
        2,
        "--policies",
        "lru,fifo",
        "--no-picture",
        "--json",
        tmp_path / "out.json",
    )
    assert code == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["workload"] == {"name": name.partition(".")[0], "requests": 240, "distinct": 4}
    ratios = {line["name"]: line["hit_ratio"] for line in found["contestants"]}
    for label, policy in (("hotset LRU", "lru"), ("hotset FIFO", "fifo"), ("textbook LRU", "lru")):
        expected = hotset.replay(policy, 2, keys)
        assert ratios[label] == pytest.approx(expected.hits / expected.requests), label


def test_a_long_trace_is_cut_and_says_so(tmp_path, capsys):
    trace_files(tmp_path)
    assert run("--trace", tmp_path / "array.npy", "--requests", 100, "--no-picture", "--policies", "lru") == 0
    captured = capsys.readouterr()
    assert "the first 100 of 240 requests" in captured.err
    assert "array: 100 requests" in captured.out


def bad_traces(folder):
    np.savez(folder / "other.npz", sizes=np.arange(5))
    np.savez(folder / "empty.npz", keys=np.array([], dtype=np.int64))
    np.savez(folder / "floats.npz", keys=np.array([0.5, 1.5]))
    np.savez(folder / "square.npz", keys=np.zeros((3, 3), dtype=np.int64))
    np.save(folder / "objects.npy", np.array([object()], dtype=object), allow_pickle=True)
    (folder / "broken.npz").write_bytes(b"PK\x03\x04 this is no archive")
    (folder / "empty.npy").write_bytes(b"")
    good = (folder / "empty.npz").read_bytes()
    (folder / "cut.npz").write_bytes(good[: len(good) // 2])
    (folder / "junk.npy").write_bytes(b"no array at all" * 9)
    (folder / "blank.txt").write_text("\n  \n")
    (folder / "binary.dat").write_bytes(bytes(range(256)))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent.npz", "does not exist"),
        ("absent.txt", "does not exist"),
        ("", "is a folder"),
        ("other.npz", "no array named 'keys' (it has sizes)"),
        ("empty.npz", "has no requests"),
        ("floats.npz", "must be integers or text, not float64"),
        ("square.npz", "one-dimensional"),
        ("objects.npy", "cannot be read"),
        ("broken.npz", "cannot be read"),
        ("empty.npy", "cannot be read"),
        ("cut.npz", "cannot be read"),
        ("junk.npy", "cannot be read"),
        ("blank.txt", "has no requests"),
        ("binary.dat", "nor UTF-8 text"),
    ],
)
def test_a_bad_trace_file_is_a_clear_error(tmp_path, capsys, name, reason):
    bad_traces(tmp_path)
    assert run("--trace", tmp_path / name, "--no-picture") == 2
    message = capsys.readouterr().err
    assert reason in message
    assert str(tmp_path / name) in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--policies", "lru,mru"], "unknown policy 'mru'"),
        (["--rivals", "memcached"], "unknown rival 'memcached'"),
        (["--requests", "5"], "at least 100"),
        (["--output", "."], "is a folder"),
        (["--output", "no/such/folder/x.png"], "does not exist"),
        (["--json", "no/such/folder/x.json"], "does not exist"),
        (["--output", "picture.txt"], "a picture cannot be .txt"),
    ],
)
def test_wrong_values_are_found_before_anything_runs(tmp_path, monkeypatch, capsys, arguments, reason):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *arguments]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--capacity", "0"], ["--capacity", "x"], ["--requests", "-1"], ["--rivals", ","]]
)
def test_wrong_usage_exits_with_two(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(["bench", *arguments])
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_no_command_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"hotset {hotset.__version__}\n"


BLOCKED = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from hotset.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("blocked", ["numpy", "rich", "matplotlib", "numpy,rich,matplotlib"])
def test_a_missing_extra_is_named_with_the_remedy(tmp_path, blocked):
    done = child(BLOCKED, blocked, *TINY, cwd=tmp_path)
    assert done.returncode == 2
    assert 'pip install "hotset[bench]"' in done.stderr
    for name in blocked.split(","):
        assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_picture_matplotlib_is_not_needed(tmp_path):
    done = child(BLOCKED, "matplotlib", *TINY, "--no-picture", "--requests", "500", "--policies", "lru", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_rival_that_is_not_installed_is_named_and_left_out(tmp_path):
    arguments = ["bench", "--quick", "--memory-entries", "0", "--requests", "500", "--no-picture"]
    done = child(BLOCKED, "cachetools,lru,theine", *arguments, "--rivals", "cachetools,lru-dict,theine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    left_out = next(line for line in done.stdout.splitlines() if line.startswith("Left out"))
    for name in ("cachetools", "lru-dict", "theine"):
        assert f"{name} (not installed)" in left_out
    assert not any(line.startswith("cachetools") for line in done.stdout.splitlines())


def test_rivals_none_leaves_dict_and_hotset(tmp_path, capsys):
    code = main(
        [
            "bench",
            "--quick",
            "--memory-entries",
            "0",
            "--requests",
            "500",
            "--no-picture",
            "--rivals",
            "none",
            "--policies",
            "lru",
            "--json",
            str(tmp_path / "out.json"),
        ]
    )
    assert code == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert [line["name"] for line in found["contestants"]] == ["dict", "hotset LRU"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for a child there")
@pytest.mark.parametrize("memory", ["0", "50000"])
def test_an_interrupt_exits_with_130_and_no_traceback(tmp_path, memory):
    arguments = [
        "bench",
        "--requests",
        "100000",
        "--memory-entries",
        memory,
        "--rivals",
        "none",
        "--no-picture",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "hotset", *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        first = process.stderr.readline()  # progress has begun
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert "%" in first
    assert process.returncode == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest
