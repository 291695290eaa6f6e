"""The same policies by exhaustive search, to check the fast forms: nothing here is clever."""


class NaiveFIFO:
    """One list, oldest first."""

    def __init__(self, capacity):
        self.resident = []

    def prepare(self, key):
        pass

    def victim(self):
        return self.resident[0]

    def insert(self, key):
        self.resident.append(key)

    def hit(self, key):
        pass

    def update(self, key):
        self.resident.remove(key)
        self.resident.append(key)

    def remove(self, key, evicted):
        self.resident.remove(key)

    def clear(self):
        self.resident.clear()

    def order(self):
        return list(self.resident)


class NaiveLRU(NaiveFIFO):
    """One list, least recently used first."""

    def hit(self, key):
        self.update(key)


class NaiveLFU:
    """(count, time of last use) of each key; the victim is the minimum of all."""

    def __init__(self, capacity):
        self.resident = {}
        self.now = 0

    def prepare(self, key):
        pass

    def victim(self):
        return min(self.resident, key=self.resident.__getitem__)

    def insert(self, key):
        self.now += 1
        self.resident[key] = (1, self.now)

    def hit(self, key):
        self.now += 1
        self.resident[key] = (self.resident[key][0] + 1, self.now)

    update = hit

    def remove(self, key, evicted):
        del self.resident[key]

    def clear(self):
        self.resident.clear()

    def order(self):
        return sorted(self.resident, key=self.resident.__getitem__)


class NaiveARC:
    """Figure 4 of the paper line by line, over four lists with their LRU end first; reads only."""

    def __init__(self, capacity):
        self.c, self.p = capacity, 0.0
        self.t1, self.t2, self.b1, self.b2 = [], [], [], []

    def request(self, x):
        """Serve `x`; true when it was in the cache."""
        t1, t2, b1, b2, c = self.t1, self.t2, self.b1, self.b2, self.c
        if x in t1 or x in t2:
            (t1 if x in t1 else t2).remove(x)
            t2.append(x)
            return True
        if x in b1:
            self.p = min(c, self.p + (1 if len(b1) >= len(b2) else len(b2) / len(b1)))
            self.replace(x)
            b1.remove(x)
            t2.append(x)
        elif x in b2:
            self.p = max(0, self.p - (1 if len(b2) >= len(b1) else len(b1) / len(b2)))
            self.replace(x)
            b2.remove(x)
            t2.append(x)
        else:
            if len(t1) + len(b1) == c:
                if len(t1) < c:
                    del b1[0]
                    self.replace(x)
                else:
                    del t1[0]
            elif len(t1) + len(t2) + len(b1) + len(b2) >= c:
                if len(t1) + len(t2) + len(b1) + len(b2) == 2 * c:
                    del b2[0]
                self.replace(x)
            t1.append(x)
        return False

    def replace(self, x):
        """Move one entry to the ghosts."""
        if self.t1 and (len(self.t1) > self.p or (x in self.b2 and len(self.t1) == self.p)):
            self.b1.append(self.t1.pop(0))
        else:
            self.b2.append(self.t2.pop(0))
