"""replay: arguments, result, sizes; that it counts what the caches count is tested in policies/."""

import math

import numpy as np
import pytest

import hotset

NAMES = tuple(hotset.POLICIES)
KEYS = np.array([1, 2, 3, 1, 2, 3, 9, 9, 9, 1], dtype=np.uint32)


@pytest.fixture(params=NAMES)
def name(request):
    """Every policy by name."""
    return request.param


def test_result(name):
    result = hotset.replay(name, 10, KEYS)
    assert (result.requests, result.hits, result.misses) == (10, 6, 4)
    assert result.hit_ratio == 0.6
    assert result.byte_hit_ratio == 0.6
    assert isinstance(result, hotset.ReplayResult)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.uint64, np.int64, np.uint16, np.int8, np.uint8])
def test_integer_types(name, dtype):
    assert hotset.replay(name, 2, KEYS.astype(dtype)).requests == 10
    assert hotset.replay(name, 10, KEYS.astype(dtype)).hits == 6


def test_same_result_for_every_integer_type(rng):
    keys = np.array([int(rng.paretovariate(0.7)) % 100 for _ in range(3000)])
    for name in NAMES:
        if name != "rr":
            hits = {
                hotset.replay(name, 10, keys.astype(kind)).hits for kind in (np.uint8, np.int32, np.uint32, np.int64)
            }
            assert len(hits) == 1, name


def test_full_range_of_keys(name):
    edges = [0, 1, -1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, -(2**63)]
    keys = np.array(edges * 2, dtype=np.int64)
    assert hotset.replay(name, len(edges), keys).hits == len(edges)
    keys = np.array([0, 2**64 - 1, 2**63] * 2, dtype=np.uint64)
    assert hotset.replay(name, 3, keys).hits == 3


def test_no_requests(name):
    result = hotset.replay(name, 5, KEYS[:0])
    assert (result.requests, result.hits, result.misses, result.hit_ratio) == (0, 0, 0, 0.0)


def test_capacity_zero(name):
    result = hotset.replay(name, 0, KEYS)
    assert (result.hits, result.misses) == (0, 10)


@pytest.mark.parametrize("maxsize", [math.inf, 2**62, 10.5])
def test_large_capacity(name, maxsize):
    assert hotset.replay(name, maxsize, KEYS).hits == 6


def test_strides_and_read_only_arrays(name):
    wide = np.repeat(KEYS, 2)
    assert hotset.replay(name, 10, wide[::2]).hits == 6
    frozen = KEYS.copy()
    frozen.flags.writeable = False
    assert hotset.replay(name, 10, frozen).hits == 6
    assert hotset.replay(name, 10, KEYS[::-1]).hits == 6


def test_byte_hit_ratio(name):
    keys = np.array([1, 2, 1, 2, 1], dtype=np.uint32)
    sizes = np.array([10, 30, 10, 30, 10], dtype=np.uint32)
    result = hotset.replay(name, 100, keys, sizes)
    assert (result.hits, result.misses) == (3, 2)
    assert result.byte_hit_ratio == 50 / 90
    assert hotset.replay(name, 100, keys, sizes=sizes) == result


def test_what_is_larger_than_the_cache_is_not_stored(name):
    keys = np.array([1, 2, 1, 2], dtype=np.uint32)
    sizes = np.array([10, 1000, 10, 1000], dtype=np.uint32)
    result = hotset.replay(name, 100, keys, sizes)
    assert (result.hits, result.misses) == (1, 3)


@pytest.mark.parametrize("policy", ["LRU", "nothing", "", b"lru", 5, None], ids=repr)
def test_unknown_policy(policy):
    with pytest.raises((ValueError, TypeError)) as caught:
        hotset.replay(policy, 10, KEYS)
    assert repr(policy) in str(caught.value) or type(policy).__name__ in str(caught.value)
    if isinstance(policy, str):
        assert type(caught.value) is ValueError
        assert "lru" in str(caught.value)  # the message names the choices


@pytest.mark.parametrize("maxsize", [-1, math.nan])
def test_wrong_maxsize(name, maxsize):
    with pytest.raises(ValueError, match=str(maxsize)):
        hotset.replay(name, maxsize, KEYS)


@pytest.mark.parametrize(
    "keys",
    [5, None, "abc", KEYS.astype(float), KEYS.astype(object), KEYS.reshape(2, 5), np.array(["a"])],
    ids=["int", "None", "str", "float", "object", "2-d", "strings"],
)
def test_wrong_keys(name, keys):
    with pytest.raises((TypeError, ValueError)):
        hotset.replay(name, 10, keys)


@pytest.mark.parametrize("sizes", [KEYS[:-1], np.array([-1] * 10), KEYS.reshape(2, 5), ["x"] * 10, 5])
def test_wrong_sizes(name, sizes):
    with pytest.raises((TypeError, ValueError)):
        hotset.replay(name, 10, KEYS, sizes)


def test_lists_of_integers_are_taken_or_refused_clearly(name):
    """An array is documented; a list must not be misread."""
    try:
        result = hotset.replay(name, 10, KEYS.tolist())
    except TypeError:
        return
    assert result.hits == 6


def test_the_array_is_not_changed(name):
    keys = KEYS.copy()
    hotset.replay(name, 2, keys)
    assert (keys == KEYS).all()


def test_deterministic(name, rng):
    """The same input gives the same result; RR is seeded from the random module."""
    import random

    keys = np.array([rng.randrange(50) for _ in range(2000)], dtype=np.uint32)
    results = []
    for _ in range(2):
        random.seed(5)
        results.append(hotset.replay(name, 20, keys))
    assert results[0] == results[1]
