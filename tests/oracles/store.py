"""A whole cache around an exact order: weights, deadlines, removal causes, statistics."""

import math


class OracleCache:
    """The documented behaviour of a cache, one plain statement at a time.

    `log` gets (key, value, cause) for every removal. Expired entries are removed before any operation looks at
    the cache; the engine may be later with that, so compare removals of cause "expired" after `expire()` only.
    """

    def __init__(self, order, maxsize, getsizeof=None, ttl=math.inf, tti=math.inf, timer=lambda: 0.0):
        self.order = order
        self.maxsize = maxsize
        self.getsizeof = getsizeof or (lambda value: 1)
        self.ttl, self.tti, self.timer = ttl, tti, timer
        self.entries = {}  # key -> [value, weight, deadline by ttl, deadline by tti]
        self.log = []

    @property
    def currsize(self):
        return sum(entry[1] for entry in self.entries.values())

    def contents(self):
        self.expire()
        return {key: entry[0] for key, entry in self.entries.items()}

    def coldest(self):
        self.expire()
        return [(key, self.entries[key][0]) for key in self.order.order()]

    def expire(self):
        now = self.timer()
        for key in [key for key, entry in self.entries.items() if now >= min(entry[2:])]:
            self._remove(key, "expired")

    def _remove(self, key, cause, evicted=False):
        self.order.remove(key, evicted=evicted)
        value = self.entries.pop(key)[0]
        self.log.append((key, value, cause))
        return value

    def _shrink(self, limit):
        while self.entries and self.currsize > limit:
            self._remove(self.order.victim(), "size", evicted=True)

    def get(self, key, default=None):
        self.expire()
        if key not in self.entries:
            return default
        self._use(key)
        return self.entries[key][0]

    def _use(self, key):
        self.order.hit(key)
        self.entries[key][3] = self.timer() + self.tti

    def peek(self, key, default=None):
        self.expire()
        return self.entries[key][0] if key in self.entries else default

    def touch(self, key, ttl=None):
        self.expire()
        if key not in self.entries:
            return False
        self._use(key)
        self.entries[key][2] = self.timer() + (self.ttl if ttl is None else ttl)
        return True

    def set(self, key, value, ttl=None):
        self.expire()
        weight = self.getsizeof(value)
        if weight > self.maxsize:
            raise ValueError("value too large")
        now = self.timer()
        if key in self.entries:
            old = self.entries[key]
            while key in self.entries and self.currsize - old[1] + weight > self.maxsize:
                victim = self.order.victim()
                self._remove(victim, "replaced" if victim == key else "size", evicted=True)
        if key in self.entries:
            self.log.append((key, self.entries[key][0], "replaced"))
            self.order.update(key)
        else:
            self.order.prepare(key)
            self._shrink(self.maxsize - weight)
            self.order.insert(key)
        deadline = now + (self.ttl if ttl is None else ttl)
        self.entries[key] = [value, weight, deadline, now + self.tti]

    def add(self, key, value, ttl=None):
        self.expire()
        if key in self.entries:
            return False
        self.set(key, value, ttl)
        return True

    def delete(self, key):
        """Remove a key; false when it was not there."""
        self.expire()
        if key not in self.entries:
            return False
        self._remove(key, "explicit")
        return True

    def popitem(self):
        self.expire()
        if not self.entries:
            raise KeyError
        key = self.order.victim()
        return key, self._remove(key, "explicit")

    def clear(self):
        self.expire()
        for key in list(self.entries):
            self.log.append((key, self.entries.pop(key)[0], "explicit"))
        self.order.clear()

    def resize(self, maxsize):
        self.expire()
        self.maxsize = maxsize
        self.order.resize(maxsize)
        self._shrink(maxsize)
