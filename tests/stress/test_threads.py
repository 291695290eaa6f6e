"""Seeded thread stress, the same with the GIL and without: no lost update, no torn read, sums that add up."""

import random
import sys
import threading

import pytest
from caches import CLASSES, build, contents

import hotset

pytestmark = pytest.mark.stress
THREADS = 6
PATIENCE = 120  # seconds until a hanging test fails; nothing is measured by it


def run_threads(seed, work, threads=THREADS):
    """Run work(number, rng) in threads that start together; raise the first error of any of them."""
    errors = []
    start = threading.Barrier(threads)

    def body(number):
        try:
            start.wait(PATIENCE)
            work(number, random.Random(f"{seed}:{number}"))
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # the GIL changes hands often
    try:
        crowd = [threading.Thread(target=body, args=(number,), daemon=True) for number in range(threads)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in crowd), "a thread hangs"
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]


@pytest.mark.parametrize("keys", [int, str], ids=lambda kind: kind.__name__)
def test_mixed_operations(make, policy_class, seed, keys):
    """A value names its key: an answer that belongs to another key is a torn read."""
    cache = make(policy_class, 100, ttl=0.5)

    def work(number, rng):
        for step in range(2500):
            key = keys(rng.randrange(250))
            choice = rng.random()
            if choice < 0.4:
                check(key, cache.get(key))
            elif choice < 0.7:
                cache[key] = (key, number, step)
            elif choice < 0.75:
                check(key, cache.pop(key, None))
            elif choice < 0.8:
                cache.set(key, (key, number, step), ttl=rng.choice([0.0001, 1, 100]))
            elif choice < 0.84:
                for found, value in cache.get_many(keys(rng.randrange(250)) for _ in range(10)).items():
                    check(found, value)
            elif choice < 0.87:
                cache.set_many([(key, (key, number, step)), (keys(5), (keys(5), number, step))])
            elif choice < 0.9:
                check(key, cache.get_or_load(key, lambda key: (key, -1, -1)))
            elif choice < 0.92:
                cache.touch(key)
                cache.add(key, (key, number, step))
            elif choice < 0.94:
                for found, value in [*cache.hottest(5), *cache.coldest(5), *cache.expire()]:
                    check(found, value)
            elif choice < 0.95:
                cache.resize(rng.randrange(50, 200))
            elif choice < 0.953:
                cache.clear()
            elif choice < 0.97:
                try:
                    check(*cache.popitem())
                except KeyError:
                    pass
            else:
                walk(cache)
            if step % 500 == 0:
                cache._validate()

    run_threads(seed, work)
    for key, value in contents(cache).items():
        check(key, value)
    assert len(cache) <= cache.maxsize


def check(key, value):
    """None, or a value that was stored for this key."""
    assert value is None or value[0] == key


def walk(cache):
    """Iterate beside writers: entries that belong together, or RuntimeError."""
    try:
        for key, value in cache.items():
            check(key, value)
    except RuntimeError as error:
        assert "changed" in str(error)


def test_no_update_is_lost(make, policy_class, seed):
    """Distinct keys in a cache that has room: all must be there, with the last value of their one writer."""
    cache = make(policy_class, 10**6)

    def work(number, rng):
        for step in range(3000):
            cache[number, step % 1500] = step
            if step % 3 == 0:
                cache.get((rng.randrange(THREADS), step))

    run_threads(seed, work)
    assert contents(cache) == {(number, key): key + 1500 for number in range(THREADS) for key in range(1500)}
    stats = cache.stats()
    assert (stats.inserts, stats.updates) == (THREADS * 1500, THREADS * 1500)


def test_every_removal_wins_once(make, policy_class, seed):
    """Threads race to pop the same keys: each value is handed out once."""
    cache = make(policy_class, 10**6)
    cache.update((key, key) for key in range(5000))
    taken = [[] for _ in range(THREADS)]

    def work(number, rng):
        order = list(range(5000))
        rng.shuffle(order)
        for key in order[:3000]:
            value = cache.pop(key, None)
            if value is not None:
                taken[number].append(value)
        try:
            while True:
                taken[number].append(cache.popitem()[1])
        except KeyError:
            pass

    run_threads(seed, work)
    assert sorted(value for values in taken for value in values) == list(range(5000))
    assert len(cache) == 0


def test_add_wins_once(make, policy_class, seed):
    cache = make(policy_class, 10**6)
    won = [[] for _ in range(THREADS)]

    def work(number, rng):
        for key in range(2000):
            if cache.add(key, number):
                won[number].append(key)

    run_threads(seed, work)
    assert sorted(key for keys in won for key in keys) == list(range(2000))
    for number, keys in enumerate(won):
        assert all(cache.peek(key) == number for key in keys)


def test_setdefault_agrees(make, policy_class, seed):
    """Whoever asks, all get the one object that was stored."""
    cache = make(policy_class, 10**6)
    seen = [{} for _ in range(THREADS)]

    def work(number, rng):
        for key in range(1500):
            seen[number][key] = cache.setdefault(key, object())

    run_threads(seed, work)
    for key in range(1500):
        assert len({id(answers[key]) for answers in seen}) == 1


def test_stats_add_up(make, policy_class, seed):
    """Every request is a hit or a miss, every removal has one cause, whoever made it."""
    told = []
    cache = make(policy_class, 50, on_evict=lambda key, value, cause: told.append(cause))
    requests = 4000

    def work(number, rng):
        for _ in range(requests):
            key = rng.randrange(120)
            if cache.get(key) is None:
                cache[key] = key

    run_threads(seed, work)
    stats = cache.stats()
    assert stats.requests == stats.hits + stats.misses == THREADS * requests
    assert stats.inserts + stats.updates == stats.misses
    assert stats.inserts - stats.evictions == len(cache) == 50
    assert stats.by_cause == {cause: told.count(cause) for cause in ("explicit", "replaced", "expired", "size")}


def test_each_key_is_loaded_once(make, policy_class, seed):
    calls = []
    cache = make(policy_class, 10**6)

    def load(key):
        calls.append(key)
        return [key]

    def work(number, rng):
        order = list(range(600))
        rng.shuffle(order)
        for key in order:
            assert cache.get_or_load(key, load)[0] == key

    run_threads(seed, work)
    assert sorted(calls) == list(range(600))


def test_late_loads_never_win(make, policy_class, seed):
    """One writer a key counts up and invalidates; a reader never sees a count older than the last finished write."""
    cache = make(policy_class, 10**6)
    origin = [0] * 4

    def work(number, rng):
        key = number % 4
        for _ in range(400):
            if number < 4:
                origin[key] += 1
                cache.pop(key, None)
            else:
                before = origin[key]
                assert cache.get_or_load(key, origin.__getitem__) >= before
            if number < 4 and rng.random() < 0.3:
                assert cache.get_or_load(key, origin.__getitem__) == origin[key]

    run_threads(seed, work, threads=8)


def test_values_die_where_they_may_reenter(make, policy_class, seed):
    """Finalizers that use the cache, in many threads: no deadlock between the lock and itself."""
    from hostile import Finalizer

    cache = make(policy_class, 20)

    def work(number, rng):
        for _ in range(600):
            cache[rng.randrange(60)] = Finalizer(lambda: (cache.get(1), len(cache), cache.pop(3, None)))
            cache.get(rng.randrange(60))

    run_threads(seed, work)
    while cache:
        cache.popitem()


def test_listeners_from_many_threads(make, policy_class, seed):
    cache = make(policy_class, 20, on_evict=lambda key, value, cause: cache.get(key))

    def work(number, rng):
        for step in range(1500):
            cache[rng.randrange(60)] = step

    run_threads(seed, work)


def test_slow_keys(make, policy_class, seed):
    """Comparisons in Python give way to other threads in the middle of a probe."""
    from hostile import Key

    cache = make(policy_class, 30)

    def work(number, rng):
        for _ in range(500):
            name = rng.randrange(60)
            key = Key(name, name % 5)
            choice = rng.random()
            if choice < 0.5:
                value = cache.get(key)
                assert value is None or value == name
            elif choice < 0.85:
                cache[key] = name
            elif choice < 0.95:
                assert cache.pop(key, name) == name
            else:
                cache.resize(rng.randrange(10, 60))

    run_threads(seed, work)
    for key, value in contents(cache).items():
        assert key.name == value


def test_copies_beside_writers(make, policy_class, seed):
    import copy
    import pickle

    cache = make(policy_class, 200)

    def work(number, rng):
        for step in range(60 if number < 2 else 3000):
            if number < 2:
                twin = copy.copy(cache) if step % 2 else pickle.loads(pickle.dumps(cache))
                twin._validate()
                for key, value in contents(twin).items():
                    check(key, value)
            else:
                key = rng.randrange(500)
                cache[key] = (key, step)

    run_threads(seed, work)


def test_two_caches_in_each_other_s_listeners(seed):
    """Crossed locks are the classic deadlock; listeners run outside the locks."""
    for cls in CLASSES[:3]:
        left = build(cls, 10, on_evict=lambda key, value, cause: right.get(key))
        right = build(cls, 10, on_evict=lambda key, value, cause: left.get(key))

        def work(number, rng, left=left, right=right):
            for step in range(800):
                (left if number % 2 else right)[rng.randrange(40)] = step
                if step % 100 == 0:
                    left == right  # noqa: B015 (compares, holding neither lock for long)

        run_threads(seed, work)
        left._validate()
        right._validate()


@pytest.mark.parametrize("policy", hotset.POLICIES)
def test_memoized_function(seed, policy):
    calls = []

    @hotset.cached(maxsize=10**5, policy=policy)
    def double(x):
        calls.append(x)
        return x * 2

    def work(number, rng):
        for _ in range(1500):
            x = rng.randrange(400)
            assert double(x) == x * 2

    run_threads(seed, work)
    assert len(calls) == len(set(calls))
    info = double.cache_info()
    assert info.hits + info.misses == THREADS * 1500


@pytest.mark.parametrize("policy", hotset.POLICIES)
def test_replay_beside_itself(policy, seed):
    """Replays share nothing."""
    import numpy as np

    keys = np.random.default_rng(3).zipf(1.2, 30_000) % 5000
    results = []

    def work(number, rng):
        results.append(hotset.replay(policy, 200, keys).hits)

    run_threads(seed, work, threads=4)
    assert len(results) == 4
    if policy != "rr":
        assert len(set(results)) == 1


def test_free_threading_stays_on():
    """On a free-threaded build the import must not have switched the GIL on."""
    import sysconfig

    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this interpreter has a GIL by build")
    assert not sys._is_gil_enabled()
