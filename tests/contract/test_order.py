"""What the policies share of their order: hottest, coldest, resize, peek, add, touch, popitem."""

import math

import pytest
from caches import contents, weight_of

import hotset

EXACT = (
    hotset.LRUCache,
    hotset.LFUCache,
    hotset.SieveCache,
    hotset.ClockCache,
    hotset.SLRUCache,
    hotset.GDSFCache,
    hotset.FIFOCache,
    hotset.TTLCache,
    hotset.TLRUCache,
)


@pytest.fixture(params=EXACT, ids=lambda cls: cls.__name__)
def exact_class(request):
    """The classes whose next victim is documented."""
    return request.param


def filled(make, cls, size=10, **options):
    cache = make(cls, size, **options)
    cache.update((key, str(key)) for key in range(size))
    return cache


def test_both_ends_list_everything_once(make, policy_class):
    cache = filled(make, policy_class)
    for key in (3, 3, 5, 7):
        cache[key]
    assert cache.hottest() == cache.coldest()[::-1]
    assert dict(cache.coldest()) == contents(cache)
    assert len(cache.coldest()) == 10


@pytest.mark.parametrize("count", [0, 1, 3, 10, 11, 10**9])
def test_count(make, policy_class, count):
    cache = filled(make, policy_class)
    assert cache.hottest(count) == cache.hottest()[:count]
    assert cache.coldest(count) == cache.coldest()[:count]


def test_count_by_keyword(make, policy_class):
    cache = filled(make, policy_class)
    assert cache.hottest(n=3) == cache.hottest(3)
    assert cache.coldest(n=3) == cache.coldest(3)


def test_wrong_count(make, policy_class):
    cache = filled(make, policy_class)
    for look in (cache.hottest, cache.coldest):
        with pytest.raises(ValueError, match="-1"):
            look(-1)
        with pytest.raises(TypeError):
            look("3")


def test_looking_changes_nothing(make, policy_class):
    cache = filled(make, policy_class)
    before = cache.coldest()
    cache.hottest(3)
    cache.peek(before[0][0])
    assert before[0][0] in cache
    list(cache.items())
    assert cache.coldest() == before


def test_coldest_is_the_next_victim(make, exact_class, rng):
    cache = filled(make, exact_class)
    for _ in range(200):
        cache.get(rng.randrange(12))
        if rng.random() < 0.3:
            cache[rng.randrange(12)] = 1
        assert cache.coldest(1) == [order_free_popitem(cache)]
    while cache:
        expected = cache.coldest(1)[0]
        assert cache.popitem() == expected


def order_free_popitem(cache):
    """Return what popitem() of a copy removes."""
    return cache.copy().popitem()


def test_eviction_takes_the_coldest(make, exact_class, rng):
    cache = filled(make, exact_class)
    for step in range(500):
        cache.get(rng.randrange(step + 20))
        if step not in cache:
            victim = cache.coldest(1)[0][0]
            cache[step] = "x"
            assert victim not in cache
            assert step in cache


def test_lru_order(make):
    for cls in (hotset.LRUCache, hotset.TTLCache, hotset.TLRUCache):
        cache = filled(make, cls, 5)
        cache[0], cache.get(1), cache.touch(2), cache.get_many([3])
        assert [key for key, _ in cache.coldest()] == [4, 0, 1, 2, 3]
        cache[4] = "written"
        assert cache.hottest(1) == [(4, "written")]
        assert cache.get_or_load(0, str) == "0"
        assert cache.hottest(1) == [(0, "0")]
        assert cache.add(1, "x") is False


def test_lfu_order(make):
    cache = filled(make, hotset.LFUCache, 4)
    cache[0], cache[0], cache[0], cache[3], cache[1]
    cache[3] = "written"
    assert [key for key, _ in cache.coldest()] == [2, 1, 3, 0]
    cache["new"] = 1
    assert [key for key, _ in cache.coldest()] == ["new", 1, 3, 0]
    cache["newer"] = 1
    assert [key for key, _ in cache.coldest()] == ["newer", 1, 3, 0]


def test_fifo_order(make):
    cache = filled(make, hotset.FIFOCache, 4)
    cache[0], cache[0], cache.touch(1)
    assert [key for key, _ in cache.coldest()] == [0, 1, 2, 3]
    cache[0] = "written"
    assert [key for key, _ in cache.coldest()] == [1, 2, 3, 0]


def test_rr_uses_its_choice(make):
    cache = make(hotset.RRCache, 4, choice=max)
    cache.update((key, key) for key in range(4))
    cache[-1] = -1
    assert set(cache) == {0, 1, 2, -1}
    assert cache.popitem() == (2, 2)
    cache = make(hotset.RRCache, 4, choice=min)
    cache.update((key, key) for key in range(10))
    assert set(cache) == {6, 7, 8, 9}


def test_rr_refuses_a_choice_that_is_not_there(make):
    """A choice function that answers nonsense must not evict nonsense or loop for ever."""
    cache = make(hotset.RRCache, 2, choice=lambda keys: "nonsense")
    cache.update(a=1, b=2)
    with pytest.raises((KeyError, ValueError)):
        cache["c"] = 3
    with pytest.raises((KeyError, ValueError)):
        cache.popitem()
    assert contents(cache) == {"a": 1, "b": 2}


def test_rr_choice_that_raises(make):
    def choice(keys):
        raise ZeroDivisionError

    cache = make(hotset.RRCache, 2, choice=choice)
    cache.update(a=1, b=2)
    with pytest.raises(ZeroDivisionError):
        cache["c"] = 3
    assert contents(cache) == {"a": 1, "b": 2}


def test_rr_evicts_all_over_the_place(make, rng):
    """Each of ten entries is a victim sooner or later: (9/10)**400 is nothing."""
    victims = set()
    cache = filled(make, hotset.RRCache, 10, on_evict=lambda key, value, cause: victims.add(key))
    for step in range(400):
        cache["new", step] = 1
        for key in range(10):
            if key not in cache:
                cache[key] = 1
    assert victims >= set(range(10))


class TestResize:
    """Live change of the capacity."""

    @pytest.mark.parametrize("size", [9, 5, 1, 0])
    def test_down(self, make, policy_class, size):
        cache = filled(make, policy_class)
        cache.resize(size)
        assert cache.maxsize == size
        assert len(cache) == cache.currsize == size
        assert all(value == str(key) for key, value in cache.items())

    def test_down_keeps_the_hottest(self, make, exact_class):
        cache = filled(make, exact_class)
        cache[0], cache[4], cache[4]
        expected = cache.coldest()[6:]
        cache.resize(4)
        assert cache.coldest() == expected

    def test_up(self, make, policy_class):
        cache = filled(make, policy_class)
        cache.resize(3000)
        cache.update((key, str(key)) for key in range(3000))
        assert len(cache) == 3000
        assert cache.stats().evictions == 0

    def test_to_infinity_and_back(self, make, policy_class):
        cache = filled(make, policy_class)
        cache.resize(math.inf)
        cache.update((key, str(key)) for key in range(500))
        assert len(cache) == 500
        cache.resize(2)
        assert len(cache) == 2

    def test_by_weight(self, make, policy_class):
        cache = make(policy_class, 100, getsizeof=weight_of)
        cache.update((key, key) for key in range(14))
        assert cache.currsize == 91
        cache.resize(30)
        assert cache.currsize <= 30
        assert cache.currsize == sum(cache.values())

    @pytest.mark.parametrize("size", [-1, math.nan, -math.inf])
    def test_wrong_value(self, make, policy_class, size):
        cache = filled(make, policy_class)
        with pytest.raises(ValueError, match=str(size)):
            cache.resize(size)
        assert len(cache) == cache.maxsize == 10

    @pytest.mark.parametrize("size", [None, "5", []], ids=repr)
    def test_wrong_type(self, make, policy_class, size):
        cache = filled(make, policy_class)
        with pytest.raises(TypeError, match="maxsize"):
            cache.resize(size)
        assert len(cache) == cache.maxsize == 10

    def test_back_and_forth(self, make, policy_class, rng):
        cache = make(policy_class, 10)
        for step in range(300):
            cache.resize(rng.choice([0, 1, 2, 7, 30, 100, 400]))
            for key in range(rng.randrange(60)):
                if cache.maxsize:
                    cache[key, rng.randrange(3)] = step
            assert len(cache) <= cache.maxsize
            cache._validate()


class TestSmallVerbs:
    """add, peek, touch."""

    def test_add(self, make, policy_class):
        cache = make(policy_class, 5)
        assert cache.add("k", 1) is True
        assert cache.add("k", 2) is False
        assert contents(cache) == {"k": 1}

    def test_add_does_not_count_as_a_use_when_refused(self, make):
        cache = filled(make, hotset.LRUCache, 3)
        cache.add(0, "x")
        assert cache.coldest(1) == [(0, "0")]

    def test_peek(self, make, policy_class):
        cache = filled(make, policy_class, 3)
        before = (cache.coldest(), cache.stats())
        assert cache.peek(0) == "0"
        assert cache.peek("x") is None
        assert cache.peek("x", 5) == cache.peek("x", default=5) == 5
        assert (cache.coldest(), cache.stats()) == before

    def test_touch(self, make, policy_class):
        cache = filled(make, policy_class, 3)
        assert cache.touch(0) is True
        assert cache.touch("x") is False
        assert len(cache) == 3

    def test_touch_is_a_use(self, make):
        for cls in (hotset.LRUCache, hotset.LFUCache):
            cache = filled(make, cls, 3)
            cache.touch(0)
            assert cache.hottest(1) == [(0, "0")]

    def test_keyword_arguments(self, make, policy_class):
        cache = make(policy_class, 5)
        cache.set(key="a", value=1, ttl=5)
        cache.add(key="b", value=2, ttl=5)
        cache.touch(key="b", ttl=7)
        cache.set_many(items={"c": 3}, ttl=5)
        assert contents(cache) == {"a": 1, "b": 2, "c": 3}
        assert cache.get_or_load(key="d", loader=str, ttl=5) == "d"


def test_popitem_of_an_empty_cache_names_the_class(make, policy_class):
    with pytest.raises(KeyError, match=f"{policy_class.__name__} is empty"):
        make(policy_class).popitem()


def test_hot_entries_survive_a_scan(make):
    """What ARC, LFU and TinyLFU are for: a long scan does not flush what is used all the time."""
    for cls in (hotset.ARCCache, hotset.LFUCache, hotset.TinyLFUCache, hotset.Cache):
        cache = make(cls, 100)
        for _ in range(20):
            for key in range(50):
                if cache.get(key) is None:
                    cache[key] = key
        for key in range(1000, 3000):
            if cache.get(key) is None:
                cache[key] = key
        assert sum(key in cache for key in range(50)) >= 45, cls
