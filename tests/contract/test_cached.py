"""cached: functions, methods, keys, lifetimes, one call per key across threads."""

import asyncio
import gc
import inspect
import pickle
import threading
import time
import weakref

import pytest

import hotset

PATIENCE = 30  # seconds until a hanging test fails; nothing is measured by it
NAMES = tuple(hotset.POLICIES)


def counted(**options):
    """A decorated function and the list of the calls that it made."""
    calls = []

    @hotset.cached(**options)
    def function(*args, **kwargs):
        calls.append((args, kwargs))
        return args, kwargs

    return function, calls


@pytest.fixture(params=NAMES)
def policy(request):
    """Every policy by name."""
    return request.param


def test_memoizes(policy):
    function, calls = counted(policy=policy)
    for _ in range(3):
        assert function(1, "a", k=2) == ((1, "a"), {"k": 2})
    assert len(calls) == 1
    assert function.cache_info() == (2, 1, 128, 1)
    assert isinstance(function.cache, hotset.POLICIES[policy])
    function.cache._validate()


def test_positional_arguments():
    """Order of the signature: maxsize, policy, ttl, typed, key."""
    names = list(inspect.signature(hotset.cached).parameters)
    assert [name for name in names if name in {"maxsize", "policy", "ttl", "typed", "key"}] == [
        "maxsize",
        "policy",
        "ttl",
        "typed",
        "key",
    ]


def test_bare_and_called():
    @hotset.cached
    def bare(x):
        return x

    @hotset.cached()
    def called(x):
        return x

    for function in (bare, called):
        assert function(1) == function(1) == 1
        assert function.cache_info() == (1, 1, 128, 1)


def test_maxsize(policy):
    function, calls = counted(maxsize=3, policy=policy)
    for value in range(10):
        function(value)
    assert len(calls) == 10
    assert function.cache_info() == (0, 10, 3, 3)


def test_no_capacity_calls_through():
    function, calls = counted(maxsize=0)
    assert function(1) == function(1)
    assert len(calls) == 2


def test_maxsize_none_is_unbounded():
    function, calls = counted(maxsize=None)
    for value in range(500):
        function(value)
        function(value)
    assert len(calls) == 500
    assert function.cache_info().maxsize is None


def test_evicts_by_its_policy():
    function, calls = counted(maxsize=2, policy="fifo")
    for value in (1, 2, 1, 3, 1):
        function(value)
    assert [args[0] for args, _ in calls] == [1, 2, 3, 1]


@pytest.mark.parametrize("policy", ["mru", "LRU", 5], ids=repr)
def test_unknown_policy(policy):
    with pytest.raises((ValueError, TypeError), match=str(policy)):
        hotset.cached(policy=policy)(len)


@pytest.mark.parametrize("options", [{"maxsize": -1}, {"ttl": 0}, {"ttl": -5}, {"tti": 0}], ids=repr)
def test_wrong_options_fail_at_decoration(options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        hotset.cached(**options)(len)


@pytest.mark.parametrize("options", [{"maxsize": "5"}, {"key": 5}, {"on_evict": 5}, {"timer": 5}], ids=repr)
def test_options_of_a_wrong_type(options):
    with pytest.raises(TypeError):
        hotset.cached(**options)(len)


def test_typed():
    function, calls = counted(typed=True)
    for value in (1, 1.0, True, 1):
        function(value)
    assert len(calls) == 3
    function, calls = counted()
    for value in (1, 1.0, True, 1):
        function(k=value)  # a lone positional int is kept apart from a float by functools too, for speed
    assert len(calls) == 1


def test_calls_of_different_shape_do_not_meet():
    function, calls = counted()
    function(1, 2)
    function((1, 2))
    function(1, a=2)
    function(1, "a", 2)
    function(())
    function()
    assert len(calls) == 6


def test_key():
    function, calls = counted(key=lambda *args, **kwargs: args[0] % 10)
    assert function(3) == function(13, other=[]) == ((3,), {})
    assert len(calls) == 1
    assert 3 in function.cache


def test_key_that_raises():
    def key(x):
        raise ZeroDivisionError

    function, calls = counted(key=key)
    with pytest.raises(ZeroDivisionError):
        function(1)
    assert calls == []


def test_unhashable_arguments():
    function, calls = counted()
    with pytest.raises(TypeError, match="unhashable type"):
        function([])
    assert calls == []


def test_ttl(clock):
    function, calls = counted(ttl=10, timer=clock)
    function(1)
    clock.advance(9)
    function(1)
    assert len(calls) == 1
    clock.advance(1)
    function(1)
    assert len(calls) == 2
    assert function.cache_info() == (1, 2, 128, 1)


def test_tti(clock):
    function, calls = counted(tti=10, timer=clock)
    for _ in range(5):
        function(1)
        clock.advance(9)
    assert len(calls) == 1
    clock.advance(1)
    function(1)
    assert len(calls) == 2


def test_weigher_and_listener():
    gone = []
    function, _ = counted(
        maxsize=10, getsizeof=lambda value: value[0][0], on_evict=lambda key, value, cause: gone.append((value, cause))
    )
    for value in (4, 5, 3):
        function(value)
    assert gone == [(((4,), {}), "size")]


def test_a_result_that_does_not_fit_is_returned():
    function, calls = counted(maxsize=10, getsizeof=lambda value: value[0][0])
    for _ in range(2):
        assert function(11) == ((11,), {})
    assert len(calls) == 2


def test_a_cache_of_ones_own():
    cache = hotset.LFUCache(5)
    function, calls = counted(cache=cache)
    function(1)
    assert function.cache is cache
    assert len(cache) == 1
    cache.clear()
    function(1)
    assert len(calls) == 2


def test_errors_are_not_cached():
    calls = []

    @hotset.cached
    def fail(x):
        calls.append(x)
        raise IndexError(x)

    for _ in range(2):
        with pytest.raises(IndexError, match="1"):
            fail(1)
    assert calls == [1, 1]
    assert fail.cache_info().currsize == 0


def test_none_is_cached():
    calls = []

    @hotset.cached
    def nothing(x):
        calls.append(x)

    assert nothing(1) is nothing(1) is None
    assert calls == [1]


def test_clear():
    function, calls = counted()
    function(1)
    function.cache_clear()
    assert function.cache_info() == (0, 0, 128, 0)
    function(1)
    assert len(calls) == 2


def test_parameters():
    function, _ = counted(maxsize=7, policy="arc", ttl=5, typed=True)
    parameters = function.cache_parameters()
    assert parameters["maxsize"] == 7
    assert parameters["policy"] == "arc"
    assert parameters["ttl"] == 5
    assert parameters["typed"] is True
    parameters["maxsize"] = 0
    assert function.cache_parameters()["maxsize"] == 7


def test_wraps():
    def original(a, b: int = 2) -> str:
        """Its docstring."""

    original.mark = 5
    function = hotset.cached(original)
    assert function.__wrapped__ is original
    assert (function.__name__, function.__doc__, function.__module__) == ("original", "Its docstring.", __name__)
    assert function.__qualname__ == original.__qualname__
    assert function.mark == 5
    assert inspect.signature(function) == inspect.signature(original)


@hotset.cached(ttl=50)
def at_module_level(x):
    """For pickling by name."""
    return x


def test_pickles_by_name():
    assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level


def test_weak_reference():
    function, _ = counted()
    reference = weakref.ref(function)
    assert reference() is function
    del function, _
    gc.collect()
    assert reference() is None


def test_recursion_on_other_arguments():
    @hotset.cached(maxsize=500)
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(80) == 23416728348467685
    assert fibonacci.cache_info() == (78, 81, 500, 81)


def test_recursion_on_the_same_arguments_raises():
    """It would call itself for ever, or wait for itself; both are worse than an error."""

    @hotset.cached
    def again(n):
        return again(n)

    with pytest.raises(RuntimeError):
        again(1)
    assert again.cache_info().currsize == 0


def test_one_call_per_key_across_threads(policy):
    begun, opened = threading.Event(), threading.Event()
    calls, results = [], []

    @hotset.cached(policy=policy)
    def slow(x):
        calls.append(x)
        begun.set()
        assert opened.wait(PATIENCE)
        return x * 2

    threads = [threading.Thread(target=lambda: results.append(slow(5))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert begun.wait(PATIENCE)
    time.sleep(0.05)  # lets the others reach their wait; the result does not depend on it
    opened.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [10] * 8
    assert calls == [5]


def test_an_error_reaches_every_waiting_thread():
    begun, opened = threading.Event(), threading.Event()
    calls, errors = [], []

    @hotset.cached
    def slow(x):
        calls.append(x)
        begun.set()
        assert opened.wait(PATIENCE)
        raise ZeroDivisionError

    def work():
        try:
            slow(5)
        except ZeroDivisionError as error:
            errors.append(error)

    leader = threading.Thread(target=work)
    leader.start()
    assert begun.wait(PATIENCE)
    followers = [threading.Thread(target=work) for _ in range(4)]
    for thread in followers:
        thread.start()
    time.sleep(0.1)  # as above: late followers would call again, which is right as well
    opened.set()
    for thread in [leader, *followers]:
        thread.join(PATIENCE)
    assert len(errors) == 5
    assert len(calls) <= 5


def test_clear_during_a_call_wins():
    begun, opened = threading.Event(), threading.Event()

    @hotset.cached
    def slow(x):
        begun.set()
        assert opened.wait(PATIENCE)
        return x

    results = []
    thread = threading.Thread(target=lambda: results.append(slow(5)))
    thread.start()
    assert begun.wait(PATIENCE)
    slow.cache_clear()
    opened.set()
    thread.join(PATIENCE)
    assert results == [5]
    assert slow.cache_info().currsize == 0


class TestMethods:
    """A cache an instance, which goes when the instance goes."""

    @pytest.fixture
    def cls(self):
        class Host:
            calls = 0

            def __init__(self, value=0):
                self.value = value

            @hotset.cached(maxsize=4)
            def method(self, x, *, y=0):
                """Add."""
                type(self).calls += 1
                return self.value + x + y

        return Host

    def test_instances_do_not_share(self, cls):
        a, b = cls(10), cls(20)
        for _ in range(2):
            assert (a.method(1), b.method(1), a.method(1, y=5)) == (11, 21, 16)
        assert cls.calls == 3

    def test_a_cache_an_instance(self, cls):
        """One busy instance must not evict the entries of another."""
        a, b = cls(10), cls(20)
        a.method(1)
        for x in range(100):
            b.method(x)
        calls = cls.calls
        a.method(1)
        assert cls.calls == calls

    def test_info_of_an_instance(self, cls):
        a, b = cls(10), cls(20)
        a.method(1), a.method(1), b.method(1)
        assert a.method.cache_info() == (1, 1, 4, 1)
        assert b.method.cache_info() == (0, 1, 4, 1)
        a.method.cache_clear()
        assert a.method.cache_info() == (0, 0, 4, 0)
        assert b.method.cache_info().currsize == 1

    def test_instances_are_not_kept_alive(self, cls):
        """By reference count alone: the collector may be off."""
        a = cls(10)
        a.method(1)
        reference = weakref.ref(a)
        gc.disable()
        try:
            del a
            assert reference() is None
        finally:
            gc.enable()

    def test_results_go_with_the_instance(self, cls):
        class Result:
            pass

        class Host:
            @hotset.cached
            def make(self):
                return Result()

        host = Host()
        reference = weakref.ref(host.make())
        assert reference() is host.make()
        del host
        gc.collect()
        assert reference() is None

    def test_a_reused_address_does_not_inherit(self, cls):
        """ids are reused at once: a cache keyed by id would answer for the dead."""
        for value in range(200):
            assert cls(value).method(1) == value + 1

    def test_unhashable_instances(self):
        class Host:
            __hash__ = None

            def __eq__(self, other):
                return True

            @hotset.cached
            def method(self, x):
                return id(self), x

        a, b = Host(), Host()
        assert a.method(1) == (id(a), 1)
        assert b.method(1) == (id(b), 1)

    def test_equal_instances_do_not_share(self):
        class Host:
            def __init__(self, name):
                self.name = name

            def __hash__(self):
                return 1

            def __eq__(self, other):
                return True

            @hotset.cached
            def method(self):
                return self.name

        assert (Host("a").method(), Host("b").method()) == ("a", "b")

    def test_slots(self):
        class Host:
            __slots__ = ("__weakref__", "value")

            def __init__(self, value):
                self.value = value

            @hotset.cached
            def method(self, x):
                return self.value + x

        a, b = Host(1), Host(2)
        assert (a.method(1), b.method(1), a.method(1)) == (2, 3, 2)

    def test_slots_without_weakref(self):
        """There is no place for a cache: either it works without leaking, or the refusal is clear."""

        class Host:
            __slots__ = ("value",)

            def __init__(self, value):
                self.value = value

            @hotset.cached
            def method(self, x):
                return self.value + x

        try:
            assert (Host(1).method(1), Host(2).method(1)) == (2, 3)
        except TypeError as error:
            assert "Host" in str(error) or "weak" in str(error)

    def test_subclasses_and_super(self, cls):
        class Child(cls):
            @hotset.cached
            def method(self, x):
                return super().method(x) * 100

        child = Child(1)
        for _ in range(2):
            assert child.method(1) == 200

    def test_two_methods_of_one_class(self):
        class Host:
            @hotset.cached
            def one(self, x):
                return "one", x

            @hotset.cached
            def two(self, x):
                return "two", x

        host = Host()
        assert (host.one(1), host.two(1)) == (("one", 1), ("two", 1))

    def test_unbound_call(self, cls):
        a = cls(10)
        assert cls.method(a, 1) == 11
        assert a.method(1) == 11
        assert cls.calls <= 2

    def test_wraps(self, cls):
        assert cls(1).method.__name__ == "method"
        assert cls.method.__doc__ == "Add."
        assert cls.method.__wrapped__.__name__ == "method"

    def test_classmethod_and_staticmethod(self):
        calls = []

        class Host:
            @classmethod
            @hotset.cached
            def of_class(cls, x):
                calls.append(x)
                return cls.__name__, x

            @staticmethod
            @hotset.cached
            def static(x):
                calls.append(x)
                return x

        class Child(Host):
            pass

        for _ in range(2):
            assert Host.of_class(1) == ("Host", 1)
            assert Child.of_class(1) == ("Child", 1)
            assert Host().of_class(1) == ("Host", 1)
            assert Host.static(1) == Host().static(1) == 1
        assert len(calls) == 3

    def test_instances_with_cached_methods_pickle(self):
        host = PicklableHost(5)
        assert host.method(1) == 6
        twin = pickle.loads(pickle.dumps(host))
        assert twin.method(1) == 6
        assert twin.value == 5

    def test_threads(self, cls):
        begun, opened = threading.Event(), threading.Event()
        calls, results = [], []

        class Host:
            @hotset.cached
            def slow(self, x):
                calls.append(x)
                begun.set()
                assert opened.wait(PATIENCE)
                return x

        host = Host()
        threads = [threading.Thread(target=lambda: results.append(host.slow(1))) for _ in range(6)]
        for thread in threads:
            thread.start()
        assert begun.wait(PATIENCE)
        time.sleep(0.05)
        opened.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert results == [1] * 6
        assert calls == [1]

    def test_ttl(self, clock):
        class Host:
            calls = 0

            @hotset.cached(ttl=5, timer=clock)
            def method(self):
                Host.calls += 1

        host = Host()
        host.method(), host.method()
        clock.advance(5)
        host.method()
        assert Host.calls == 2

    def test_coroutine_methods(self):
        class Host:
            calls = 0

            @hotset.cached
            async def method(self, x):
                type(self).calls += 1
                await asyncio.sleep(0)
                return x

        async def main():
            host = Host()
            assert await asyncio.gather(*(host.method(1) for _ in range(5))) == [1] * 5
            assert Host.calls == 1
            reference = weakref.ref(host)
            del host
            gc.collect()
            assert reference() is None

        asyncio.run(main())


class PicklableHost:
    """At module level, so that it pickles."""

    def __init__(self, value):
        self.value = value

    @hotset.cached
    def method(self, x):
        return self.value + x
