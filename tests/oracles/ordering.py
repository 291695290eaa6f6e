"""Exact eviction orders: `resident` is what is in, `victim` what goes next, `order` all from cold to hot."""

from collections import OrderedDict


class FIFO:
    """First in, first out; a write of an existing key makes it the newest."""

    def __init__(self, capacity):
        self.resident = OrderedDict()

    def prepare(self, key):
        """Hear of a key that is about to come in."""

    def victim(self):
        return next(iter(self.resident))

    def insert(self, key):
        self.resident[key] = None

    def hit(self, key):
        pass

    def update(self, key):
        self.resident.move_to_end(key)

    def remove(self, key, evicted):
        del self.resident[key]

    def clear(self):
        self.resident.clear()

    def resize(self, capacity):
        pass

    def order(self):
        return list(self.resident)


class LRU(FIFO):
    """Least recently read or written first."""

    def hit(self, key):
        self.resident.move_to_end(key)


class LFU:
    """Lowest count first, the least recently used of these first; a write counts as a use."""

    def __init__(self, capacity):
        self.clear()

    def clear(self):
        self.resident = {}  # key -> count
        self.buckets = {}  # count -> keys, least recently used first; only `lowest` may be stale
        self.lowest = 1

    def prepare(self, key):
        pass

    def victim(self):
        buckets = self.buckets
        if self.lowest not in buckets:
            self.lowest = min(buckets)
        return next(iter(buckets[self.lowest]))

    def insert(self, key):
        self.resident[key] = self.lowest = 1
        bucket = self.buckets.get(1)
        if bucket is None:
            bucket = self.buckets[1] = OrderedDict()
        bucket[key] = None

    def hit(self, key):
        count = self.resident[key]
        self._leave(key, count)
        self.resident[key] = count = count + 1
        bucket = self.buckets.get(count)
        if bucket is None:
            bucket = self.buckets[count] = OrderedDict()
        bucket[key] = None

    update = hit

    def remove(self, key, evicted):
        self._leave(key, self.resident.pop(key))

    def _leave(self, key, count):
        bucket = self.buckets[count]
        del bucket[key]
        if not bucket:
            del self.buckets[count]

    def resize(self, capacity):
        pass

    def order(self):
        return [key for count in sorted(self.buckets) for key in self.buckets[count]]


class ARC:
    """ARC(c) of Megiddo and Modha, FAST 2003, figure 4; the ghosts are keys, and p is a real number.

    The figure makes room among the ghosts before a key comes in; here the same ghosts go right after it, which
    also says what happens when entries are deleted or the capacity changes. `naive` has the figure line by line.
    """

    def __init__(self, capacity):
        self.capacity = capacity
        self.clear()

    def clear(self):
        self.resident = {}  # key -> T1 or T2
        self.t1, self.t2, self.b1, self.b2 = (OrderedDict() for _ in range(4))
        self.target = 0.0  # p, the size that T1 should have
        self.from_b2 = False  # the key that is coming in was in B2
        self.frequent = False  # ... was in one of the ghost lists

    def prepare(self, key):
        b1, b2 = self.b1, self.b2
        self.from_b2 = self.frequent = False
        if key in b1:
            self.target = min(self.capacity, self.target + max(len(b2) / len(b1), 1.0))
            self.frequent = True
            del b1[key]
        elif key in b2:
            self.target = max(0.0, self.target - max(len(b1) / len(b2), 1.0))
            self.frequent = self.from_b2 = True
            del b2[key]

    def victim(self):
        t1, t2 = self.t1, self.t2
        if t1 and (len(t1) > self.target or (self.from_b2 and len(t1) == self.target) or not t2):
            return next(iter(t1))
        return next(iter(t2))

    def insert(self, key):
        where = self.t2 if self.frequent else self.t1
        self.frequent = self.from_b2 = False
        where[key] = None
        self.resident[key] = where
        self._trim()

    def hit(self, key):
        where = self.resident[key]
        if where is self.t2:
            where.move_to_end(key)
        else:
            del where[key]
            self.t2[key] = None
            self.resident[key] = self.t2

    update = hit

    def remove(self, key, evicted):
        where = self.resident.pop(key)
        del where[key]
        if evicted:
            (self.b1 if where is self.t1 else self.b2)[key] = None
            self._trim()

    def resize(self, capacity):
        self.capacity = capacity
        self.target = min(self.target, capacity)
        self._trim()

    def _trim(self):
        """Forget the ghosts that |L1| <= c and |L1| + |L2| <= 2c leave no room for."""
        t1, t2, b1, b2, c = self.t1, self.t2, self.b1, self.b2, self.capacity
        while b1 and len(t1) + len(b1) > c:
            b1.popitem(last=False)
        while b2 and len(t1) + len(t2) + len(b1) + len(b2) > 2 * c:
            b2.popitem(last=False)

    def order(self):
        return [*self.t1, *self.t2]
