"""The adaptive policy in plain Python, for entries of weight 1: lists are OrderedDicts, the tables are dicts.

Written from what `cext/policy/auto.pxd` and `blend.pxd` promise, with the same arithmetic where a number decides: every
victim must be the same.
"""

import math
from collections import OrderedDict

WORD = 0xFFFFFFFF
LRU, LIRS, TWO_Q, TINY_LFU = range(4)


def mix(key):
    """Return the mixed hash of an int."""
    return (hash(key) * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 32


def remix(mixed):
    x = mixed * 0xD6E8FEB86659FD93 & (1 << 64) - 1
    return x ^ x >> 32


class Sketch:
    """Four counters a key in one block of 128; halved block by block as counts come in."""

    def __init__(self, entries):
        self.count = self.cursor = int(entries / 6 + 1)
        self.blocks = [[0] * 128 for _ in range(self.count)]

    def places(self, mixed):
        x = remix(mixed)
        rows = [32 * row + (x >> 8 * row + 6 & 1) * 16 + (x >> 8 * row + 2 & 15) for row in range(4)]
        return (x >> 32) * self.count >> 32, rows

    def increment(self, mixed):
        for block in range(self.cursor, min(self.cursor + 4, self.count)):
            self.blocks[block] = [n >> 1 for n in self.blocks[block]]
        self.cursor = min(self.cursor + 4, self.count)
        block, rows = self.places(mixed)
        step = 2 if block >= self.cursor else 1
        for place in rows:
            if self.blocks[block][place] + step <= 15:
                self.blocks[block][place] += step

    def estimate(self, mixed):
        block, rows = self.places(mixed)
        return min(self.blocks[block][place] for place in rows) >> (block >= self.cursor)

    def age(self):
        if self.cursor == self.count:
            self.cursor = 0


class Stamps:
    """Buckets of 16 (fingerprint, moment) pairs; None is an empty slot."""

    def __init__(self, entries):
        self.buckets = [[None] * 16 for _ in range(int((entries * 3 + 15) / 16))]

    def bucket(self, mixed):
        x = remix(mixed)
        return self.buckets[(x >> 32) * len(self.buckets) >> 32], max(1, x >> 16 & 0xFFFF)

    def take(self, mixed, now):
        """Return how long ago a key was used, in units of the clock, or None."""
        bucket, mark = self.bucket(mixed)
        for i, slot in enumerate(bucket):
            if slot and slot[0] == mark:
                bucket[i] = None
                return ((now >> 10) - slot[1] & 0xFFFF) << 10
        return None

    def put(self, mixed, now, moment):
        bucket, mark = self.bucket(mixed)
        ages = [0x10000 if slot is None else (now >> 10) - slot[1] & 0xFFFF for slot in bucket]
        bucket[ages.index(max(ages))] = (mark, moment >> 10 & 0xFFFF)


class Blend:
    """One structure, four experts; lists from the coldest to the hottest."""

    def __init__(self, capacity, expert, counting, fitted):
        self.capacity = capacity
        self.counting = counting
        self.resident = {}  # key -> [moment, hits]
        self.window, self.lower, self.upper = (OrderedDict() for _ in range(3))
        self.lists = (self.window, self.lower, self.upper)
        self.time, self.pace = 0, int(2.0**52 / capacity)
        self.random = 0x9E3779B9
        self.welcome = self.contest = self.evicting = False
        self.sketch = self.stamps = None
        self.become(expert)
        if fitted:
            self.fit(capacity)

    def fit(self, entries):
        self.stamps = Stamps(entries)
        self.countdown = 10 * self.capacity
        self.sketch = Sketch(entries) if self.counting else None

    def become(self, expert):
        self.expert = expert
        shares = {LRU: 1.0, LIRS: 0.01, TWO_Q: 0.2, TINY_LFU: 0.01}
        self.window_max = max(1, int(self.capacity * shares[expert]))
        self.main_max = self.capacity - self.window_max
        self.upper_max = self.main_max * 0.8

    @property
    def now(self):
        return self.time >> 32 & 0xFFFFFFC0

    def age(self, key):
        return self.now - self.resident[key][0] & WORD

    def list_of(self, key):
        return next(one for one in self.lists if key in one)

    def move(self, key, target):
        for one in self.lists:
            one.pop(key, None)
        target[key] = None

    def main_tail(self):
        tails = [next(iter(one)) for one in (self.lower, self.upper) if one]
        return max(tails, key=self.age, default=None)

    def main_coldest(self):
        return next(iter(self.lower or self.upper), None)

    def hot(self, age):
        if len(self.lower) + len(self.upper) < self.main_max:
            return True
        tail = self.main_tail()
        return tail is not None and age <= self.age(tail)

    def demote(self):
        for _ in range(8):
            if len(self.lower) + len(self.upper) > self.main_max:
                self.move(self.main_tail(), self.window)

    def count(self, key, uses):
        if not self.sketch:
            return
        for _ in range(uses):
            self.sketch.increment(mix(key))
        if self.countdown <= uses:
            self.sketch.age()
            self.countdown = 10 * self.capacity
        else:
            self.countdown -= uses

    def hit(self, key):
        moment, hits = self.resident[key]
        self.resident[key] = [self.now, min(hits + 1, 15)]
        inside = key in self.window
        if self.expert == LRU:
            self.move(key, self.window)
        elif self.expert == LIRS:
            hot = not inside or self.hot(self.now - moment & WORD)
            self.move(key, self.lower if hot else self.window)
            if inside and hot:
                self.demote()
        else:
            self.move(key, self.window if inside else self.upper)
            for _ in range(0 if inside else 8):
                if len(self.upper) > self.upper_max:
                    tail = next(iter(self.upper))
                    self.resident[tail][1] >>= 1
                    self.move(tail, self.lower)

    def prepare(self, key):
        self.time += self.pace
        self.evicting = False
        self.contest = len(self.window) >= self.window_max
        age = self.stamps.take(mix(key), self.now) if self.stamps else None
        self.welcome = (
            age is not None and self.main_max > 0 and (self.expert == TWO_Q or (self.expert == LIRS and self.hot(age)))
        )

    def frequency(self, key):
        return min(15, self.sketch.estimate(mix(key)) + self.resident[key][1])

    def admit(self, candidate, victim):
        frequency = self.frequency(candidate)
        if frequency > self.frequency(victim):
            return True
        if frequency < 6:
            return False
        self.random ^= self.random << 13 & WORD
        self.random ^= self.random >> 17
        self.random ^= self.random << 5 & WORD
        return self.random % 128 == 0

    def pass_on(self):
        for _ in range(8):
            if not self.window or not (self.contest or len(self.window) >= self.window_max):
                return None
            tail = next(iter(self.window))
            if self.resident[tail][1] < 2 or self.main_max == 0:
                return tail
            self.contest = False
            self.resident[tail][1] = 0
            self.move(tail, self.lower)
        return None

    def victim(self):
        self.evicting = True
        tail = next(iter(self.window), None)
        if self.expert == LRU:
            return max((e for e in (tail, self.main_tail()) if e is not None), key=self.age)
        if self.expert == LIRS:
            main = self.main_tail()
            return tail if main is None or (self.window and len(self.window) >= self.window_max) else main
        if self.expert == TWO_Q:
            victim = self.pass_on()
            if victim is None:
                victim = self.main_coldest()
            return next(iter(self.window)) if victim is None else victim
        main = self.main_coldest()
        if main is None:
            return tail
        if tail is None or not (self.contest or len(self.window) >= self.window_max):
            return main
        return main if self.admit(tail, main) else tail

    def insert(self, key):
        self.count(key, 1)
        self.resident[key] = [self.now, 0]
        self.move(key, self.lower if self.welcome else self.window)
        if self.expert == LIRS and self.welcome:
            self.demote()
        if self.expert == TINY_LFU or not self.evicting:
            for _ in range(8):
                if len(self.window) > self.window_max:
                    self.move(next(iter(self.window)), self.lower)
        self.welcome = self.contest = self.evicting = False

    def remove(self, key, evicted):
        moment, hits = self.resident.pop(key)
        del self.list_of(key)[key]
        if evicted and self.stamps:
            self.stamps.put(mix(key), self.now, moment)
        if evicted:
            self.count(key, hits)


class Auto:
    """A blend, and a shadow for each expert from half full on."""

    def __init__(self, capacity):
        self.blend = Blend(capacity, LIRS, counting=True, fitted=False)
        self.resident = self.blend.resident
        self.size = min(64, capacity // 2)
        self.shadows = []
        self.lead = [[0.0] * 4 for _ in range(4)]
        self.spread = [[0.0] * 4 for _ in range(4)]
        self.margin = 2.0
        self.countdown = max(1, self.size // 2)
        self.changes = []

    def observe(self, key):
        x = remix(mix(key))
        if not self.shadows or (x >> 24 & WORD) >= int(self.size / self.blend.capacity * 2.0**32):
            return
        hits = []
        for shadow in self.shadows:
            hits.append(key in shadow.resident)
            if hits[-1]:
                shadow.hit(key)
                continue
            shadow.prepare(key)
            if len(shadow.resident) == self.size:
                shadow.remove(shadow.victim(), evicted=True)
            shadow.insert(key)
        for i, j in ((i, j) for i in range(4) for j in range(4)):
            self.lead[i][j] += hits[i] - hits[j]
            self.spread[i][j] += hits[i] != hits[j]
        if any(hits) and not all(hits):
            self.choose()
        self.countdown -= 1
        if self.countdown == 0:
            self.countdown = max(1, self.size // 2)
            kept = 1.0 - 0.6931471805599453 / 40
            self.lead = [[n * kept for n in row] for row in self.lead]
            self.spread = [[n * kept for n in row] for row in self.spread]
            self.margin = 2.0 + (self.margin - 2.0) * kept

    def choose(self):
        now, most, best = self.blend.expert, 0.0, None
        for i in range(4):
            deviation = math.sqrt(self.spread[i][now])
            over = self.lead[i][now] - 2 * deviation - self.margin
            if i == LRU:
                over -= deviation + 1.0
            if over > most:
                most, best = over, i
        if best is not None:
            self.margin *= 2
            self.changes.append(best)
            self.blend.become(best)

    def prepare(self, key):
        live, capacity = len(self.resident), self.blend.capacity
        if self.blend.stamps is None and live and live * 2 >= capacity:
            self.blend.fit(min(capacity, 2 * live))
            if self.size >= 8:
                self.shadows = [Blend(self.size, i, counting=i == TINY_LFU, fitted=True) for i in range(4)]
        self.observe(key)
        self.blend.prepare(key)

    def hit(self, key):
        self.observe(key)
        self.blend.hit(key)

    def victim(self):
        return self.blend.victim()

    def insert(self, key):
        self.blend.insert(key)

    def remove(self, key, evicted):
        self.blend.remove(key, evicted)
