"""Many replays at once, and sizes as people write them."""

import subprocess
import sys

import pytest

np = pytest.importorskip("numpy")

from hotset import POLICIES, replay  # noqa: E402 - what needs NumPy comes after it
from hotset.lab import Trace, belady, bound, replay_all  # noqa: E402
from hotset.lab.replays import all_policies  # noqa: E402
from hotset.lab.sizes import entries_of, sizes_of  # noqa: E402


@pytest.fixture
def trace(rng):
    draws = np.random.default_rng(rng.getrandbits(32))
    keys = (500 * draws.random(20_000) ** 3).astype(int)
    return Trace.of("made", keys, sizes=(keys % 7 + 1).astype(float))


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_every_cell_is_the_replay_of_one(trace, workers):
    policies, sizes = all_policies(), [50, 3, 400]
    told = []
    found = replay_all(trace, policies, sizes, workers=workers, advance=told.append)
    assert policies == (*POLICIES, "belady")
    assert found.sizes == (3, 50, 400)
    assert len(told) == len(found.cells) == len(policies) * 3
    for cell in found.cells:
        if cell.policy != "belady":
            assert cell.hits == replay(cell.policy, cell.size, trace.keys).hits
        else:
            assert cell.hits == belady(Trace.of("x", trace.keys), cell.size).hits
        assert cell.hit_ratio == cell.hits / 20_000
        assert cell.byte_hit_ratio is None
    assert found.best(50).hits == max(cell.hits for cell in found.cells if cell.size == 50 and cell.policy != "belady")


def test_entries_can_be_counted_by_their_bytes(trace):
    found = replay_all(trace, all_policies(weigh=True), [100], weigh=True)
    for cell in found.cells:
        if cell.policy in POLICIES:
            expected = replay(cell.policy, 100, trace.keys, trace.sizes)
        else:
            expected = {"belady": belady, "bound": bound}[cell.policy](trace, 100)
        assert (cell.hits, cell.byte_hit_ratio) == (expected.hits, expected.byte_hit_ratio)
        assert cell.hits <= found.of("bound")[0].hits


def test_what_cannot_be_replayed_is_refused(trace):
    with pytest.raises(ValueError, match="unknown policy 'best'"):
        replay_all(trace, ["lru", "best"], [1])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        replay_all(trace, ["lru"], [0])
    with pytest.raises(ValueError, match="no sizes to weigh by"):
        replay_all(Trace.of("x", np.arange(3)), ["lru"], [1], weigh=True)


def test_a_size_above_the_distinct_keys_holds_everything(trace):
    cells = replay_all(trace, all_policies(), [10_000]).cells
    assert {cell.hits for cell in cells} == {len(trace) - trace.distinct}


@pytest.mark.parametrize(
    ("text", "weigh", "expected"),
    [
        *[("10%", False, 50), ("0.001%", False, 1), ("1000", False, 1000), ("1.5k", False, 1500), ("2Ki", False, 2048)],
        *[("50%", True, 1000), ("1MB", True, 10**6), ("1 GiB", True, 2**30), ("7b", True, 7), (".5m", True, 500_000)],
        *[(text, False, None) for text in ("0", "0%", "-1", "", "5 kg", "1_0", "1MB", "nan", "inf", "%")],
    ],
)
def test_sizes_as_people_write_them(text, weigh, expected):
    trace = Trace.of("x", np.arange(500), sizes=np.full(500, 4.0))
    if expected is None:
        with pytest.raises(ValueError, match=r"size|bytes"):
            entries_of(text, trace, weigh=weigh)
    else:
        assert entries_of(text, trace, weigh=weigh) == expected


def test_without_numpy_the_extra_is_named():
    script = "import sys; sys.modules['numpy'] = None; import hotset.lab"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert 'ImportError: hotset.lab needs numpy; install with: pip install "hotset[lab]"' in done.stderr


def test_sizes_in_a_row_come_sorted_and_once():
    trace = Trace.of("x", np.arange(500))
    assert sizes_of("20%,1%, 100,5,,", trace) == [5, 100]
    with pytest.raises(ValueError, match="separated by commas"):
        sizes_of(" ,", trace)
