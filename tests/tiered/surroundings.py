"""What surrounds the flows of a schedule: time, servers and the ways to them, and caches without their shells."""

import contextlib
import dataclasses
import zlib
from collections import defaultdict, deque
from unittest import mock

from tiers import dict_tier
from tiers.dict_tier import DictTier, Storage

import hotset.tiered.cache
import hotset.tiers.memory
from hotset._engine import Fresh
from hotset.tiered import books, bulk, flow, hearsay, loads, writes
from hotset.tiered.cache import _Ear
from hotset.tiered.flights import Flights, _scopes
from hotset.tiered.flow import Logic
from hotset.tiered.level import Level
from hotset.tiered.pending import Pending
from hotset.tiers.memory import MemoryTier
from hotset.versions import VERSION_BYTES


class Clock:
    """Stands for the module `time` where the logic reads it."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    perf_counter = time = monotonic


CLOCK = Clock()


class Versions:
    """Stands for `new_version` where the logic calls it."""

    def __init__(self):
        self.drawn = 0

    def __call__(self):
        self.drawn += 1
        return self.drawn.to_bytes(2, "big") + bytes(VERSION_BYTES - 2)


VERSIONS = Versions()


@contextlib.contextmanager
def virtual_time():
    """Have logic, memories and shared levels live in CLOCK; and names share generations in all processes alike."""
    with contextlib.ExitStack() as stack:
        for module in (books, bulk, flow, hearsay, loads, writes, hotset.tiers.memory, hotset.tiered.cache, dict_tier):
            stack.enter_context(mock.patch.object(module, "time", CLOCK))
        stack.enter_context(mock.patch.object(books, "new_version", VERSIONS))
        stack.enter_context(mock.patch.object(hearsay, "_LONGEST", 1e-3))
        digest = mock.patch.object(hotset.tiers.memory, "hash", _digest, create=True)
        stack.enter_context(digest)
        yield


def anew(version):
    """Return the version that a value has when its life was ended: another one, the same in every run."""
    return version[:-1] + bytes([(version[-1] + 1) % 256])


def _digest(name):
    return zlib.crc32(name.encode())


class AlwaysBreaker:
    """A breaker that lets everything through: failures are the scheduler's."""

    state = "closed"
    closed = True

    def allow(self):
        return True

    def success(self):
        pass

    failure = cancelled = reset = success


class Server(Storage):
    """What a shared level holds, and who is told of its changes."""

    def __init__(self, name, first_epoch):
        super().__init__()
        self.name = name
        self.epochs = defaultdict(lambda: first_epoch)
        self.streams = []

    def announce(self, message, sender):
        """Send to all that are connected what has been changed."""
        for stream in self.streams:
            stream.send(message, sender)

    def live(self, tier, name):
        """Return the entry that a read would serve, or None."""
        entry = tier.present(name)
        return None if entry is None or entry.life <= 0 or tier.is_dead(entry) else entry

    def lose(self, tier, names):
        """Drop names without anybody asking for it."""
        for name in names:
            if self.kept.pop(tier.place(name), None) is not None:
                self.states[tier.place(name)] += 1
                if tier.mode == "tracking":
                    self.announce(("changed", name), None)


class SharedTier(DictTier):
    """One cache's way to a server. Announces as the server does: of what is not there no change is heard of."""

    def __init__(self, server, mode):
        super().__init__(server)
        self.name = server.name
        self.mode = mode
        self.streams = bool(mode)
        self.silent = False

    def open(self, namespace, listener):
        self.namespace, self.listener = namespace, listener

    def close(self):
        pass

    def tell(self, told, *args):
        if not self.mode or self.silent:
            return
        if told == "changed":
            self.storage.announce(("changed", args[0][0]), self)
        else:
            self.storage.announce(("invalidated", *args), self)

    def fill(self, items):
        self.silent = self.mode == "pubsub" and all(self.place(name) not in self.storage.kept for name, _, _ in items)
        try:
            return super().fill(items)
        finally:
            self.silent = False

    def write(self, items):
        present = self.storage.epochs[self.namespace]
        super().write([(name, dataclasses.replace(entry, epoch=present)) for name, entry in items])

    def remove(self, names, *, expire=False):
        for name in names:
            self.silent = self.mode == "tracking" and self.place(name) not in self.storage.kept
            try:
                super().remove([name], expire=expire)
                if expire and (entry := self.present(name)) is not None:
                    # No touch may prolong it, and no fence or version of before is good any more.
                    self.put(name, dataclasses.replace(entry, life=float("-inf"), version=anew(entry.version)))
            finally:
                self.silent = False

    def touch(self, name, life, keep):
        entry = self.present(name)
        ended = entry is not None and entry.life == float("-inf")
        there = super().touch(name, entry.life if ended else life, keep)
        if there:
            self.tell("changed", [name])
        return there


class HostTier(DictTier):
    """A level that only the caches of one host share; what others change it has by hearsay."""

    name = "host"
    local = True
    streams = True  # but nobody is told: all are told by the servers

    def open(self, namespace, listener):
        self.namespace, self.listener = namespace, listener

    def close(self):
        pass

    def tell(self, told, *args):
        pass

    def write(self, items):
        raise AssertionError("what is written beneath must come here by a read")

    def forget(self, names, tags):
        self.remove(names)
        if tags:
            self.invalidate(tags)


class Inbox:
    """What a server has announced to one cache and the cache has not taken in; as `hotset.tiers.stream` does it."""

    def __init__(self, server, tier, ear):
        self.server, self.tier, self.ear = server, tier, ear
        self.messages = deque()
        self.questions = deque()  # [name, version at the server or None for not asked yet], or when a heartbeat began
        self.connected = False
        self.begun = None
        self.sent = self.taken = 0  # messages, those that were lost among them
        self.first = 0  # those that were sent before the connection was established

    def send(self, message, sender):
        """Take a message from the server, or lose it."""
        if message[0] == "invalidated" and sender is self.tier:
            return
        if self.tier.mode == "pubsub" and sender is self.tier:
            return
        self.sent += 1
        if self.connected:
            self.messages.append((self.sent, message))

    def steps(self):
        """Return what may happen next."""
        if not self.connected:
            return [self.begin if self.begun is None else self.establish]
        steps = []
        if self.messages:
            steps.append(self.deliver)
        if any(isinstance(question, list) and not question[2] for question in self.questions):
            steps.append(self.ask)
        if self.questions and isinstance(self.questions[0], list) and self.questions[0][2]:
            steps.append(self.answer)
        return steps

    def cut(self):
        """Lose the connection, and what was on its way."""
        self.connected = False
        self.begun = None
        self.messages.clear()
        self.questions.clear()
        self.ear.lost()

    def begin(self):
        self.begun = CLOCK.now

    def establish(self):
        """Be told of changes from here on; the report comes when the first answer does."""
        self.connected = True
        self.first = self.sent
        self.messages.append((self.sent, ("established", self.begun)))

    def heartbeat(self):
        if self.connected:
            self.messages.append((self.sent, ("alive", CLOCK.now)))

    def deliver(self):
        number, (kind, *rest) = self.messages.popleft()
        if kind == "changed":
            if self.tier.mode == "pubsub" or self.ear.own_version(rest[0]) is None:
                self.ear.changed([rest[0]])
            else:
                self.questions.append([rest[0], None, False, number])
                return
        elif kind == "invalidated":
            self.ear.invalidated(*rest)
        elif kind == "established":
            self.ear.lost()
            self.ear.alive(rest[0])
        elif self.questions:
            self.questions.append(rest[0])
        else:
            self.ear.alive(rest[0])
        if not self.questions:
            self.taken = number

    def ask(self):
        question = next(one for one in self.questions if isinstance(one, list) and not one[2])
        entry = self.tier.present(question[0])
        question[1], question[2] = None if entry is None else entry.version, True

    def answer(self):
        name, version, _, number = self.questions.popleft()
        if version is None or version != self.ear.own_version(name):
            self.ear.changed([name])
        while self.questions and not isinstance(self.questions[0], list):
            self.ear.alive(self.questions.popleft())
        if not self.questions:
            number = self.messages[0][0] - 1 if self.messages else self.sent
        self.taken = max(self.taken, number)


class KnownFlights(Flights):
    """Flights that can be found by the code that belongs to them."""

    __slots__ = ("known",)

    def __init__(self):
        super().__init__()
        self.known = {}

    def join(self, key):
        flight, leads = super().join(key)
        self.known.setdefault(flight._load, (flight, CLOCK.now))
        return flight, leads

    def led(self, key, context):
        """Return the flight of a key that the code of this context leads."""
        flights = [self.known[load][0] for load, _ in context.run(_scopes.get) if load in self.known]
        return next((flight for flight in flights if flight.key == key), None)


class CacheUnderTest:
    """What `TieredCache` is made of, without its shells."""

    def __init__(self, schedule, number):
        config = schedule.config
        self.name = f"cache {number}"
        self.memory = None
        memory_level = None
        if config.memory:
            self.memory = MemoryTier(config.capacity, policy=schedule.rng.choice(("lru", "tinylfu")))
            memory_level = Level(self.memory, AlwaysBreaker())
        self.tiers = [SharedTier(server, config.stream) for server in schedule.servers]
        hosts = [HostTier(schedule.hosts[number % 2])] if config.local and config.stream and self.tiers else []
        self.below = [Level(tier, AlwaysBreaker()) for tier in hosts + self.tiers]
        self.pending = Pending(self.below, max_items=100, delay=1e-6, changed=lambda: None)
        for queue in self.pending.queues.values():
            queue._clock = CLOCK.monotonic
            queue._longest = 1e-3
        guard = Fresh(None, float("inf"))
        options = schedule.options
        self.logic = Logic("test", memory_level, self.below, self.pending, options, guard, self.name)
        self.logic.flights = KnownFlights()
        self.inboxes = []
        ears = []
        for tier in hosts:
            tier.open("test", None)
        for server, tier, level in zip(schedule.servers, self.tiers, self.below[len(hosts) :], strict=True):
            ear = _Ear(self.logic, level)
            tier.open("test", ear)
            if config.stream:
                ears.append(ear)
                inbox = Inbox(server, tier, ear)
                server.streams.append(inbox)
                self.inboxes.append(inbox)
        if ears:
            guard.until = float("-inf")
            for ear in ears:
                ear.others = ears
        if self.memory is not None:
            self.memory.open("test", _Ear(self.logic, memory_level))
        self.loading = defaultdict(dict)  # key -> task -> its effect and flight
        self.recovering = False

    def look(self, key):
        """Return what the engine serves by itself, or None."""
        if self.memory is None:
            return None
        record = self.memory.store.get(key)
        if record is not None and record.until > CLOCK.now and self.logic.guard.until > CLOCK.now:
            return record
        return None
