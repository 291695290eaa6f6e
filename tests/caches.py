"""How the tests build one cache of any class from the same arguments."""

import datetime

import hotset

FAR = 1e9  # seconds; no test moves a clock this far

CLASSES = (
    hotset.LRUCache,
    hotset.LFUCache,
    hotset.ARCCache,
    hotset.TinyLFUCache,
    hotset.SieveCache,
    hotset.ClockCache,
    hotset.SLRUCache,
    hotset.S3FIFOCache,
    hotset.TwoQCache,
    hotset.LIRSCache,
    hotset.GDSFCache,
    hotset.FIFOCache,
    hotset.RRCache,
    hotset.Cache,
    hotset.TTLCache,
    hotset.TLRUCache,
)
POLICY_CLASSES = CLASSES[:14]


def never(key, value, now):
    """A ttu for TLRUCache: far in the future, even of a clock in nanoseconds."""
    return now + (datetime.timedelta(seconds=FAR) if isinstance(now, datetime.datetime) else FAR * 10**9)


def one(value):
    """A weigher that takes the weighted code path and changes no result."""
    return 1


def weight_of(value):
    """A weigher for values that are their own weight."""
    return value


def build(cls, maxsize, **options):
    """Build a cache of `cls`; TTLCache and TLRUCache get a lifetime that no test reaches unless told."""
    if issubclass(cls, hotset.TTLCache):
        options.setdefault("ttl", FAR)
    if issubclass(cls, hotset.TLRUCache):
        options.setdefault("ttu", never)
    return cls(maxsize, **options)


def contents(cache):
    """Return the entries as a dict, without touching order or statistics."""
    return dict(cache.items())
