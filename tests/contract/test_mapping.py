"""The mapping half of the contract, on every class x capacity x weigher x lifetime."""

import collections
import collections.abc

import pytest
from caches import CLASSES, contents, one

import hotset


def fill(cache):
    """Fill to the brim with key -> -key and return the model; nothing is evicted."""
    model = {key: -key for key in range(int(cache.maxsize))}
    for key, value in model.items():
        cache[key] = value
    return model


def test_a_new_cache_is_empty(cache):
    assert len(cache) == 0
    assert not cache
    assert cache.currsize == 0
    assert list(cache) == list(cache.keys()) == list(cache.values()) == list(cache.items()) == []
    assert cache.get(1) is None
    assert 1 not in cache


def test_is_a_mutable_mapping(cache):
    assert isinstance(cache, collections.abc.MutableMapping)
    assert isinstance(cache, hotset.Cache)


def test_holds_its_capacity(cache):
    model = fill(cache)
    assert contents(cache) == model
    assert len(cache) == cache.currsize == cache.maxsize == len(model)
    for key, value in model.items():
        assert key in cache
        assert cache[key] == cache.get(key) == cache.peek(key) == value


def test_one_too_many_evicts_one(cache):
    model = fill(cache)
    new = len(model)
    cache[new] = -new
    assert len(cache) == cache.currsize == len(model)
    for key, value in contents(cache).items():
        assert value == -key
    gone = (set(model) | {new}) - set(cache)
    assert len(gone) == 1
    if type(cache) not in (hotset.TinyLFUCache, hotset.Cache):  # their admission may turn the new key away
        assert gone != {new}


def test_setitem_overwrites(cache):
    fill(cache)
    cache[0] = "new"
    assert cache[0] == "new"
    assert len(cache) == cache.currsize == cache.maxsize


def test_set_is_setitem(cache):
    assert cache.set("k", 1) is None
    cache.set("k", 2)
    assert contents(cache) == {"k": 2}


@pytest.mark.parametrize("key", ["gone", 10**30, -1, 1.5, None, (1, "a"), frozenset({1}), b"x"])
def test_missing_key(cache, key):
    fill(cache)
    before = contents(cache)
    with pytest.raises(KeyError) as caught:
        cache[key]
    assert caught.value.args == (key,)
    with pytest.raises(KeyError) as caught:
        del cache[key]
    assert caught.value.args == (key,)
    with pytest.raises(KeyError) as caught:
        cache.pop(key)
    assert caught.value.args == (key,)
    assert cache.get(key) is None
    assert cache.get(key, 5) == 5
    assert cache.get(key, default=6) == 6
    assert cache.pop(key, None) is None
    assert cache.pop(key, 7) == 7
    assert cache.pop(key, default=8) == 8
    assert cache.peek(key) is None
    assert cache.peek(key, 9) == 9
    assert cache.touch(key) is False
    assert cache.delete_many([key]) == 0
    assert cache.get_many([key]) == {}
    assert key not in cache
    assert contents(cache) == before


@pytest.mark.parametrize("key", ["text", 10**30, -1, 1.5, None, (1, "a"), frozenset({1}), b"x", True, "", ()])
def test_any_hashable_is_a_key(cache, key):
    value = object()
    cache[key] = value
    assert cache[key] is value
    assert list(cache) == [key]
    assert cache.pop(key) is value
    assert key not in cache


def test_equal_keys_are_one_key(cache):
    cache[1] = "int"
    assert cache[1.0] == cache[True] == "int"
    cache[1.0] = "float"
    assert contents(cache) == {1: "float"}
    assert type(next(iter(cache))) is int  # as dict: the first key object stays


def test_nan_is_found_by_identity(cache):
    nan = float("nan")
    cache[nan] = 1
    assert cache[nan] == 1
    assert cache.get(float("nan")) is None


@pytest.mark.parametrize("key", [[], {}, set(), bytearray()], ids=repr)
def test_unhashable_keys_raise_as_in_dict(cache, key):
    for operation in (
        lambda: cache[key],
        lambda: cache.get(key),
        lambda: cache.peek(key),
        lambda: key in cache,
        lambda: cache.pop(key, None),
        lambda: cache.touch(key),
        lambda: cache.setdefault(key, 1),
        lambda: cache.add(key, 1),
        lambda: cache.set(key, 1),
        lambda: cache.__setitem__(key, 1),
        lambda: cache.__delitem__(key),
        lambda: cache.get_many([key]),
        lambda: cache.set_many([(key, 1)]),
        lambda: cache.delete_many([key]),
        lambda: cache.get_or_load(key, str),
    ):
        with pytest.raises(TypeError, match="unhashable type"):
            operation()
    assert len(cache) == 0


def test_delete(cache):
    model = fill(cache)
    for key in list(model):
        del cache[key]
        del model[key]
        assert key not in cache
        assert len(cache) == cache.currsize == len(model)
    assert contents(cache) == {}


def test_pop_returns_the_value(cache):
    model = fill(cache)
    assert {key: cache.pop(key) for key in list(model)} == model
    assert len(cache) == 0


def test_popitem_empties(cache):
    model = fill(cache)
    assert dict(cache.popitem() for _ in range(len(model))) == model
    with pytest.raises(KeyError, match="is empty"):
        cache.popitem()


def test_setdefault(cache):
    assert cache.setdefault("k", 1) == 1
    assert cache.setdefault("k", 2) == 1
    assert contents(cache) == {"k": 1}
    del cache["k"]
    assert cache.setdefault("k") is None
    assert contents(cache) == {"k": None}


def test_none_is_a_value(cache):
    cache["k"] = None
    assert cache.get("k", 1) is None
    assert cache["k"] is None
    assert cache.setdefault("k", 1) is None
    assert cache.pop("k", 1) is None


@pytest.mark.parametrize("form", [dict, list, iter, collections.OrderedDict])
def test_update_takes_what_dict_takes(make, policy_class, form):
    cache = make(policy_class, 10)
    cache.update(form([("a", 1), ("b", 2)]))
    cache.update({"c": 3}, d=4)
    cache.update(e=5)
    cache.update(make(policy_class, 10))
    assert contents(cache) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}


def test_update_from_another_cache(make, policy_class):
    source, target = make(policy_class, 5), make(policy_class, 10)
    source.update((key, key) for key in range(5))
    target.update(source)
    assert target == source


@pytest.mark.parametrize("wrong", [5, [1], [(1, 2, 3)]], ids=repr)
def test_update_refuses_what_dict_refuses(make, policy_class, wrong):
    with pytest.raises((TypeError, ValueError)):
        make(policy_class).update(wrong)


def test_clear(cache):
    fill(cache)
    cache.clear()
    assert len(cache) == cache.currsize == 0
    assert contents(cache) == {}
    cache.clear()
    model = fill(cache)
    assert contents(cache) == model


def test_views(make, policy_class):
    cache = make(policy_class, 10)
    keys, values, items = cache.keys(), cache.values(), cache.items()
    cache.update({1: "a", 2: "b", 3: "c"})
    assert len(keys) == len(values) == len(items) == 3  # views are live
    assert sorted(keys) == [1, 2, 3]
    assert sorted(values) == ["a", "b", "c"]
    assert sorted(items) == [(1, "a"), (2, "b"), (3, "c")]
    assert 1 in keys
    assert 4 not in keys
    assert "a" in values
    assert "x" not in values
    assert (1, "a") in items
    assert (1, "x") not in items
    assert (4, "a") not in items
    assert keys & {1, 9} == {1}
    assert keys | {9} == {1, 2, 3, 9}
    assert keys - {1} == {2, 3}
    assert keys ^ {1, 9} == {2, 3, 9}
    assert keys == {1, 2, 3}
    assert keys.isdisjoint({7})
    assert items & {(1, "a"), (1, "x")} == {(1, "a")}
    assert isinstance(keys, collections.abc.KeysView)
    assert isinstance(values, collections.abc.ValuesView)
    assert isinstance(items, collections.abc.ItemsView)
    del cache[1]
    assert sorted(keys) == [2, 3]


def test_keys_values_and_items_agree_in_order(cache):
    fill(cache)
    assert list(cache) == list(cache.keys())
    assert list(cache.items()) == list(zip(cache.keys(), cache.values(), strict=True))


def test_equality(make, policy_class):
    cache, other = make(policy_class, 10), make(policy_class, 5)
    assert cache == other == {}
    cache["a"] = 1
    assert cache != other
    assert cache == {"a": 1}
    assert {"a": 1} == cache  # noqa: SIM300 (the other side is asked)
    assert cache != {"a": 2}
    assert cache != {"b": 1}
    assert cache != 5
    assert (cache == 5) is False
    other["a"] = 1
    assert cache == other
    with pytest.raises(TypeError, match="unhashable"):
        hash(cache)


def test_equality_across_classes(make):
    caches = [make(cls, 10) for cls in CLASSES]
    for cache in caches:
        cache.update(a=1, b=2)
    assert all(one_cache == another for one_cache in caches for another in caches)


def test_repr_names_class_contents_and_size(cache):
    text = repr(cache)
    assert text.startswith(type(cache).__name__ + "(")
    assert "{}" in text
    cache["key"] = "value"
    text = repr(cache)
    assert "'key': 'value'" in text
    assert f"maxsize={cache.maxsize!r}" in text
    assert "currsize=1" in text.replace("currsize=1.0", "currsize=1")


def test_repr_of_a_cache_in_itself_ends(make, policy_class):
    cache = make(policy_class)
    cache["self"] = cache
    assert "..." in repr(cache)
    cache.clear()


def test_subscription(policy_class):
    alias = policy_class[int, str]
    assert alias.__origin__ is policy_class
    assert alias.__args__ == (int, str)


def test_subscribed_class_builds_a_cache():
    cache = hotset.LRUCache[int, str](maxsize=2)
    cache[1] = "x"
    assert type(cache) is hotset.LRUCache


def test_every_policy_is_listed():
    assert {
        "lru": hotset.LRUCache,
        "lfu": hotset.LFUCache,
        "arc": hotset.ARCCache,
        "auto": hotset.Cache,
        "tinylfu": hotset.TinyLFUCache,
        "sieve": hotset.SieveCache,
        "clock": hotset.ClockCache,
        "slru": hotset.SLRUCache,
        "s3fifo": hotset.S3FIFOCache,
        "twoq": hotset.TwoQCache,
        "lirs": hotset.LIRSCache,
        "gdsf": hotset.GDSFCache,
        "fifo": hotset.FIFOCache,
        "rr": hotset.RRCache,
    } == hotset.POLICIES


class TestCapacityZero:
    """A cache of no capacity refuses every entry and is otherwise a cache."""

    @pytest.fixture(params=[None, one], ids=["unit", "weighed"])
    def empty(self, request, make, policy_class):
        return make(policy_class, 0, getsizeof=request.param)

    def test_refuses_every_set(self, empty):
        for operation in (
            lambda: empty.__setitem__(1, 2),
            lambda: empty.set(1, 2),
            lambda: empty.add(1, 2),
            lambda: empty.setdefault(1, 2),
            lambda: empty.set_many({1: 2}),
            lambda: empty.update({1: 2}),
        ):
            with pytest.raises(ValueError, match="value too large"):
                operation()
        assert len(empty) == empty.currsize == 0

    def test_reads_miss(self, empty):
        assert empty.get(1) is None
        assert 1 not in empty
        assert empty.pop(1, 3) == 3
        assert empty.get_many([1, 2]) == {}
        assert empty.hottest() == empty.coldest() == empty.expire() == []
        with pytest.raises(KeyError):
            empty.popitem()

    def test_load_is_returned_and_not_stored(self, empty):
        """A cache that is switched off by its size must not break the code that reads through it."""
        assert empty.get_or_load(1, lambda key: key + 1) == 2
        assert len(empty) == 0

    def test_can_be_opened(self, empty):
        empty.resize(1)
        empty[1] = 2
        assert contents(empty) == {1: 2}
        empty.resize(0)
        assert contents(empty) == {}


@pytest.mark.parametrize("operations", [3000])
@pytest.mark.parametrize("maxsize", [0, 1, 2, 10, 500])
def test_random_walk_against_a_dict(make, policy_class, weigher, clock, rng, maxsize, operations):
    """What is in the cache is always what was last written, and the listener explains everything that is not."""
    model = {}

    def gone(key, value, cause):
        causes.append(cause)
        if cause != "replaced":
            assert model.pop(key) == value

    causes = []
    cache = make(policy_class, maxsize, getsizeof=weigher, timer=clock, on_evict=gone)
    space = max(4, maxsize * 2)
    written = 0
    for step in range(operations):
        key = rng.randrange(space)
        choice = rng.random()
        if choice < 0.4:
            assert cache.get(key, "absent") == model.get(key, "absent")
        elif choice < 0.75:
            if maxsize == 0:
                continue
            before = dict(model)
            model[key] = step  # before the call: a listener may name the new key itself
            cache[key] = step
            written += 1
            assert before.keys() | {key} >= model.keys()
        elif choice < 0.85:
            expected = model.get(key, "absent")
            assert cache.pop(key, "absent") == expected
        elif choice < 0.9:
            assert (key in cache) == (key in model)
        elif choice < 0.95 and model:
            popped, value = cache.popitem()
            assert popped not in model
            assert isinstance(value, int)
        elif choice < 0.951:
            cache.clear()
            assert not model
        assert len(cache) == len(model) <= maxsize
    assert contents(cache) == model
    cache._validate()
    stats = cache.stats()
    assert stats.by_cause == {cause: causes.count(cause) for cause in ("explicit", "replaced", "expired", "size")}
    assert stats.inserts + stats.updates == written
