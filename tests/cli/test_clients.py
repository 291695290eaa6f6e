"""The clients drive each library as it is meant: what they count is right, so what is timed is real."""

import random
import sys
import types
from collections import Counter, OrderedDict

import pytest

pytest.importorskip("numpy")

from hotset.bench import clients as registry
from hotset.bench.clients import RIVALS, isolated, lineup
from hotset.bench.clients.ordereddict_lru import OrderedDictLRU
from hotset.bench.clients.textbook_lfu import TextbookLFU
from hotset.bench.clients.textbook_lru import TextbookLRU

LINEUP = lineup()


def clients_that(condition):
    chosen = [client for client in LINEUP.clients if condition(client)]
    return pytest.mark.parametrize("client", chosen, ids=lambda client: client.name)


every_client = clients_that(lambda client: True)


def stream(length=6000, keys=400, seed=3):
    rng = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(keys)]
    return [f"key {number}" for number in rng.choices(range(keys), weights, k=length)]


def lru_misses(keys, capacity):
    held, misses = OrderedDict(), 0
    for key in keys:
        if key in held:
            held.move_to_end(key)
        else:
            misses += 1
            held[key] = True
            if len(held) > capacity:
                held.popitem(last=False)
    return misses


def fifo_misses(keys, capacity):
    held, misses = OrderedDict(), 0
    for key in keys:
        if key not in held:
            misses += 1
            held[key] = True
            if len(held) > capacity:
                held.popitem(last=False)
    return misses


def lfu_misses(keys, capacity):
    held, misses = {}, 0
    for now, key in enumerate(keys):
        if key in held:
            held[key] = (held[key][0] + 1, now)
            continue
        misses += 1
        if len(held) >= capacity:
            del held[min(held, key=held.get)]
        held[key] = (1, now)
    return misses


REFERENCES = {"lru": lru_misses, "fifo": fifo_misses, "lfu": lfu_misses}


@clients_that(lambda client: client.exact)
@pytest.mark.parametrize("capacity", [10, 100])
def test_an_exact_policy_has_the_misses_of_the_reference(client, capacity):
    keys = stream()
    expected = REFERENCES[client.policy](keys, capacity)
    assert client.replay(client.make(capacity), keys) == expected
    assert client.read_through(client.make(capacity), keys) == expected


@every_client
def test_read_through_misses_each_key_once_when_all_fit(client):
    """A loop that takes a miss for a hit never stores; one that takes a hit for a miss always does."""
    keys = [f"key {number}" for number in range(200)]
    cache = client.make(10_000)
    assert client.read_through(cache, keys) == len(keys)
    assert client.read_through(cache, keys) == 0
    assert client.replay(client.make(10_000), keys * 3) == len(keys)


@every_client
def test_fill_stores_the_key_as_its_value(client):
    keys = [f"key {number}" for number in range(50)]
    cache = client.make(10_000)
    client.fill(cache, keys)
    client.settle(cache)
    client.touch(cache, [*keys, "absent"] if not client.calls_only else keys)
    assert all(client.holds(cache, key) for key in keys)
    assert not client.holds(cache, "never stored")
    get = client.getter(cache)
    found = get(keys[7])
    assert keys[7] in (found if isinstance(found, tuple) else (found,))


@every_client
def test_single_operations_read_what_they_wrote(client):
    cache = client.make(1000)
    get, put = client.operations(cache)
    put("a", "a")
    client.settle(cache)
    assert client.holds(cache, "a")
    get("a")


@clients_that(lambda client: client.policy != "none")
def test_a_bounded_cache_evicts(client):
    cache = client.make(50)
    keys = [f"key {number}" for number in range(5000)]
    client.read_through(cache, keys)
    client.settle(cache)
    assert sum(client.holds(cache, key) for key in keys) <= 60  # some libraries round their capacity up


@pytest.mark.parametrize("memoizer", LINEUP.memoizers, ids=lambda memoizer: memoizer.name)
def test_a_memoizer_calls_once_a_key(memoizer):
    calls = Counter()

    def load(key):
        calls[key] += 1
        return key

    call = memoizer.decorate(1000)(load)
    keys = list(range(1000, 1050)) + [f"key {number}" for number in range(50)]
    assert [call(key) for key in keys * 3] == keys * 3
    assert set(calls.values()) == {1}


@pytest.mark.parametrize("baseline", [OrderedDictLRU, TextbookLRU, TextbookLFU])
def test_a_baseline_keeps_its_size_under_writes_and_deletes(baseline):
    rng = random.Random(5)
    cache, mirror = baseline(20), {}
    for number in range(5000):
        key = rng.randrange(60)
        if rng.random() < 0.2 and cache.get(key) is not None:
            del cache[key]
            del mirror[key]
        else:
            cache[key] = mirror[key] = number
        mirror = {key: value for key, value in mirror.items() if cache.get(key) == value}
        assert len(cache) == len(mirror) <= 20
    with pytest.raises(KeyError):
        del cache["absent"]


def test_names_are_unique():
    for group in (LINEUP.clients, LINEUP.memoizers):
        assert max(Counter(one.name for one in group).values()) == 1


def test_dict_and_hotset_always_take_part():
    assert {client.rival for client in lineup(()).clients} == {"dict", "hotset"}
    assert not lineup(()).missing


def test_an_unknown_rival_is_a_value_error():
    with pytest.raises(ValueError, match="unknown rival 'pylru'"):
        lineup(["pylru"])


def forget(monkeypatch, module):
    monkeypatch.delitem(sys.modules, f"{registry.__name__}.{module}", raising=False)


def test_a_rival_that_is_not_installed_is_missing(monkeypatch):
    forget(monkeypatch, "cachetools")
    monkeypatch.setitem(sys.modules, "cachetools", None)
    assert lineup(["cachetools"]).missing == {"cachetools": "not installed"}


def test_a_rival_that_does_not_import_is_missing_with_the_reason(monkeypatch):
    forget(monkeypatch, "lru_dict")
    monkeypatch.setitem(sys.modules, "lru", types.ModuleType("lru"))  # has no LRU
    missing = lineup(["lru-dict"]).missing
    assert "does not work (ImportError" in missing["lru-dict"]


def test_a_rival_that_is_too_old_is_missing_with_the_reason(monkeypatch):
    class Old:
        def __init__(self, *args, **kwargs):
            pass

        def set(self, key, value):
            pass

        def get(self, key):
            return None

    forget(monkeypatch, "moka")
    module = types.ModuleType("moka_py")
    module.Moka, module.cached = Old, None
    monkeypatch.setitem(sys.modules, "moka_py", module)
    assert "run_pending_tasks" in lineup(["moka-py"]).missing["moka-py"]


def test_every_rival_is_loaded_or_missing_with_a_reason():
    loaded = {client.rival for client in LINEUP.clients}
    assert set(RIVALS) == (loaded - {"dict", "hotset"}) | set(LINEUP.missing)


def test_an_isolated_loop_has_bytecode_of_its_own():
    def loop(call, keys=(1, 2)):
        return [call(key) for key in keys]

    copy = isolated(loop)
    assert copy is not loop
    assert copy.__code__ is not loop.__code__
    assert copy(str) == loop(str) == ["1", "2"]
