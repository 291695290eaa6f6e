"""Exact orders of the policies that are made of queues, as their papers put them; see `ordering` for the verbs."""

from collections import OrderedDict


class Clock:
    """Second chance: the oldest goes to the end of the queue if it was used meanwhile."""

    def __init__(self, capacity):
        self.clear()

    def clear(self):
        self.resident = OrderedDict()  # key -> used; the hand is at the first

    def prepare(self, key):
        pass

    def victim(self):
        queue = self.resident
        while True:
            key = next(iter(queue))
            if not queue[key]:
                return key
            queue[key] = False
            queue.move_to_end(key)

    def insert(self, key):
        self.resident[key] = False

    def hit(self, key):
        self.resident[key] = True

    update = hit

    def remove(self, key, evicted):
        del self.resident[key]

    def resize(self, capacity):
        pass

    def order(self):
        """The hand passes all once before it comes to what was used."""
        return sorted(self.resident, key=self.resident.__getitem__)


class Sieve:
    """SIEVE by its figure: a chain from the oldest key to the newest, and the key under the hand."""

    def __init__(self, capacity):
        self.clear()

    def clear(self):
        self.resident = {}  # key -> used
        self.newer, self.older = {None: None}, {None: None}  # None is beyond both ends
        self.hand = None

    def prepare(self, key):
        pass

    def victim(self):
        key = self.hand if self.hand is not None else self.newer[None]
        while self.resident[key]:
            self.resident[key] = False
            key = self.newer[key]
            if key is None:
                key = self.newer[None]
        self.hand = key
        return key

    def insert(self, key):
        newest = self.older[None]
        self.resident[key] = False
        self.newer[newest] = self.older[None] = key
        self.older[key], self.newer[key] = newest, None

    def hit(self, key):
        self.resident[key] = True

    update = hit

    def remove(self, key, evicted):
        if self.hand == key:
            self.hand = self.newer[key]
        del self.resident[key]
        older, newer = self.older.pop(key), self.newer.pop(key)
        self.newer[older], self.older[newer] = newer, older

    def resize(self, capacity):
        pass

    def order(self):
        keys, key = [], self.newer[None]
        while key is not None:
            keys.append(key)
            key = self.newer[key]
        start = keys.index(self.hand) if self.hand is not None else 0
        return sorted(keys[start:] + keys[:start], key=self.resident.__getitem__)


class SLRU:
    """Four LRU lists of a quarter each; while they fill, a new key goes to the lowest with room."""

    def __init__(self, capacity):
        self.share = capacity // 4
        self.clear()

    def clear(self):
        self.resident = {}  # key -> number of its list
        self.lists = [OrderedDict() for _ in range(4)]

    def prepare(self, key):
        pass

    def victim(self):
        return next(next(iter(keys)) for keys in self.lists if keys)

    def insert(self, key):
        self._put(key, next((n for n in range(4) if len(self.lists[n]) < self.share), 0))

    def _put(self, key, number):
        self.lists[number][key] = None
        self.resident[key] = number

    def hit(self, key):
        number = self.resident[key]
        del self.lists[number][key]
        self._put(key, min(3, number + 1))
        self._sink()

    update = hit

    def _sink(self):
        for number in (3, 2, 1):
            while len(self.lists[number]) > self.share:
                self._put(self.lists[number].popitem(last=False)[0], number - 1)

    def remove(self, key, evicted):
        del self.lists[self.resident.pop(key)][key]

    def resize(self, capacity):
        self.share = capacity // 4
        self._sink()

    def order(self):
        return [key for keys in self.lists for key in keys]


class S3FIFO:
    """The paper's queues with the rules of its authors' code: two uses in the small queue open the main one."""

    SMALL, GHOSTS, THRESHOLD = 0.1, 0.9, 2

    def __init__(self, capacity):
        self.resize(capacity)
        self.clear()

    def clear(self):
        self.small, self.main, self.ghosts = OrderedDict(), OrderedDict(), OrderedDict()  # key -> uses
        self.resident = {}  # key -> its queue
        self.known = False
        self.evicted = False

    def resize(self, capacity):
        self.small_size, self.ghost_size = int(capacity * self.SMALL), int(capacity * self.GHOSTS)
        self.main_size = capacity - self.small_size
        while hasattr(self, "ghosts") and len(self.ghosts) > self.ghost_size:
            self.ghosts.popitem(last=False)

    def prepare(self, key):
        self.known = key in self.ghosts
        self.ghosts.pop(key, None)

    def victim(self):
        self.evicted = True
        while True:
            if len(self.main) > self.main_size or not self.small:
                key, uses = next(iter(self.main.items()))
                if not uses:
                    return key
                del self.main[key]
                self._put(key, self.main, uses - 1)
                if self.small:
                    continue
            else:
                key, uses = next(iter(self.small.items()))
                if uses < self.THRESHOLD:
                    return key
                del self.small[key]
                self._put(key, self.main, 0)

    def _put(self, key, queue, uses):
        queue[key] = uses
        self.resident[key] = queue

    def insert(self, key):
        full = not self.evicted and len(self.small) >= self.small_size
        self._put(key, self.main if self.known or full else self.small, 0)
        self.known = False

    def hit(self, key):
        queue = self.resident[key]
        queue[key] = min(3, queue[key] + 1)

    update = hit

    def remove(self, key, evicted):
        queue = self.resident.pop(key)
        del queue[key]
        if evicted and queue is self.small:
            self.ghosts[key] = None
            while len(self.ghosts) > self.ghost_size:
                self.ghosts.popitem(last=False)

    def order(self):
        return [*self.small, *self.main]


class TwoQ:
    """Full 2Q of the paper: A1in, A1out and Am."""

    IN, OUT = 0.25, 0.5

    def __init__(self, capacity):
        self.resize(capacity)
        self.clear()

    def clear(self):
        self.a1in, self.a1out, self.am = OrderedDict(), OrderedDict(), OrderedDict()
        self.resident = {}  # key -> A1in or Am
        self.known = False

    def resize(self, capacity):
        self.kin, self.kout = int(capacity * self.IN), int(capacity * self.OUT)
        while hasattr(self, "a1out") and len(self.a1out) > self.kout:
            self.a1out.popitem(last=False)

    def prepare(self, key):
        self.known = key in self.a1out
        self.a1out.pop(key, None)

    def victim(self):
        return next(iter(self.a1in if len(self.a1in) > self.kin or not self.am else self.am))

    def insert(self, key):
        queue = self.am if self.known else self.a1in
        queue[key] = None
        self.resident[key] = queue
        self.known = False

    def hit(self, key):
        if self.resident[key] is self.am:
            self.am.move_to_end(key)

    update = hit

    def remove(self, key, evicted):
        queue = self.resident.pop(key)
        del queue[key]
        if evicted and queue is self.a1in:
            self.a1out[key] = None
            while len(self.a1out) > self.kout:
                self.a1out.popitem(last=False)

    def order(self):
        return [*self.a1in, *self.am]


class LIRS:
    """The stack S and the queue Q of the paper, and a bound of the keys that S has and the cache has not."""

    HOT, GHOSTS = 0.99, 2.0

    def __init__(self, capacity):
        self.clear()
        self.resize(capacity)

    def clear(self):
        self.stack = OrderedDict()  # key -> hot, the latest use last
        self.queue = OrderedDict()
        self.gone = OrderedDict()  # keys of S that are not resident, in the order of their evictions
        self.resident = {}
        self.hot = 0
        self.known = False
        self.last = None

    def resize(self, capacity):
        self.hot_size, self.ghost_size = int(capacity * self.HOT), int(capacity * self.GHOSTS)
        self._cool()
        self._prune()

    def _prune(self):
        stack = self.stack
        while stack and not self.stack[next(iter(stack))]:
            key, _ = stack.popitem(last=False)
            self.gone.pop(key, None)
        while len(self.gone) > self.ghost_size:
            key, _ = self.gone.popitem(last=False)
            del stack[key]

    def _cool(self):
        while self.hot > self.hot_size:
            key = next(key for key, hot in self.stack.items() if hot)
            del self.stack[key]
            self.queue[key] = None
            self.hot -= 1
            self._prune()

    def prepare(self, key):
        self.known = key in self.gone
        if self.known:
            del self.gone[key]
            del self.stack[key]
            self._prune()

    def victim(self):
        return next(iter(self.queue or self.stack))

    def insert(self, key):
        self.resident[key] = None
        early = self.hot < self.hot_size
        if early or (self.known and self.hot_size):
            self.stack[key] = True
            self.hot += 1
            self._cool()
        else:
            if self.hot:
                self.stack[key] = False
            self.queue[key] = None
        self.known = False
        self.last = key

    def hit(self, key):
        top, self.last = self.last == key, key
        if self.stack.get(key):
            self.stack.move_to_end(key)
            self._prune()
        elif key in self.stack and not top:
            del self.queue[key]
            del self.stack[key]
            self.stack[key] = True
            self.hot += 1
            self._cool()
        else:
            self.queue.move_to_end(key)
            if self.hot:
                self.stack[key] = False
                self.stack.move_to_end(key)

    update = hit

    def remove(self, key, evicted):
        del self.resident[key]
        if key in self.queue:
            del self.queue[key]
            if evicted and key in self.stack:
                self.gone[key] = None
            else:
                self.stack.pop(key, None)
        else:
            del self.stack[key]
            self.hot -= 1
        self._prune()

    def order(self):
        return [*self.queue, *(key for key, hot in self.stack.items() if hot)]
