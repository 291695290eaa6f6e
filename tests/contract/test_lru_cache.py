"""lru_cache and cache: every scenario runs on functools' decorators too, and both must agree."""

import copy
import functools
import inspect
import pickle
import sys
import threading
import weakref

import pytest

import hotset


@pytest.fixture(params=[functools.lru_cache, hotset.lru_cache], ids=["functools", "hotset"])
def lru_cache(request):
    """The model first: a test that fails on it tests the wrong thing."""
    return request.param


@pytest.fixture(params=[functools.cache, hotset.cache], ids=["functools", "hotset"])
def unbounded(request):
    """The model first."""
    return request.param


def counted(decorate):
    """A decorated function and the list of the calls that it made."""
    calls = []

    @decorate
    def function(*args, **kwargs):
        calls.append((args, kwargs))
        return args, kwargs

    return function, calls


def test_memoizes(lru_cache):
    function, calls = counted(lru_cache(maxsize=10))
    for _ in range(3):
        assert function(1, "a", k=2) == ((1, "a"), {"k": 2})
    assert len(calls) == 1
    assert function.cache_info() == (2, 1, 10, 1)


def test_cache_info(lru_cache):
    function, _ = counted(lru_cache(maxsize=2))
    for value in (1, 2, 3, 1, 3):
        function(value)
    info = function.cache_info()
    assert info == (1, 4, 2, 2)
    assert info._fields == ("hits", "misses", "maxsize", "currsize")
    assert type(info).__name__ == "CacheInfo"
    assert repr(info) == "CacheInfo(hits=1, misses=4, maxsize=2, currsize=2)"


def test_evicts_the_least_recently_used(lru_cache):
    function, calls = counted(lru_cache(maxsize=3))
    for value in (1, 2, 3, 1, 4, 1, 3, 2):
        function(value)
    assert [args[0] for args, _ in calls] == [1, 2, 3, 4, 2]


@pytest.mark.parametrize("bare", [True, False])
def test_forms(lru_cache, bare):
    function, _ = counted(lru_cache if bare else lru_cache())
    function(1)
    assert function.cache_info() == (0, 1, 128, 1)
    assert function.cache_parameters() == {"maxsize": 128, "typed": False}


def test_parameters(lru_cache):
    function, _ = counted(lru_cache(5, True))
    assert function.cache_parameters() == {"maxsize": 5, "typed": True}
    function.cache_parameters()["maxsize"] = 9
    assert function.cache_parameters()["maxsize"] == 5


def test_unlimited(lru_cache):
    function, calls = counted(lru_cache(maxsize=None))
    for _ in range(2):
        for value in range(1000):
            function(value)
    assert len(calls) == 1000
    assert function.cache_info() == (1000, 1000, None, 1000)


@pytest.mark.parametrize("maxsize", [0, -1, -100])
def test_no_cache(lru_cache, maxsize):
    function, calls = counted(lru_cache(maxsize=maxsize))
    for _ in range(3):
        function(1)
    assert len(calls) == 3
    assert function.cache_info() == (0, 3, 0, 0)


def test_one_entry(lru_cache):
    function, calls = counted(lru_cache(maxsize=1))
    for value in (1, 1, 2, 2, 1):
        function(value)
    assert len(calls) == 3
    assert function.cache_info() == (2, 3, 1, 1)


@pytest.mark.parametrize("maxsize", ["5", 5.0, [], object()], ids=type)
def test_wrong_maxsize(lru_cache, maxsize):
    with pytest.raises(TypeError, match="integer, a callable, or None"):
        lru_cache(maxsize)


def test_wrong_function():
    for decorator in (functools.lru_cache(), hotset.lru_cache()):
        with pytest.raises(TypeError):
            decorator(5)


def test_typed(lru_cache):
    function, calls = counted(lru_cache(typed=True))
    for value in (1, 1.0, True, 1, "1"):
        function(value)
        function(k=value)
    assert len(calls) == 8
    function, calls = counted(lru_cache(typed=False))
    for value in (1, 1.0, True, 1):
        function((value,))
    assert len(calls) == 1


def test_one_argument_keys_are_kept_apart_from_tuples(lru_cache):
    function, calls = counted(lru_cache())
    function(1, 2)
    function((1, 2))
    function(((1, 2),))
    function(1)
    function((1,))
    function("1")
    function()
    function(())
    function(None)
    assert len(calls) == 9


def test_keywords(lru_cache):
    function, calls = counted(lru_cache())
    function(1, a=2)
    function(1, "a", 2)
    function(a=2, b=3)
    function(a=2, b=3)
    function(1, 2)
    function(1, b=2)
    assert len(calls) == 5


def test_unhashable_arguments(lru_cache):
    function, calls = counted(lru_cache())
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        function([])
    with pytest.raises(TypeError, match="unhashable type"):
        function(k={})
    assert calls == []
    assert function.cache_info().currsize == 0


def test_errors_are_not_cached(lru_cache):
    calls = []

    @lru_cache()
    def fail(value):
        calls.append(value)
        raise IndexError(value)

    for _ in range(2):
        with pytest.raises(IndexError):
            fail(1)
    assert calls == [1, 1]
    assert fail.cache_info() == (0, 2, 128, 0)


def test_errors_of_keys(lru_cache):
    from hostile import BadKeyError, Incomparable, Unhashable

    function, _ = counted(lru_cache())
    with pytest.raises(BadKeyError):
        function(Unhashable())
    function(Incomparable(5))
    with pytest.raises(BadKeyError):
        function(Incomparable(5))
    assert function.cache_info().currsize == 1


def test_clear(lru_cache):
    function, calls = counted(lru_cache())
    function(1)
    assert function.cache_clear() is None
    assert function.cache_info() == (0, 0, 128, 0)
    function(1)
    assert len(calls) == 2


def test_clear_in_the_middle_of_a_call(lru_cache):
    @lru_cache(maxsize=10)
    def function(value):
        if value == 10:
            function.cache_clear()
        return value

    for value in range(15):
        assert function(value) == value
    assert function.cache_info() == (0, 4, 10, 5)


def test_recursion(lru_cache):
    @lru_cache(maxsize=None)
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert [fibonacci(n) for n in range(16)] == [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610]
    assert fibonacci.cache_info() == (28, 16, None, 16)


def test_deep_recursion(lru_cache):
    @lru_cache(maxsize=None)
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    a, b = 0, 1
    for _ in range(300):
        a, b = b, a + b
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(5000)
    try:
        assert fibonacci(300) == a
    finally:
        sys.setrecursionlimit(limit)


def test_endless_recursion_is_a_recursion_error(lru_cache):
    """A C frame in the middle must not turn it into a crash; 'same arguments' recursion is not refused."""

    @lru_cache()
    def forever(n):
        return forever(n + 1)

    with pytest.raises(RecursionError):
        forever(0)

    @lru_cache()
    def same(n):
        depth.append(n)
        return same(n) if len(depth) < 5 else "end"

    depth = []
    assert same(1) == "end"


def test_wraps(lru_cache):
    def original(a, b: int = 2) -> str:
        """Its docstring."""

    original.mark = 5
    wrapped = lru_cache()(original)
    assert wrapped.__wrapped__ is original
    assert wrapped.__name__ == "original"
    assert wrapped.__qualname__ == original.__qualname__
    assert wrapped.__doc__ == "Its docstring."
    assert wrapped.__module__ == __name__
    assert wrapped.mark == 5
    assert inspect.signature(wrapped) == inspect.signature(original)
    wrapped.other = 6
    assert wrapped.other == 6
    assert callable(wrapped)


def host(decorate):
    """A class whose methods are decorated."""

    class Host:
        def __init__(self, value):
            self.value = value

        @decorate
        def method(self, x):
            return self.value, x

        @classmethod
        @decorate
        def of_class(cls, x):
            return cls.__name__, x

        @staticmethod
        @decorate
        def static(x):
            return x

    return Host


def test_methods(lru_cache):
    cls = host(lru_cache(maxsize=10))
    a, b = cls(1), cls(2)
    for _ in range(2):
        assert (a.method(5), b.method(5), a.of_class(5), cls.static(5)) == ((1, 5), (2, 5), ("Host", 5), 5)
    assert cls.method.cache_info() == (2, 2, 10, 2)
    assert a.method.cache_info() == (2, 2, 10, 2)
    assert cls.of_class.cache_info() == (1, 1, 10, 1)
    assert cls.static.cache_info() == (1, 1, 10, 1)
    assert cls.method(a, 5) == (1, 5)


def test_method_by_getattr_of_the_wrapper(lru_cache):
    function, _ = counted(lru_cache())
    assert function.__get__(None, object) is function
    bound = function.__get__(5, int)
    assert bound(6) == ((5, 6), {})


@functools.lru_cache
def of_functools(x):
    """A module-level function, for pickling by name."""
    return x


@hotset.lru_cache
def of_hotset(x):
    """The same."""
    return x


@hotset.cache
def of_cache(x):
    """The same."""
    return x


@pytest.mark.parametrize("function", [of_functools, of_hotset, of_cache], ids=lambda function: function.__name__)
def test_pickles_and_copies_by_name(function):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(function, protocol)) is function
    assert copy.copy(function) is function
    assert copy.deepcopy(function) is function


def test_weak_references(lru_cache):
    function, _ = counted(lru_cache())
    reference = weakref.ref(function)
    assert reference() is function
    del function, _
    import gc

    gc.collect()
    assert reference() is None


def test_arguments_are_released(lru_cache):
    class Argument:
        pass

    @lru_cache(maxsize=1)
    def function(argument):
        return None

    argument = Argument()
    reference = weakref.ref(argument)
    function(argument)
    del argument
    assert reference() is not None
    function(5)
    assert reference() is None


def test_unbounded(unbounded):
    function, calls = counted(unbounded)
    for value in [*range(300), *range(300)]:
        function(value)
    assert len(calls) == 300
    assert function.cache_info() == (300, 300, None, 300)
    assert function.cache_parameters() == {"maxsize": None, "typed": False}


def test_threads_get_right_answers(lru_cache):
    @lru_cache(maxsize=50)
    def square(x):
        return x * x

    wrong = []
    start = threading.Barrier(5)

    def work(shift):
        start.wait(30)
        for step in range(4000):
            x = (step * (shift + 1)) % 90
            if square(x) != x * x:
                wrong.append(x)

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    info = square.cache_info()
    assert info.currsize <= 50
    if lru_cache is hotset.lru_cache or getattr(sys, "_is_gil_enabled", lambda: True)():
        assert info.hits + info.misses == 20000


def test_reentrant_keys(lru_cache):
    """A key that calls the function while it is compared."""

    class Key:
        def __init__(self, depth):
            self.depth = depth

        def __hash__(self):
            return 3

        def __eq__(self, other):
            depth, self.depth = self.depth, 0
            if depth:
                function(Key(depth - 1))
            return self is other

    @lru_cache(maxsize=4)
    def function(key):
        return key

    for depth in (0, 1, 2, 3, 2, 1):
        key = Key(depth)
        assert function(key) is key
    assert function.cache_info().currsize <= 4


def test_results_whose_death_calls_the_function(lru_cache):
    class Result:
        def __del__(self):
            died.append(1)
            if len(died) < 50:
                function(len(died) * 1000)

    @lru_cache(maxsize=2)
    def function(x):
        return Result()

    died = []
    for x in range(30):
        function(x)
    assert died
    assert function.cache_info().currsize <= 2
    died.extend([1] * 100)
    function.cache_clear()


def test_functools_partial_and_builtins(lru_cache):
    assert lru_cache()(len)("four") == 4
    assert lru_cache()(functools.partial(max, 5))(3) == 5

    class Callable:
        def __call__(self, x):
            return -x

    assert lru_cache()(Callable())(3) == -3


def test_keyword_order_may_matter_but_results_do_not(lru_cache):
    function, _ = counted(lru_cache())
    assert function(a=1, b=2) == function(b=2, a=1)


def test_random_calls_give_the_same_info(rng):
    """hits, misses and size of both, call by call."""
    for maxsize in (None, 1, 2, 3, 10, 50):
        model, _ = counted(functools.lru_cache(maxsize))
        mine, _ = counted(hotset.lru_cache(maxsize))
        for _ in range(3000):
            x = rng.randrange(20)
            arguments = rng.choice([((x,), {}), ((x, "y"), {}), ((), {"x": x}), ((x,), {"y": x % 3})])
            assert mine(*arguments[0], **arguments[1]) == model(*arguments[0], **arguments[1])
            assert mine.cache_info() == model.cache_info()
