"""Hypothesis drives a cache and its oracle side by side; the whole cache is validated after every step.

All policies but TinyLFU and RR have an exact oracle: same contents, same order, same removals. Those two are held to
what every cache owes: the bound, values that belong to their keys, and no entry that was deleted or has expired.
"""

import copy
import pickle

from caches import contents
from clock import FakeClock
from hostile import BadKeyError, Incomparable, Key, Unhashable
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from oracles import EFFICIENT, OracleCache

import hotset

NAMES = st.integers(0, 14)
VALUES = st.integers(0, 5)  # also the weights
LIFETIMES = st.sampled_from([None, None, 1, 3, 20])
CAPACITIES = st.sampled_from([0, 1, 2, 3, 5, 5, 8, 13])
UNRAISABLE = []


class Machine(RuleBasedStateMachine):
    """Rules that all policies share; a subclass names the policy and how to compare."""

    policy = None
    weighable = True
    colliding = True  # ARC's ghosts are hashes: keys of one hash are one ghost there

    @initialize(
        capacity=CAPACITIES,
        weighed=st.booleans(),
        ttl=st.sampled_from([None, None, 4, 30]),
        tti=st.sampled_from([None, None, 6]),
    )
    def start(self, capacity, weighed, ttl, tti):
        self.clock = FakeClock()
        self.log = []
        self.weigh = weigh if weighed and self.weighable else None
        options = {"getsizeof": self.weigh, "timer": self.clock, "on_evict": self.listen, "ttl": ttl, "tti": tti}
        self.cache = hotset.POLICIES[self.policy](capacity, **options)
        self.model = self.make_model(capacity, ttl, tti)
        self.step = 0

    def listen(self, key, value, cause):
        self.log.append((key.name, value, cause))

    def key(self, name):
        """A new object every time, so that equality decides; hashes collide where the policy allows."""
        return Key(name, name % 4 if self.colliding else None)

    def fresh(self, weight):
        """A value that is never stored twice; its weight is its last digit."""
        self.step += 1
        return self.step * 10 + weight

    def fits(self, value):
        return (1 if self.weigh is None else self.weigh(value)) <= self.model.maxsize

    # Verbs

    @rule(name=NAMES, brackets=st.booleans())
    def get(self, name, brackets):
        if brackets:
            try:
                found = self.cache[self.key(name)]
            except KeyError:
                found = None
        else:
            found = self.cache.get(self.key(name))
        assert found == self.model.get(name)

    @rule(name=NAMES)
    def look(self, name):
        assert self.cache.peek(self.key(name)) == self.model.peek(name)
        assert (self.key(name) in self.cache) == (name in self.model.contents())

    @rule(name=NAMES, weight=VALUES, ttl=LIFETIMES)
    def set(self, name, weight, ttl):
        value = self.fresh(weight)
        if self.fits(value):
            self.model.set(name, value, ttl)
            self.cache.set(self.key(name), value, ttl)
            self.agree_on(name)
        else:
            self.refuse(lambda: self.cache.set(self.key(name), value, ttl))

    @rule(name=NAMES, weight=VALUES)
    def assign(self, name, weight):
        value = self.fresh(weight)
        if self.fits(value):
            self.model.set(name, value)
            self.cache[self.key(name)] = value
            self.agree_on(name)
        else:
            self.refuse(lambda: self.cache.__setitem__(self.key(name), value))

    @rule(name=NAMES, weight=VALUES, ttl=LIFETIMES)
    def add(self, name, weight, ttl):
        value = self.fresh(weight)
        if self.fits(value):
            assert self.cache.add(self.key(name), value, ttl) == self.model.add(name, value, ttl)
            self.agree_on(name)

    @rule(names=st.lists(NAMES, max_size=6), weight=VALUES, ttl=LIFETIMES)
    def set_many(self, names, weight, ttl):
        pairs = [(name, self.fresh(weight)) for name in names]
        if all(self.fits(value) for _, value in pairs):
            self.cache.set_many([(self.key(name), value) for name, value in pairs], ttl)
            for name, value in pairs:
                self.model.set(name, value, ttl)
                self.agree_on(name)

    @rule(names=st.lists(NAMES, max_size=6))
    def get_many(self, names):
        found = {key.name: value for key, value in self.cache.get_many(map(self.key, names)).items()}
        expected = {name: self.model.get(name) for name in names}
        assert found == {name: value for name, value in expected.items() if value is not None}

    @rule(names=st.lists(NAMES, max_size=6))
    def delete_many(self, names):
        assert self.cache.delete_many(map(self.key, names)) == sum(self.model.delete(name) for name in names)

    @rule(name=NAMES, weight=VALUES)
    def load(self, name, weight):
        value = self.fresh(weight)
        expected = self.model.get(name)
        assert self.cache.get_or_load(self.key(name), lambda key: value) == (value if expected is None else expected)
        if expected is None and self.fits(value):
            self.model.set(name, value)
            self.agree_on(name)

    @rule(name=NAMES, ttl=LIFETIMES)
    def touch(self, name, ttl):
        assert self.cache.touch(self.key(name), ttl) == self.model.touch(name, ttl)

    @rule(name=NAMES)
    def pop(self, name):
        expected = self.model.peek(name)
        assert self.cache.pop(self.key(name), None) == expected
        assert self.model.delete(name) == (expected is not None)

    @rule(name=NAMES)
    def delete(self, name):
        try:
            del self.cache[self.key(name)]
        except KeyError:
            assert not self.model.delete(name)
        else:
            assert self.model.delete(name)

    @rule()
    def popitem(self):
        if not self.model.contents():
            try:
                self.cache.popitem()
            except KeyError:
                return
            raise AssertionError("popitem() of an empty cache must raise KeyError")
        key, value = self.cache.popitem()
        assert self.model_popitem(key.name) == (key.name, value)

    @rule(maxsize=CAPACITIES)
    def resize(self, maxsize):
        self.cache.resize(maxsize)
        self.model.resize(maxsize)

    @rule()
    def clear(self):
        self.cache.clear()
        self.model.clear()

    @rule(seconds=st.sampled_from([0.5, 1, 1, 3, 10]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @rule()
    def expire(self):
        before = {name: self.model.entries[name][0] for name in self.model.entries}
        dropped = {key.name: value for key, value in self.cache.expire()}
        alive = self.model.contents()
        assert dropped.items() <= before.items()
        assert not dropped.keys() & alive.keys()

    @rule(hash_=st.integers(-1, 3), verb=st.integers(0, 6))
    def raise_in_key(self, hash_, verb):
        """Raises or misses; in both cases nothing has changed."""
        raising = Unhashable() if hash_ < 0 else Incomparable(hash_)
        operations = [
            lambda: self.cache.get(raising),
            lambda: self.cache.pop(raising, None),
            lambda: self.cache.peek(raising),
            lambda: self.cache.touch(raising),
            lambda: raising in self.cache,
            lambda: self.cache.delete_many([raising]),
            lambda: self.cache.get_many([raising]),
        ]
        try:
            operations[verb]()
        except BadKeyError:
            pass

    @rule(hash_=st.integers(0, 3))
    def raise_in_write(self, hash_):
        """A write of a key that cannot be compared fails, unless nothing was there to compare it with."""
        if self.model.maxsize < 1:
            return
        key = Incomparable(hash_)
        collides = self.colliding and any(name % 4 == hash_ for name in self.model.contents())
        if collides:
            try:
                self.cache[key] = 11
            except BadKeyError:
                return
            raise AssertionError("a collision with a raising __eq__ must raise")

    # What must hold

    def refuse(self, operation):
        try:
            operation()
        except ValueError as error:
            assert str(error) == "value too large"
        else:
            raise AssertionError("a value that does not fit must be refused")

    def agree_on(self, name):
        """A hook after each write."""

    @invariant()
    def valid(self):
        if hasattr(self, "cache"):
            self.cache._validate()
            assert self.cache.currsize <= self.cache.maxsize == self.model.maxsize
            self.compare()

    def compare(self):
        raise NotImplementedError


PORTS = [None]


def port():
    """The machine itself, for a pickled listener that is one of its methods."""
    return PORTS[0]


def weigh(value):
    """The last digit."""
    return value % 10


class Copying:
    """The rule that goes on with a copy, and what the machine's own listener needs to travel with it."""

    @rule(how=st.sampled_from(["pickle", "copy", "deepcopy"]))
    def duplicate(self, how):
        """Go on with the copy."""
        self.before_duplicate()
        if how == "copy":
            self.cache = copy.copy(self.cache)
        elif how == "deepcopy":
            self.cache = self.transfer(copy.deepcopy)
        else:
            self.cache = self.transfer(lambda pair: pickle.loads(pickle.dumps(pair)))

    def transfer(self, copier):
        """The copy gets a clock and a listener of its own; hand both over."""
        PORTS[0] = self
        cache, clock = copier((self.cache, self.clock))
        self.clock = self.model.timer = clock
        return cache

    def __reduce__(self):
        return port, ()

    def __deepcopy__(self, memo):
        return self

    def before_duplicate(self):
        """Expired entries are not copied, so they are told by the original."""
        self.cache.expire()
        self.model.expire()


class ExactMachine(Machine):
    """The oracle says what is in, in which order, and what has left."""

    ordered = True

    def make_model(self, capacity, ttl, tti):
        forever = float("inf")
        return OracleCache(
            EFFICIENT[self.policy](capacity), capacity, self.weigh, ttl or forever, tti or forever, self.clock
        )

    def model_popitem(self, name):
        return self.model.popitem()

    def compare(self):
        expected = self.model.coldest()
        order = [(key.name, value) for key, value in self.cache.coldest()]
        if self.ordered:
            assert order == expected
        assert sorted(order) == sorted(expected)
        assert len(self.cache) == len(expected)
        assert {key.name: value for key, value in contents(self.cache).items()} == dict(expected)
        assert self.cache.currsize == self.model.currsize
        mine = [entry for entry in self.log if entry[2] in {"size", "replaced"}]
        assert mine == [entry for entry in self.model.log if entry[2] in {"size", "replaced"}]

    def teardown(self):
        if hasattr(self, "cache"):
            self.cache.expire()
            self.model.expire()
            assert sorted(self.log) == sorted(self.model.log)


class LooseModel:
    """What may be in a cache whose victims are its own business: every entry that was written and not taken out."""

    def __init__(self, machine, capacity, ttl, tti):
        self.machine, self.maxsize = machine, capacity
        self.ttl, self.tti, self.timer = ttl or float("inf"), tti or float("inf"), machine.clock
        self.entries = {}  # name -> [value, deadline, idle deadline]

    def contents(self):
        """What is left when the removals that the listener told are taken away."""
        now = self.timer()
        for name, value, cause in self.machine.log:
            if cause != "replaced" and name in self.entries and self.entries[name][0] == value:
                if cause == "expired":
                    assert now >= min(self.entries[name][1:])
                del self.entries[name]
        self.machine.log.clear()
        return {name: entry[0] for name, entry in self.entries.items() if now < min(entry[1:])}

    def get(self, name):
        value = self.contents().get(name)
        if value is not None:
            self.entries[name][2] = self.timer() + self.tti
        return value

    def peek(self, name):
        return self.contents().get(name)

    def set(self, name, value, ttl=None):
        now = self.timer()
        self.contents()
        self.entries[name] = [value, now + (self.ttl if ttl is None else ttl), now + self.tti]

    def add(self, name, value, ttl=None):
        if name in self.contents():
            return False
        self.set(name, value, ttl)
        return True

    def touch(self, name, ttl=None):
        if name not in self.contents():
            return False
        self.entries[name][1:] = [self.timer() + (self.ttl if ttl is None else ttl), self.timer() + self.tti]
        return True

    def delete(self, name):
        return self.contents() is not None and self.entries.pop(name, None) is not None

    def resize(self, maxsize):
        self.maxsize = maxsize

    def clear(self):
        self.entries.clear()

    def expire(self):
        alive = self.contents()
        self.entries = {name: self.entries[name] for name in alive}


class LooseMachine(Machine):
    """Compares the cache with what the listener has not explained away."""

    def make_model(self, capacity, ttl, tti):
        return LooseModel(self, capacity, ttl, tti)

    def model_popitem(self, name):
        return name, self.popped[name]

    @rule()
    def popitem(self):
        alive = self.model.contents()
        if not alive:
            return
        self.popped = alive
        key, value = self.cache.popitem()
        assert alive[key.name] == value
        self.model.entries.pop(key.name, None)

    @rule(name=NAMES)
    def pop(self, name):
        expected = self.model.peek(name)
        assert self.cache.pop(self.key(name), None) == expected
        self.model.entries.pop(name, None)

    @rule(name=NAMES)
    def delete(self, name):
        expected = self.model.peek(name)
        try:
            del self.cache[self.key(name)]
        except KeyError:
            assert expected is None
        else:
            assert expected is not None
        self.model.entries.pop(name, None)

    @rule(names=st.lists(NAMES, max_size=6))
    def delete_many(self, names):
        alive = self.model.contents()
        assert self.cache.delete_many(map(self.key, names)) == len(alive.keys() & set(names))
        for name in names:
            self.model.entries.pop(name, None)

    @rule(names=st.lists(NAMES, max_size=6), weight=VALUES, ttl=LIFETIMES)
    def set_many(self, names, weight, ttl):
        """One by one here: a batch evicts among itself, and the log is read between the writes."""
        for name in names:
            self.set(name, weight, ttl)

    def compare(self):
        alive = self.model.contents()
        assert {key.name: value for key, value in contents(self.cache).items()} == alive
        assert len(self.cache) == len(alive)
        weigh_ = self.weigh or (lambda value: 1)
        assert self.cache.currsize == sum(map(weigh_, alive.values()))
        assert {key.name for key, _ in self.cache.coldest()} == alive.keys()


class LRUMachine(Copying, ExactMachine):
    policy = "lru"


class LFUMachine(Copying, ExactMachine):
    policy = "lfu"


class FIFOMachine(Copying, ExactMachine):
    policy = "fifo"


class ARCMachine(ExactMachine):
    """Unit weights, as in the paper; a copy has no ghosts, so copies are left to the contract tests."""

    policy = "arc"
    weighable = False
    colliding = False


class SieveMachine(Copying, ExactMachine):
    policy = "sieve"


class ClockMachine(Copying, ExactMachine):
    policy = "clock"


class SLRUMachine(Copying, ExactMachine):
    """Unit weights; the oracle counts."""

    policy = "slru"
    weighable = False


class S3FIFOMachine(ExactMachine):
    """As ARC's; this one's ghosts are hashes, too."""

    policy = "s3fifo"
    weighable = False
    colliding = False


class TwoQMachine(S3FIFOMachine):
    policy = "twoq"


class LIRSMachine(S3FIFOMachine):
    policy = "lirs"


class GDSFMachine(ExactMachine):
    """Unit weights; a copy has its ranks to 16 bits, so copies are left to the contract tests."""

    policy = "gdsf"
    weighable = False


class TinyLFUMachine(Copying, LooseMachine):
    policy = "tinylfu"


class AutoMachine(Copying, LooseMachine):
    policy = "auto"


class RRMachine(Copying, LooseMachine):
    policy = "rr"


TestLRU = LRUMachine.TestCase
TestLFU = LFUMachine.TestCase
TestFIFO = FIFOMachine.TestCase
TestARC = ARCMachine.TestCase
TestSieve = SieveMachine.TestCase
TestClock = ClockMachine.TestCase
TestSLRU = SLRUMachine.TestCase
TestS3FIFO = S3FIFOMachine.TestCase
TestTwoQ = TwoQMachine.TestCase
TestLIRS = LIRSMachine.TestCase
TestGDSF = GDSFMachine.TestCase
TestTinyLFU = TinyLFUMachine.TestCase
TestAuto = AutoMachine.TestCase
TestRR = RRMachine.TestCase
