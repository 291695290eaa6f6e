"""What stands in for a suite's class where the class as it is cannot: adapters, and the wrong classes of the controls.

The mapping suite calls its class as `dict` is called, so the adapter gives the cache no bound and adds `fromkeys`.
A control is a class with one thing wrong; a suite that does not notice it was not re-pointed.
"""

import copy
import importlib
import math
import os

library = importlib.import_module(os.environ.get("CONFORMANCE_LIBRARY", "hotset"))


def as_dict(base, *args, **kwargs):
    """A subclass of `base` that is constructed like a dict and never evicts."""

    class Mapping(base):
        def __init__(self, *data, **named):
            base.__init__(self, math.inf, *args, **kwargs)
            self.update(*data, **named)

        def copy(self):
            return copy.copy(self)

        @classmethod
        def fromkeys(cls, keys, value=None):
            new = cls()
            for key in keys:
                new[key] = value
            return new

    return Mapping


def never(key, value, now):
    return math.inf


def __getattr__(name):  # the mapping adapters, made when asked for: a library need not have every class
    if not name.startswith("Mapping"):
        raise AttributeError(name)
    base = name.removeprefix("Mapping")
    arguments = {"TTLCache": (math.inf,), "TLRUCache": (never,), "RRCache": (min,)}.get(base, ())
    return as_dict(getattr(library, base), *arguments)


class NestedTimer:
    """A timer that stands still inside a `with`, as cachetools wraps around the one it is given."""

    def __init__(self, timer):
        self.timer = timer
        self.frozen = None

    def __call__(self):
        return self.timer() if self.frozen is None else self.frozen

    def __enter__(self):
        self.frozen = self.timer()
        return self.frozen

    def __exit__(self, *exc):
        self.frozen = None

    def tick(self):
        self.timer.tick()


class NestedTTLCache(library.TTLCache):
    def __init__(self, maxsize, ttl, timer, **kwargs):
        super().__init__(maxsize, ttl, timer=NestedTimer(timer), **kwargs)


class NestedTLRUCache(library.TLRUCache):
    def __init__(self, maxsize, ttu, timer, **kwargs):
        super().__init__(maxsize, ttu, timer=NestedTimer(timer), **kwargs)


# Controls.
FIFOForLRU = library.FIFOCache
LRUForLFU = library.LRUCache
LRUForFIFO = library.LRUCache


class DeafRR(library.FIFOCache):
    """Evicts in order of age, whatever `choice` says."""

    def __init__(self, maxsize, choice=None, getsizeof=None):
        super().__init__(maxsize, getsizeof)
        self.choice = choice


class EternalTTL(library.TTLCache):
    """Lets nothing expire."""

    def __init__(self, maxsize, ttl, **kwargs):
        super().__init__(maxsize, math.inf, **kwargs)


class EternalTLRU(library.TLRUCache):
    """Lets nothing expire."""

    def __init__(self, maxsize, ttu, **kwargs):
        super().__init__(maxsize, never, **kwargs)


def boundless_lru_cache(maxsize=128, typed=False):
    """Never evicts."""
    if callable(maxsize):
        return library_lru_cache()(maxsize)
    return library_lru_cache()(maxsize=None, typed=typed)


def library_lru_cache():
    home = library if hasattr(library, "lru_cache") else importlib.import_module("functools")
    return home.lru_cache


class ContainsNothing(as_dict(library.LRUCache)):
    """Denies every key."""

    def __contains__(self, key):
        return False
