"""get_many, set_many, delete_many: the same as the loops, in one call."""

import pytest
from caches import contents, weight_of
from hostile import BadKeyError, Unhashable

import hotset

FORMS = [list, tuple, set, frozenset, iter, dict.fromkeys, lambda keys: (key for key in keys)]


@pytest.mark.parametrize("form", FORMS)
def test_get_many(make, policy_class, form):
    cache = make(policy_class, 10)
    cache.update(a=1, b=2, c=3)
    found = cache.get_many(form(["a", "c", "x"]))
    assert found == {"a": 1, "c": 3}
    assert type(found) is dict


def test_get_many_keeps_the_order_asked_for(make, policy_class):
    cache = make(policy_class, 10)
    cache.update(a=1, b=2, c=3)
    assert list(cache.get_many("cab")) == ["c", "a", "b"]
    assert cache.get_many("aab") == {"a": 1, "b": 2}
    assert cache.get_many([]) == {}


def test_get_many_is_a_use(make):
    cache = make(hotset.LRUCache, 3)
    cache.update(a=1, b=2, c=3)
    cache.get_many("ba")
    assert [key for key, _ in cache.coldest()] == ["c", "b", "a"]


@pytest.mark.parametrize("form", [dict, list, tuple, iter, lambda pairs: (pair for pair in pairs)])
def test_set_many(make, policy_class, form):
    cache = make(policy_class, 10)
    assert cache.set_many(form([("a", 1), ("b", 2)])) is None
    assert contents(cache) == {"a": 1, "b": 2}
    cache.set_many(form([("a", 3)]))
    assert contents(cache) == {"a": 3, "b": 2}


def test_set_many_of_a_cache(make, policy_class):
    source, cache = make(policy_class, 5), make(policy_class, 5)
    source.update(a=1, b=2)
    cache.set_many(source)
    assert cache == source


def test_set_many_evicts(make, policy_class):
    cache = make(policy_class, 10)
    cache.set_many({key: key for key in range(1000)})
    assert len(cache) == 10
    assert all(key == value for key, value in cache.items())


@pytest.mark.parametrize("form", FORMS)
def test_delete_many(make, policy_class, form):
    cache = make(policy_class, 10)
    cache.update(a=1, b=2, c=3)
    assert cache.delete_many(form(["a", "c", "x"])) == 2
    assert contents(cache) == {"b": 2}


def test_delete_many_counts_a_key_once(make, policy_class):
    cache = make(policy_class, 10)
    cache.update(a=1, b=2)
    assert cache.delete_many("aaaa") == 1


@pytest.mark.parametrize("verb", ["get_many", "delete_many", "set_many"])
def test_what_is_not_iterable(make, policy_class, verb):
    with pytest.raises(TypeError):
        getattr(make(policy_class), verb)(5)


@pytest.mark.parametrize("wrong", [[1], ["abc"], [(1, 2, 3)], [()]], ids=repr)
def test_set_many_wants_pairs(make, policy_class, wrong):
    cache = make(policy_class)
    with pytest.raises((TypeError, ValueError)):
        cache.set_many(wrong)
    assert len(cache) == 0


def test_errors_in_the_middle(make, policy_class):
    """What came before the error stands, as in dict.update; the cache stays valid."""

    def broken(first):
        yield first
        raise ZeroDivisionError

    cache = make(policy_class, 10)
    with pytest.raises(ZeroDivisionError):
        cache.set_many(broken(("a", 1)))
    assert contents(cache) == {"a": 1}
    with pytest.raises(ZeroDivisionError):
        cache.get_many(broken("a"))
    with pytest.raises(ZeroDivisionError):
        cache.delete_many(broken("a"))
    cache._validate()
    cache["a"] = 1
    for operation in (cache.get_many, cache.delete_many, lambda keys: cache.set_many((key, 1) for key in keys)):
        with pytest.raises(BadKeyError):
            operation(["a", Unhashable()])
    cache._validate()


def test_too_large_in_the_middle(make, policy_class):
    cache = make(policy_class, 10, getsizeof=weight_of)
    with pytest.raises(ValueError, match="value too large"):
        cache.set_many([("a", 1), ("b", 11), ("c", 1)])
    assert contents(cache) == {"a": 1}


def test_the_iterable_may_use_the_cache(make, policy_class):
    """Whether keys are taken one by one or in batches is not promised; right answers and a valid cache are."""
    cache = make(policy_class, 10)

    def keys():
        for key in range(100):
            cache[key] = key
            yield key
            if key % 7 == 0:
                cache.clear()

    assert cache.get_many(keys()).items() <= {(key, key) for key in range(100)}
    cache.set_many((key, key) for key in keys())
    assert cache.delete_many(keys()) <= 100
    cache._validate()


def test_large_batches(make, policy_class, rng):
    """Larger than any prefetch window, with hits and misses mixed, ints and strings."""
    for form in (int, str):
        cache = make(policy_class, 5000)
        model = {form(key): key for key in range(0, 5000, 2)}
        cache.set_many(model)
        asked = [form(rng.randrange(5000)) for _ in range(3000)]
        assert cache.get_many(asked) == {key: model[key] for key in asked if key in model}
        stats = cache.stats()
        assert stats.hits == sum(key in model for key in asked)
        assert stats.misses == len(asked) - stats.hits
