"""Exact orders of the policies that go by what an entry is worth; see `ordering` for the verbs."""

import heapq
import math


class GDSF:
    """H = L + uses * worth / size, over a heap in which only what agrees with `resident` counts."""

    def __init__(self, capacity, size_of=lambda key: 1):
        self.size_of = size_of
        self.clear()

    def clear(self):
        self.resident = {}  # key -> (H, number of the last use)
        self.uses, self.worths = {}, {}
        self.heap = []
        self.age, self.now = 0.0, 0

    def prepare(self, key):
        pass

    def victim(self):
        """Return None when all that is there is pinned."""
        while self.heap:
            rank, now, key = self.heap[0]
            if self.resident.get(key) == (rank, now):
                return None if rank == math.inf else key
            heapq.heappop(self.heap)
        return None

    def _rank(self, key):
        merit = self.uses[key] * self.worths[key] / (self.size_of(key) or 1)
        self.resident[key] = self.age + merit, self.now
        heapq.heappush(self.heap, (*self.resident[key], key))

    def insert(self, key, worth=1.0):
        self.now += 1
        self.uses[key], self.worths[key] = 1, worth
        self._rank(key)

    def hit(self, key):
        self.now += 1
        self.uses[key] += 1
        self._rank(key)

    update = hit

    def appraise(self, key, worth):
        """Set what the key is worth, without a use."""
        self.worths[key] = worth
        now, self.now = self.now, self.resident[key][1]
        self._rank(key)
        self.now = now

    def remove(self, key, evicted):
        if evicted:
            self.age = self.resident[key][0]
        del self.resident[key], self.uses[key], self.worths[key]

    def resize(self, capacity):
        pass

    def order(self):
        return sorted(self.resident, key=self.resident.__getitem__)
