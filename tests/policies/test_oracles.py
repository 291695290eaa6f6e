"""The oracles themselves: the fast forms against exhaustive search, on small inputs."""

import itertools

import pytest
from oracles import EFFICIENT, LRU, NAIVE, OracleCache, count_hits


def requests(rng, count, space):
    """A skewed stream with loops in it, so that every list of every policy gets work."""
    keys = []
    while len(keys) < count:
        if rng.random() < 0.05:
            start = rng.randrange(space)
            keys.extend(range(start, start + rng.randrange(2, 30)))
        else:
            keys.append(min(space, int(rng.paretovariate(0.6))))
    return keys[:count]


@pytest.mark.parametrize("name", ["lru", "lfu", "fifo"])
def test_same_victims(name, rng):
    for capacity in (1, 2, 3, 7, 20):
        fast, slow = EFFICIENT[name](capacity), NAIVE[name](capacity)
        for key in requests(rng, 1500, 60):
            present = key in slow.resident
            assert present == (key in fast.resident)
            if present:
                verb = rng.choice(["hit", "hit", "update"])
                getattr(fast, verb)(key)
                getattr(slow, verb)(key)
                if rng.random() < 0.1:
                    fast.remove(key, evicted=False)
                    slow.remove(key, evicted=False)
            else:
                if len(slow.resident) == capacity:
                    victim = slow.victim()
                    assert fast.victim() == victim
                    fast.remove(victim, evicted=True)
                    slow.remove(victim, evicted=True)
                fast.insert(key)
                slow.insert(key)
            assert fast.order() == slow.order()


def test_same_arc(rng):
    """The four lists and the target, request by request."""
    for capacity in (1, 2, 3, 8, 25):
        fast, slow = EFFICIENT["arc"](capacity), NAIVE["arc"](capacity)
        for key in requests(rng, 3000, 90):
            hit = count_one(fast, capacity, key)
            assert hit == slow.request(key)
            assert [list(fast.t1), list(fast.t2), list(fast.b1), list(fast.b2)] == [slow.t1, slow.t2, slow.b1, slow.b2]
            assert fast.target == slow.p


def count_one(policy, capacity, key):
    """Serve one request as `count_hits` does."""
    if key in policy.resident:
        policy.hit(key)
        return True
    policy.prepare(key)
    if len(policy.resident) >= capacity:
        policy.remove(policy.victim(), evicted=True)
    policy.insert(key)
    return False


def test_known_victims():
    """By hand: 1 2 3 1 1 2 in three places, then 4."""
    expected = {
        "lru": 3,
        "lfu": 3,
        "fifo": 1,
        "arc": 3,
        "sieve": 3,
        "clock": 3,
        "slru": 3,
        "s3fifo": 3,
        "twoq": 1,
        "lirs": 3,
        "gdsf": 3,
    }
    for name, make in EFFICIENT.items():
        policy = make(3)
        for key in (1, 2, 3, 1, 1, 2):
            count_one(policy, 3, key)
        count_one(policy, 3, 4)
        assert {1, 2, 3} - set(policy.resident) == {expected[name]}, name


def test_lru_has_no_anomaly(rng):
    """LRU is a stack algorithm: more room never means fewer hits."""
    keys = requests(rng, 3000, 100)
    hits = [count_hits(LRU(capacity), capacity, keys) for capacity in range(1, 60)]
    assert all(a <= b for a, b in itertools.pairwise(hits))


def test_store_removes_the_dead_first():
    now = 0.0
    cache = OracleCache(LRU(2), 2, ttl=10, timer=lambda: now)
    cache.set("cold", 1)
    cache.set("dead", 2, ttl=1)
    now = 1.0
    cache.set("new", 3)
    assert cache.contents() == {"cold": 1, "new": 3}
    assert cache.log == [("dead", 2, "expired")]


def test_store_weights():
    cache = OracleCache(LRU(10), 10, getsizeof=lambda value: value)
    for key, value in (("a", 2), ("b", 3), ("c", 4), ("a", 6)):
        cache.set(key, value)
    assert cache.coldest() == [("c", 4), ("a", 6)]
    assert cache.log == [("a", 2, "replaced"), ("b", 3, "size")]
