"""Slow, plain caches that say what the engine must do.

`ordering`, `queues` and `worth` have the policies in the form that is fast enough for the traces, `naive` some of them
by exhaustive search, `store` a whole cache with weights, lifetimes and removal causes around one of them.
"""

from oracles.naive import NaiveARC, NaiveFIFO, NaiveLFU, NaiveLRU
from oracles.ordering import ARC, FIFO, LFU, LRU
from oracles.queues import LIRS, S3FIFO, SLRU, Clock, Sieve, TwoQ
from oracles.store import OracleCache
from oracles.worth import GDSF

EFFICIENT = {
    "lru": LRU,
    "lfu": LFU,
    "fifo": FIFO,
    "arc": ARC,
    "sieve": Sieve,
    "clock": Clock,
    "slru": SLRU,
    "s3fifo": S3FIFO,
    "twoq": TwoQ,
    "lirs": LIRS,
    "gdsf": GDSF,
}
NAIVE = {"lru": NaiveLRU, "lfu": NaiveLFU, "fifo": NaiveFIFO, "arc": NaiveARC}

__all__ = ["ARC", "EFFICIENT", "FIFO", "GDSF", "LFU", "LRU", "NAIVE", "OracleCache", "count_hits"]


def count_hits(policy, capacity, keys):
    """Return the hits of a read-through cache of `capacity` unit entries over `keys`."""
    if capacity < 1:
        return 0
    hits = 0
    room = capacity
    resident, hit, insert = policy.resident, policy.hit, policy.insert
    for key in keys:
        if key in resident:
            hit(key)
            hits += 1
            continue
        policy.prepare(key)
        if room:
            room -= 1
        else:
            policy.remove(policy.victim(), evicted=True)
        insert(key)
    return hits
