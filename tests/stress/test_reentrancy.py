"""Keys, values, listeners and loaders that call back into the very operation that called them."""

import gc
import itertools
import random

import pytest
from caches import build, contents
from hostile import BadKeyError, Finalizer, HashMeddler, Incomparable, Key, Meddler, Unhashable

import hotset

VERBS = {
    "get": lambda cache, key: cache.get(key),
    "getitem": lambda cache, key: cache[key],
    "setitem": lambda cache, key: cache.__setitem__(key, "new"),
    "set": lambda cache, key: cache.set(key, "new", ttl=50),
    "add": lambda cache, key: cache.add(key, "new"),
    "setdefault": lambda cache, key: cache.setdefault(key, "new"),
    "delitem": lambda cache, key: cache.__delitem__(key),
    "pop": lambda cache, key: cache.pop(key, None),
    "contains": lambda cache, key: key in cache,
    "peek": lambda cache, key: cache.peek(key),
    "touch": lambda cache, key: cache.touch(key),
    "get_many": lambda cache, key: cache.get_many([key, key]),
    "set_many": lambda cache, key: cache.set_many([(key, "new"), (key, "newer")]),
    "delete_many": lambda cache, key: cache.delete_many([key, key]),
    "get_or_load": lambda cache, key: cache.get_or_load(key, lambda key: "loaded"),
    "equality": lambda cache, key: cache == {key: 1},
    "items": lambda cache, key: (key, 1) in cache.items(),
}


def insert_many(cache):
    """Insert until the tables have grown several times."""
    cache.resize(300)
    for key in range(200):
        cache["grow", key] = key


def churn(cache):
    """Evict everything that is there."""
    for key in range(30):
        cache["churn", key] = key


MEDDLING = {
    "clear": lambda cache: cache.clear(),
    "delete all": lambda cache: [cache.pop(key, None) for key in list(cache)],
    "popitem": lambda cache: cache and cache.popitem(),
    "grow": insert_many,
    "churn": churn,
    "shrink": lambda cache: cache.resize(1),
    "resize": lambda cache: (cache.resize(100), cache.resize(5)),
    "expire": lambda cache: cache.expire(float("inf")),
    "collect": lambda cache: gc.collect(0),
    "clear and refill": lambda cache: (cache.clear(), cache.update((key, key) for key in range(8))),
    "raise": lambda cache: 1 // 0,
}


class Once:
    """Run an action on the nth comparison only, so that a nested operation does not meddle for ever."""

    def __init__(self, action, at=1):
        self.action, self.left = action, at

    def __call__(self):
        self.left -= 1
        if self.left == 0:
            self.action()


def attempt(operation, *arguments):
    """Whatever it raises is fine as long as it is an exception and the cache lives on."""
    try:
        return operation(*arguments)
    except (KeyError, ZeroDivisionError, RuntimeError, ValueError):
        return None


def still_works(cache):
    """The cache is valid and usable."""
    cache._validate()
    cache.resize(10)
    cache["probe"] = "value"
    assert cache.peek("probe") == "value"
    assert len(list(cache)) == len(cache) <= 10


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_comparison_that_changes_the_cache(make, policy_class, clock, verb):
    """The key that is looked up meddles, then the key that is stored does; at once and at a later collision."""
    for meddling, at, stored_meddles in itertools.product(MEDDLING.values(), (1, 3), (False, True)):
        cache = make(policy_class, 8, ttl=1000, timer=clock)
        stored = [Meddler(name) for name in range(5)]
        cache.update((key, key.name) for key in stored)
        sought = Meddler(4)
        once = Once(lambda cache=cache, meddling=meddling: meddling(cache), at)
        for key in stored if stored_meddles else [sought]:
            key.action = once
        attempt(verb, cache, sought)
        for key in stored:
            key.action = None
        still_works(cache)


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_comparison_that_deletes_the_key_under_comparison(make, policy_class, verb):
    """The stored key may have its last reference in the cache while its own __eq__ runs."""
    cache = make(policy_class, 8)

    class Suicidal(Meddler):
        def __eq__(self, other):
            action, self.action = self.action, None
            if action:
                action()
            return self.name == getattr(other, "name", None)

        __hash__ = Meddler.__hash__

    for _ in range(3):
        cache[Suicidal("k", lambda: cache.clear())] = "value"
        attempt(verb, cache, Meddler("k"))
        gc.collect(0)
        still_works(cache)


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_hash_that_changes_the_cache(make, policy_class, verb):
    for meddling in MEDDLING.values():
        cache = make(policy_class, 8)
        cache.update((key, key) for key in range(8))
        key = HashMeddler("k", Once(lambda cache=cache, meddling=meddling: meddling(cache), 1))
        attempt(verb, cache, key)
        still_works(cache)


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_raising_hash(make, policy_class, verb):
    cache = make(policy_class, 8)
    cache.update((key, key) for key in range(8))
    before = (contents(cache), cache.coldest())
    with pytest.raises(BadKeyError):
        verb(cache, Unhashable())
    assert (contents(cache), cache.coldest()) == before


@pytest.mark.parametrize("verb", [name for name in VERBS if name != "equality"])
def test_raising_comparison(make, policy_class, verb):
    """A swallowed key exception is a wrong answer; the failed operation leaves everything as it was."""
    cache = make(policy_class, 8)
    cache.update((Key(name, 5), name) for name in range(4))
    before = cache.coldest()
    with pytest.raises(BadKeyError):
        VERBS[verb](cache, Incomparable(5))
    assert cache.coldest() == before
    assert [cache.peek(Key(name, 5)) for name in range(4)] == [0, 1, 2, 3]


def test_comparison_that_replaces_the_value(make, policy_class):
    """get() must not return a value that was freed by the comparison that found it."""

    class Value:
        pass

    cache = make(policy_class, 8)
    key = Meddler("k")
    cache[key] = Value()
    for _ in range(50):
        sought = Meddler("k")
        sought.action = Once(lambda: cache.__setitem__(key, Value()), 1)
        assert isinstance(cache.get(sought), Value)


def test_comparison_that_inserts_the_same_key(make, policy_class):
    """Two inserts of one key, one inside the other: one entry, not two."""
    cache = make(policy_class, 8)
    other = Meddler("other")
    cache[other] = 0
    sought = Meddler("k")
    sought.action = Once(lambda: cache.__setitem__(Meddler("k"), "inner"), 1)
    cache[sought] = "outer"
    assert len(cache) == 2
    assert cache.peek(Meddler("k")) == "outer"


def test_endless_meddling_ends(make, policy_class):
    """Every comparison changes the cache: a lookup that starts over each time must still end or raise."""
    cache = make(policy_class, 8)
    cache[Meddler("a")] = 1
    depth = []

    def meddle():
        if len(depth) < 400:
            depth.append(1)
            cache["fresh", len(depth)] = 1
            cache.pop(("fresh", len(depth)))

    attempt(cache.get, Meddler("k", meddle))
    still_works(cache)


@pytest.mark.parametrize("way", ["overwrite", "delete", "evict", "clear", "expire", "resize", "popitem"])
def test_finalizer_that_changes_the_cache(make, policy_class, clock, way):
    for meddling in MEDDLING:
        if meddling != "raise":
            finalize_and_meddle(make, policy_class, clock, way, meddling)


def finalize_and_meddle(make, policy_class, clock, way, meddling):
    """Values die by `way`, and each of them does `meddling` then."""
    died = []

    def action():
        died.append(1)
        if len(died) < 20:
            attempt(MEDDLING[meddling], cache)

    cache = make(policy_class, 4, ttl=10, timer=clock)
    for key in range(4):
        cache[key] = Finalizer(action)
    {
        "overwrite": lambda: cache.update((key, None) for key in range(4)),
        "delete": lambda: cache.delete_many(range(4)),
        "evict": lambda: cache.update((key, None) for key in range(10, 20)),
        "clear": lambda: cache.clear(),
        "expire": lambda: (clock.advance(10), cache.expire()),
        "resize": lambda: cache.resize(0),
        "popitem": lambda: [cache.popitem() for _ in range(len(cache)) if cache],
    }[way]()
    gc.collect(0)
    assert died
    died.extend([1] * 100)
    still_works(cache)


def test_finalizer_of_a_key(make, policy_class):
    class Key:
        def __del__(self):
            cache["from the grave"] = 1
            cache.pop(2, None)

    cache = make(policy_class, 4)
    for _ in range(20):
        cache[Key()] = 1
    cache.clear()
    gc.collect(0)
    assert len(cache) <= 1
    still_works(cache)


def test_finalizer_while_the_cache_itself_dies(policy_class):
    """__del__ of a value finds the cache in the middle of its own end."""
    died = []
    holder = {}

    def action():
        died.append(1)
        cache = holder.get("cache")
        if cache is not None:
            attempt(cache.get, 1)

    cache = build(policy_class, 50)
    cache.update((key, Finalizer(action)) for key in range(50))
    del cache
    gc.collect(0)
    assert len(died) == 50


def test_listener_that_changes_the_cache(make, policy_class, clock):
    """Each cause, each meddling; a listener that causes its own call must not recurse without end."""
    for meddling in MEDDLING.values():
        depth = []

        def listener(key, value, cause, depth=depth, meddling=meddling):
            if len(depth) < 30:
                depth.append(cause)
                try:
                    meddling(cache)
                except ZeroDivisionError:
                    pass

        cache = make(policy_class, 4, ttl=10, timer=clock, on_evict=listener)
        for key in range(8):
            cache[key] = key
        attempt(cache.pop, 7)
        cache["k"] = cache["k"] = 1
        clock.advance(10)
        cache.expire()
        cache.clear()
        assert depth
        still_works(cache)


def test_loader_that_changes_the_cache(make, policy_class):
    for meddling in MEDDLING.values():
        cache = make(policy_class, 4)
        cache.update((key, key) for key in range(4))
        attempt(cache.get_or_load, "k", lambda key, meddling=meddling, cache=cache: meddling(cache))
        still_works(cache)


def test_timer_and_weigher_that_change_the_cache(make, policy_class):
    for meddling in MEDDLING.values():
        hook = [None]

        def timer(hook=hook):
            run(hook)
            return 1.0

        def weigh(value, hook=hook):
            run(hook)
            return 1

        cache = make(policy_class, 4, timer=timer, ttl=10, getsizeof=weigh)
        for key in range(12):
            hook[0] = lambda meddling=meddling, cache=cache: meddling(cache)
            attempt(cache.__setitem__, key, key)
            hook[0] = lambda meddling=meddling, cache=cache: meddling(cache)
            attempt(cache.get, key)
        hook[0] = None
        still_works(cache)


def run(hook):
    """Run a hook once."""
    action, hook[0] = hook[0], None
    if action is not None:
        action()


def test_missing_that_changes_the_cache(make, policy_class):
    for meddling in MEDDLING.values():

        class Meddling(policy_class):
            def __missing__(self, key, meddling=meddling):
                meddling(self)
                return "missing"

        cache = make(Meddling, 4)
        cache.update((key, key) for key in range(4))
        attempt(lambda cache=cache: cache["k"])
        still_works(cache)


def test_iteration_with_meddling_values(make, policy_class):
    """repr and == of values run in the middle of a walk over the cache."""

    class Value:
        def __repr__(self):
            cache.clear()
            return "Value()"

        def __eq__(self, other):
            cache.clear()
            return True

        __hash__ = None

    cache = make(policy_class, 8)
    for operation in (repr, lambda cache: cache == dict.fromkeys(range(8), 1), lambda cache: 5 in cache.values()):
        cache.update((key, Value()) for key in range(8))
        attempt(operation, cache)
        still_works(cache)
        cache.clear()


def test_garbage_collection_anywhere(make, policy_class, rng):
    """A collection at nearly every allocation, with cycles through the cache being made and dropped."""
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        cache = make(policy_class, 10)
        for _ in range(300):
            key = rng.randrange(25)
            cycle = [cache]
            cycle.append(cycle)
            cache[key] = cycle
            cache.get(rng.randrange(25))
            list(cache.items())
            cache.hottest(2)
    finally:
        gc.set_threshold(*threshold)
    cache.clear()


@pytest.mark.stress
@pytest.mark.parametrize("name", hotset.POLICIES)
def test_random_torture(make, name, seed):
    """Random verbs with random meddlers at random depth; only validity is asked for, because nothing else is left."""
    rng = random.Random(seed)
    cache = make(hotset.POLICIES[name], 6)
    keys = [Meddler(number, hash_=number % 3) for number in range(12)]
    actions = [action for label, action in MEDDLING.items() if label not in {"grow", "collect"}]
    for _ in range(1500):
        for key in keys:
            key.action = None
        if rng.random() < 0.6:
            meddler = rng.choice(keys)
            meddler.action = Once(lambda: rng.choice(actions)(cache), rng.randrange(1, 5))
        verb = rng.choice(list(VERBS.values()))
        attempt(verb, cache, rng.choice(keys))
    for key in keys:
        key.action = None
    still_works(cache)


def test_listener_that_initializes_the_cache_again(policy_class):
    """It would free what the operation is about to give up: it is refused, and reported as what a listener raises."""
    seen = []

    def again(key, value, cause):
        try:
            type(cache).__init__(cache, **arguments)
        except RuntimeError as error:
            seen.append(str(error))

    arguments = {"maxsize": 2}
    if issubclass(policy_class, hotset.TTLCache):
        arguments["ttl"] = 100
    if issubclass(policy_class, hotset.TLRUCache):
        arguments["ttu"] = lambda key, value, now: now + 100
    cache = policy_class(**arguments, on_evict=again)
    for key in range(5):
        cache[key] = key
    assert len(seen) >= 1
    assert all("__init__" in text for text in seen)
    cache._validate()


def test_comparison_that_initializes_the_cache_again(policy_class):
    class Key:
        def __init__(self, number):
            self.number = number

        def __hash__(self):
            return 1

        def __eq__(self, other):
            if armed:
                armed.clear()
                type(cache).__init__(cache, **arguments)
            return isinstance(other, Key) and self.number == other.number

    arguments = {"maxsize": 100}
    if issubclass(policy_class, hotset.TTLCache):
        arguments["ttl"] = 100
    if issubclass(policy_class, hotset.TLRUCache):
        arguments["ttu"] = lambda key, value, now: now + 100
    armed = []
    cache = policy_class(**arguments)
    for number in range(60):
        cache[Key(number)] = number
    armed.append(True)
    assert cache.get(Key(59)) is None
    assert len(cache) == 0
    cache._validate()
