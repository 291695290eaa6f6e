"""Whoever changes a key while it is on its way: memory must not get what was read before."""

import random
import threading
import time

import pytest
from tiered.drivers import (
    PATIENCE,
    Origin,
    loop_thread,
    namespace,
    opened,
    own_proxy,
    own_server,
    redis_tier,
    runner,
    shared_server,
)
from tiered.warming import Held, acquainted, ran, remembered, served_alone, store, two

from hotset import MemoryTier
from hotset.errors import TierError
from hotset.tiered import WriteBehind
from hotset.warming import CacheWarmer, from_keys, from_tier

__all__ = ["loop_thread", "opened", "own_proxy", "own_server", "ran", "runner", "shared_server", "store", "two"]


@pytest.fixture(params=["found one by one", "opened together"])
def held(request, shared_server, two):
    """Make a cache of a level whose answers can be held back."""

    def make(name, **options):
        tier = Held(shared_server.url)
        cache = two(name, tier=tier, **options)
        if request.param == "opened together":
            acquainted(cache)
        return cache, tier

    return make


def test_invalidated_in_this_process_while_it_was_read(held, store, ran):
    cache, tier = held(store({"k": "old", "k0": 1}), load=Origin())
    tier.done = lambda names: cache.invalidate("k")
    assert ran(CacheWarmer(cache).add("a", from_tier())).success
    tier.done = None
    assert remembered(cache, ["k", "k0"]) == ["k0"]
    assert cache.get("k") == "of k"


def test_written_in_this_process_while_it_was_read(held, store, ran):
    cache, tier = held(store({"k": "old", "k0": 0}))
    tier.done = lambda names: cache.set("k", "new")
    ran(CacheWarmer(cache).add("a", from_keys(["k", "k0"])))
    tier.done = None
    assert cache.get("k") == "new"


def test_a_tag_invalidated_while_it_was_read(held, store, ran):
    cache, tier = held(store({"k": "old"}, tags=["red"]))
    tier.done = lambda names: cache.invalidate(tags=["red"])
    ran(CacheWarmer(cache).add("a", from_tier()))
    tier.done = None
    assert cache.get("k") is None


def test_cleared_while_it_was_read(held, store, ran):
    cache, tier = held(store({"k": "old", "k0": 0}))
    tier.done = lambda names: cache.clear()
    ran(CacheWarmer(cache).add("a", from_tier()))
    tier.done = None
    assert cache.get("k") is None


def test_written_by_another_process_while_it_was_read(held, two, store, ran):
    name = store({"k": "old", "k0": 0})
    (cache, tier), other = held(name), two(name)
    told = threading.Event()
    changed = cache._logic.changed

    def hears(names):
        names = list(names)
        changed(names)
        if "k" in names:
            told.set()

    cache._logic.changed = hears

    def write(names):
        tier.done = None
        other.set("k", "new")
        assert told.wait(PATIENCE)

    tier.done = write
    assert ran(CacheWarmer(cache).add("a", from_tier())).success
    # What was read before is refused, and what was read after that is not.
    assert cache._logic.memory.store.peek("k").value == "new"
    assert cache.get("k") == "new"


def test_what_others_have_only_brushed_comes_all_the_same(held, store, ran):
    """Names share fences: a load of other keys may break those of what is on its way."""
    values = {f"k{number}": number for number in range(100)}
    cache, tier = held(store(values))
    asked = []

    def brush(names):
        asked.append(len(names))
        if len(asked) < 3:
            cache._logic.memory.claim(names[: len(names) // 2])

    tier.done = brush
    report = ran(CacheWarmer(cache).add("a", from_tier()))
    tier.done = None
    assert report["a"].items == 100
    assert asked[0] == 100 > asked[1] >= 50 > asked[2] >= 25
    assert served_alone(cache, values) == values


def test_what_is_refused_again_and_again_is_left_to_the_levels(held, store, ran):
    cache, tier = held(store({"k": 1, "k0": 0}))
    asked = []

    def brush(names):
        asked.append(names)
        cache._logic.memory.claim(names)

    tier.done = brush
    report = ran(CacheWarmer(cache).add("a", from_tier()))
    tier.done = None
    assert len(asked) == 3
    assert report["a"].items == 2
    assert remembered(cache, ["k", "k0"]) == []
    assert cache.get("k") == 1


def test_nothing_old_under_fire(two, ran, seed):
    """Writers in this process, and warming over and over: what a set has returned of is what is read."""
    name = namespace()
    cache = two(name, load=None)
    keys = [f"k{number}" for number in range(50)]
    written = dict.fromkeys(keys, 0)
    cache.set_many(written)
    stale, over = [], threading.Event()

    def write(mine, rng):
        while not over.is_set():
            key = rng.choice(mine)
            value = written[key] + 1
            if rng.random() < 0.3:
                cache.invalidate(key)
            cache.set(key, value)
            written[key] = value
            if rng.random() < 0.5:
                cache._logic.memory.store.pop(key, None)  # so that there is something to warm
            found = cache.get(key)
            if found is not None and found < value:
                stale.append((key, value, found))

    rng = random.Random(seed)
    threads = [threading.Thread(target=write, args=(keys[n::3], random.Random(rng.random()))) for n in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 1.5
    warmed = 0
    try:
        while time.monotonic() < deadline:
            warmer = CacheWarmer(cache, batch=7).add("tier", from_tier()).add("keys", from_keys(keys))
            warmed += ran(warmer).items
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert warmed > 50
    assert sum(written.values()) > 50
    assert stale == []


# A level between: the lower one has 100 values, the upper one nothing


@pytest.fixture
def three(opened, store, shared_server, own_server):
    """Make a cache of memory, a level between and one whose answers can be held back; with what reads the levels."""

    def make(url=None, size=1000, **options):
        name = store({f"k{number}": number for number in range(100)}, ttl=100, jitter=0)
        lower = Held(shared_server.url)
        lower.name = "lower"
        levels = [redis_tier(url or own_server.url, name="upper", timeout=0.5), lower]
        cache = opened([MemoryTier(size), *levels] if size else levels, name=name, ttl=1000, **options)
        look = opened([redis_tier(own_server.url)], name=name)
        return cache, lower, look

    return make


KEYS = [f"k{number}" for number in range(100)]


@pytest.mark.parametrize("size", [1000, 10, 0])
def test_a_level_between_gets_all_with_the_life_that_is_left(three, ran, size):
    cache, _, look = three(size=size)
    report = ran(CacheWarmer(cache, batch=30).add("a", from_tier("lower", whole=True)))
    assert (report.success, report["a"].items, report["a"].failed) == (True, 100, 0)
    assert look.get_many(KEYS) == {f"k{number}": number for number in range(100)}
    assert all(50 < look.explain(key).levels[-1].life <= 100 for key in KEYS[:5])
    if size == 1000:
        assert served_alone(cache, KEYS[:5]) == {f"k{number}": number for number in range(5)}


@pytest.mark.parametrize("change", ["invalidate", "set", "clear"])
@pytest.mark.parametrize("size", [1000, 0])
def test_changed_while_the_lower_level_is_read(three, ran, change, size):
    """Neither memory nor the level between may have it: they were not asked to take it then."""
    cache, lower, look = three(size=size)

    def interfere(names):
        lower.done = None
        if change == "invalidate":
            cache.invalidate("k7")
        elif change == "set":
            cache.set("k7", "new")
        else:
            cache.clear()

    lower.done = interfere
    report = ran(CacheWarmer(cache).add("a", from_tier("lower")))
    assert report.success
    if change != "clear":
        assert report["a"].items == {"invalidate": 99, "set": 100}[change]
    wanted = {"invalidate": None, "set": "new", "clear": None}[change]
    assert look.get("k7") == wanted
    assert cache.get("k7") == wanted
    assert look.get("k8") == (None if change == "clear" else 8)


def test_changed_by_another_process_while_the_lower_level_is_read(three, opened, own_server, shared_server, ran):
    cache, lower, look = three()
    levels = [redis_tier(own_server.url), redis_tier(shared_server.url, name="lower")]
    other = opened(levels, name=cache.name)

    def interfere(names):
        lower.done = None
        other.invalidate("k7")

    lower.done = interfere
    assert ran(CacheWarmer(cache).add("a", from_tier("lower"))).success
    assert (look.get("k7"), cache.get("k7"), cache.get("k8")) == (None, None, 8)


def test_a_level_between_is_believed_and_keeps_what_it_has(three, ran):
    cache, _, look = three()
    look.set("k7", "newer")
    assert ran(CacheWarmer(cache).add("a", from_tier("lower"))).success
    assert (look.get("k7"), cache.get("k7"), look.get("k8")) == ("newer", "newer", 8)


def test_a_level_between_that_is_away_is_told_and_memory_is_warm(three, own_proxy, ran):
    cache, _, look = three(own_proxy.url)
    own_proxy.refuse()
    own_proxy.cut()
    report = ran(CacheWarmer(cache).add("a", from_tier("lower")))
    assert (report["a"].items, report["a"].failed) == (0, 100)
    assert isinstance(report["a"].error, TierError)
    assert remembered(cache, KEYS) == KEYS
    assert look.get_many(KEYS) == {}


def test_a_write_behind_that_is_on_its_way_is_not_covered_by_what_levels_have(three, ran, tmp_path):
    stop = threading.Event()

    def save_many(items):
        assert stop.wait(PATIENCE)

    try:
        cache, lower, look = three(save_many=save_many, write="behind", behind=WriteBehind(tmp_path / "journal"))
        cache.set("k7", "new")
        look.invalidate("k7")
        lower.remove(["k7"])
        lower.write([("k7", lower.read(["k8"]).found[0].entry)])  # a level that has not heard of it
        time.sleep(0.2)  # memory has been told
        cache._logic.memory.store.clear()
        assert ran(CacheWarmer(cache).add("a", from_tier("lower"))).success
        assert cache.get("k7") == "new"
    finally:
        stop.set()
