"""Memory that runs out at every single allocation of every operation: MemoryError, and the cache as it was.

`_testcapi.set_nomemory(n, n + 1)` makes the nth allocation from now on fail. Each operation is repeated with n
counting up until it no longer fails; the work is done in a child process, which a crash may kill.
"""

import pytest
from subprocesses import run_script

import hotset

pytest.importorskip("_testcapi", reason="CPython's own test module is not installed")

OPERATIONS = {
    "insert": "cache['new'] = value",
    "insert of an int": "cache[10**6] = value",
    "overwrite": "cache[names[3]] = value",
    "set with ttl": "cache.set('new', value, ttl=5)",
    "add": "cache.add('new', value)",
    "get": "cache.get(names[3])",
    "miss": "cache.get('absent')",
    "pop": "cache.pop(names[3])",
    "delete": "del cache[names[3]]",
    "popitem": "cache.popitem()",
    "touch": "cache.touch(names[3], ttl=7)",
    "resize up": "cache.resize(5000)",
    "resize down": "cache.resize(3)",
    "clear": "cache.clear()",
    "get_many": "cache.get_many(names)",
    "set_many": "cache.set_many(pairs)",
    "delete_many": "cache.delete_many(names[:5])",
    "get_or_load": "cache.get_or_load('new', load)",
    "setdefault": "cache.setdefault('new', value)",
    "hottest": "cache.hottest(4)",
    "expire": "cache.expire()",
    "items": "list(cache.items())",
    "copy": "copy.copy(cache)",
    "stats": "cache.stats()",
    "fill": "for key in range(300): cache[key] = key",
}
PARTIAL = {"set_many", "delete_many", "fill", "resize down", "get_or_load"}  # what came before the failure stands

SCRIPT = """
import _testcapi, copy, sys
import hotset
from caches import build
from clock import FakeClock

cls, size, weighed, partial = getattr(hotset, {cls!r}), {size}, {weighed}, {partial}
names = [f"name {{number}}" for number in range(10)]
value = ["value"]
pairs = [(f"pair {{number}}", value) for number in range(6)]
code = compile({operation!r}, "operation", "exec")

def load(key):
    return value

def fresh():
    options = dict(getsizeof=weigh) if weighed else {{}}
    cache = build(cls, size, timer=FakeClock(), **options)
    for number, name in enumerate(names):
        cache[name] = number
        for _ in range(number % 4):
            cache[name]
    return cache

def weigh(value):
    return 1

def state(cache):
    return dict(cache.items()), sorted(map(repr, cache.coldest())), len(cache), cache.currsize, cache.maxsize

def scope(cache):
    return dict(cache=cache, names=names, value=value, pairs=pairs, load=load, copy=copy)

exec(code, scope(fresh()))  # whatever is made once is made now
failures = 0
for number in range(4000):
    cache = fresh()
    before = state(cache)
    variables = scope(cache)
    failed = False
    _testcapi.set_nomemory(number, number + 1)
    try:
        exec(code, variables)
    except MemoryError:
        failed = True
    except RuntimeError as error:
        failed = "can't allocate lock" in str(error)  # what threading makes of it
        if not failed:
            raise
    finally:
        _testcapi.remove_mem_hooks()
    cache._validate()
    if failed:
        failures += 1
        after = state(cache)
        if not partial:
            assert after == before, (number, before, after)
        for key, stored in after[0].items():
            assert key not in before[0] or stored == before[0][key] or stored is value, (number, key)
        assert cache.get_or_load("new", load) is value  # no flight was left behind
        cache["afterwards"] = 1
        assert len(cache) <= cache.maxsize
        cache._validate()
    elif number > failures + 60:
        break
    del variables
else:
    raise SystemExit("never succeeded")
print(failures)
"""


@pytest.mark.parametrize(
    "cls",
    [
        "LRUCache",
        "LFUCache",
        "ARCCache",
        "TinyLFUCache",
        "SieveCache",
        "ClockCache",
        "SLRUCache",
        "S3FIFOCache",
        "TwoQCache",
        "LIRSCache",
        "GDSFCache",
        "Cache",
        "FIFOCache",
        "RRCache",
        "TTLCache",
    ],
)
def test_every_allocation(cls):
    """All operations of a class in one child process, in a cache that must grow and in one that must evict."""
    script = "import traceback\nfailed = []\n"
    for label, operation in OPERATIONS.items():
        for size, weighed in ((10, False), (1000, True)):
            source = SCRIPT.format(cls=cls, size=size, weighed=weighed, operation=operation, partial=label in PARTIAL)
            script += f"try: exec({source!r}, {{}})\n"
            script += f"except BaseException: failed.append(({label!r}, {size}, traceback.format_exc()))\n"
    script += "for label, size, text in failed: print(label, size, text)\nraise SystemExit(bool(failed))\n"
    assert hasattr(hotset, cls)
    run_script(script, timeout=300)


def test_construction():
    """A constructor that fails leaves nothing behind that its deallocation trips over."""
    run_script(
        """
        import _testcapi, gc, hotset
        from caches import CLASSES, build
        for cls in CLASSES:
            build(cls, 100)
            for number in range(60):
                _testcapi.set_nomemory(number, number + 1)
                try:
                    cache = build(cls, 100, ttl=5, getsizeof=len)
                except MemoryError:
                    cache = None
                finally:
                    _testcapi.remove_mem_hooks()
                if cache is not None:
                    cache["k"] = "v"
                    cache._validate()
                del cache
                gc.collect()
        """
    )


def test_replay():
    run_script(
        """
        import _testcapi, hotset, numpy as np
        keys = (np.random.default_rng(1).zipf(1.3, 3000) % 500).astype(np.uint32)
        for policy in hotset.POLICIES:
            expected = hotset.replay(policy, 100, keys)
            failures = 0
            for number in range(200):
                _testcapi.set_nomemory(number, number + 1)
                try:
                    result = hotset.replay(policy, 100, keys)
                except (MemoryError, TypeError):  # TypeError: Cython's dispatch on the array's type found no memory
                    result = None
                    failures += 1
                finally:
                    _testcapi.remove_mem_hooks()
                if result is not None and policy != "rr":
                    assert result == expected
            assert failures, policy
        """
    )
