"""A deterministic scheduler of the tiered cache, and a checker of what it promises.

Several caches, each with a memory of its own, stand for processes that share one or two levels. The logic is written as
flows that yield effects, so a third driver beside threads and loops can stop every flow at every effect, before it is
done and between its being done and its answer, and go on with any other one. Beside flows these are steps, too:
each message to each cache, in order per stream and as late as it likes; heartbeats; that a stream is cut, and
established again; the passing of time; evictions; the replay of what a level has missed. What is random is drawn from
the seed alone.

The origin holds a number a key, which writers count up before they tell the cache. What a cache returns is such a
number, and an entry carries it as a tag also where it says that there is nothing. What is checked, by the letters in a
`Violation`:

a  In one cache, no read that starts after a write, an invalidation or a removal has returned gives an older number.
b  Nor does one in another cache, once all messages sent until then have come, if no stream was ever cut and no level
   failed, or else once `max_staleness` is over; but a read that joins a load gives what that brings.
c  At the shared levels nothing older is ever live after a change returned that no level failed.
d  At the end, when all is told and replayed, no level has anything live but the newest.
e  No two loads of one key run at once in a cache, unless the key was fenced in between.
f  Every flow ends, and raises nothing but what a loader raised, or that it took too long.

Writers of one key take turns if one of them stores a value: which of two racing values is last is nobody's to say.
Without that (`racing`) a and c do not hold, and d asks instead that no memory keeps anything but the newest or what the
first shared level has, dead or alive.
"""

import contextvars
import dataclasses
import functools
import random
from asyncio import CancelledError
from collections import defaultdict
from unittest import mock

from tiered.surroundings import CLOCK, VERSIONS, CacheUnderTest, Server, Storage, virtual_time
from tiered.tasks import Effect, Task

import hotset.tiers.memory
from hotset.errors import LoadTimeout, TierTimeout
from hotset.tiered.options import Options
from hotset.tiered.origin import Origin
from hotset.tiered.values import ABSENT, MISSING, Loaded
from hotset.tiers.contract import CLEAR

MOST_STEPS = 20_000
GROUPS = ("red", "blue")
KINDS = ("get", "get", "get", "get_many", "set", "invalidate", "delete", "expire", "touch", "tags", "clear")


class Violation(AssertionError):
    """A promise that was not kept: its letter, what happened, and how to see it again."""

    def __init__(self, kind, text, schedule):
        self.kind = kind
        trace = "\n  ".join(schedule.trace)
        super().__init__(f"({kind}) {text}\nseed {schedule.seed}, {schedule.config}\n  {trace}")


class LoaderError(Exception):
    """What the origin raises when it is down."""


@dataclasses.dataclass(frozen=True)
class Config:
    """What a schedule is made of. Shares are of 1."""

    caches: int = 2
    keys: int = 2
    operations: int = 8
    at_once: int = 4
    memory: bool = True
    capacity: int = 100
    shared_levels: int = 1
    local: bool = False  # a level above them, of every second cache's host
    stream: str = "tracking"  # or "pubsub", or "" for none
    failures: float = 0.0  # of what is asked of a level
    load_failures: float = 0.0
    timeouts: float = 0.0
    cancels: float = 0.0
    cuts: bool = False
    evictions: bool = False
    crashes: bool = False
    switches: bool = False
    keep: float = 0.0
    revalidate: float = 0.0
    refresh: bool = False
    negative: float = 0.0
    loop_style: bool = False
    time_passes: bool = True
    one_generation: bool = False  # all names of a memory share one
    racing: bool = False
    aside: bool = False  # without a loader
    kinds: tuple[str, ...] = KINDS  # of operations, as often as they are named

    @classmethod
    def drawn(cls, rng):
        """Return a configuration; most features are off in most of them, so that schedules stay short."""

        def often(share):
            return rng.random() < share

        return cls(
            caches=rng.choice((1, 2, 2, 2, 3)),
            keys=rng.choice((1, 1, 2, 3)),
            operations=rng.randint(2, 10),
            at_once=rng.randint(2, 5),
            memory=not often(0.05),
            capacity=1 if often(0.1) else 100,
            shared_levels=rng.choice((1, 1, 1, 1, 2, 0)),
            stream=rng.choice(("tracking", "tracking", "pubsub", "")),
            failures=rng.choice((0.0, 0.0, 0.1, 0.3)),
            load_failures=rng.choice((0.0, 0.0, 0.3)),
            timeouts=rng.choice((0.0, 0.0, 0.0, 0.1)),
            cancels=rng.choice((0.0, 0.0, 0.0, 0.05)),
            cuts=often(0.2),
            evictions=often(0.2),
            crashes=often(0.05),
            switches=often(0.05),
            keep=rng.choice((0.0, 0.0, 100.0)),
            revalidate=rng.choice((0.0, 0.0, 0.0, 50.0)),
            refresh=often(0.2),
            negative=rng.choice((0.0, 20.0)),
            loop_style=often(0.5),
            time_passes=often(0.6),
            one_generation=often(0.1),
            racing=often(0.1),
            aside=often(0.1),
            local=often(0.25),
            kinds=("get", "get", "get", *rng.sample(KINDS[4:], 2)) if often(0.4) else KINDS,
        )


@dataclasses.dataclass
class Promise:
    """A change that has returned."""

    number: int
    cache: CacheUnderTest
    returned: float
    sent: dict  # inbox -> messages that had been sent to it by then
    announced: set  # inboxes that were sent one of this change
    clean: bool  # no level failed
    soft: bool  # kept for fail-safe


class Operation:
    """What a user has asked of a cache."""

    def __init__(self, kind, keys):
        self.kind, self.keys = kind, keys
        self.numbers = {}
        self.announced = set()  # inboxes that were sent a message of what this has changed
        self.failed = False
        self.needs = {}
        self.loads_failed = 0


class Schedule:
    """One run of several flows in one order, drawn from a seed."""

    def __init__(self, seed, config=None, **changes):
        self.seed = seed
        self.rng = random.Random(seed)
        drawn = Config.drawn(self.rng)
        self.config = dataclasses.replace(config or drawn, **changes)
        if not self.config.shared_levels:  # they have nothing in common, and nothing to agree with
            self.config = dataclasses.replace(self.config, caches=1, racing=False)
        self.chance = lambda share: share > 0 and self.rng.random() < share
        self.trace = []
        self.draining = False
        self.steps = self.reads = self.loads = 0
        CLOCK.now = 1000.0
        VERSIONS.drawn = 0
        config = self.config
        self.options = Options(
            ttl=30.0,
            keep=config.keep,
            jitter=0.0,
            negative_ttl=config.negative,
            refresh_ahead=0.5 if config.refresh and config.memory else None,
            stale_while_revalidate=config.revalidate if config.memory else 0.0,
            hard_timeout=20.0 if config.timeouts else None,
            soft_timeout=5.0 if config.timeouts and config.keep else None,
        )
        self.servers = [Server(f"level {number}", 1000 * number) for number in range(config.shared_levels)]
        self.hosts = [Storage(), Storage()]
        self.keys = [f"k{number}" for number in range(config.keys)]
        self.origin = dict.fromkeys(self.keys, 0)
        self.tombs = defaultdict(set)  # key -> numbers of its absence
        self.promises = defaultdict(list)  # key -> changes that have returned
        self.locks = defaultdict(lambda: [0, 0])  # key -> those who store, those who only remove
        self.caches = [CacheUnderTest(self, number) for number in range(config.caches)]
        self.tasks = []
        self.asking = None  # the task that calls the origin
        self.broken = set()  # (level, operation) that fails without being done
        self.left = config.operations
        self.dirty = False
        self.numbers = 0
        self.stickiness = self.rng.choice((0.0, 0.5, 0.9))
        self.unevenness = self.rng.choice((0.5, 1.5, 3.0))  # how much slower some tasks are, as a power of ten
        self.last = None
        self.speed = {inbox: 10 ** self.rng.uniform(-1.5, 0.5) for cache in self.caches for inbox in cache.inboxes}
        for inbox in self.speed:
            if self.rng.random() < 0.9:
                inbox.begin()
                inbox.establish()
                inbox.deliver()

    def group(self, key):
        return GROUPS[self.keys.index(key) % 2]

    # Running

    def run(self):
        """Run to the end. Raises Violation."""
        with mock.patch.object(hotset.tiers.memory, "_GENERATIONS", 1 if self.config.one_generation else 4096):
            while self.left or self.tasks:
                self.one_step()
            self.drain()
        return self

    def one_step(self):
        self.steps += 1
        CLOCK.now += 1e-6  # no two steps are at the same moment
        if self.steps > MOST_STEPS:
            self.fail("f", f"does not end: {[task.name for task in self.tasks]}")
        last = self.last
        if last is not None and not last.over and self.rng.random() < self.stickiness and last.ready():
            self.take(last)
            return
        choices, weights = [], []
        for task in self.tasks:
            if task.ready():
                choices.append(functools.partial(self.take, task))
                weights.append(task.weight)
        if self.left and len([task for task in self.tasks if task.operation]) < self.config.at_once:
            choices.append(self.begin_operation)
            weights.append(0.3)
        elif self.tasks and not choices and not self.draining:
            # Nobody can go on but by a message or by time.
            if not any(task.waiter is not None and task.effect.timeout is not None for task in self.tasks):
                self.fail("f", f"nobody can go on: {[task.name for task in self.tasks]}")
        for step, weight in self.surroundings():
            choices.append(step)
            weights.append(weight)
        if choices:
            self.rng.choices(choices, weights)[0]()
            if self.dirty:
                self.dirty = False
                self.check_shared()

    def take(self, task):
        self.last = task
        task.step()
        if task.over:
            self.tasks.remove(task)
        if self.dirty:
            self.dirty = False
            self.check_shared()

    def surroundings(self):
        """Yield what may happen that no flow does, with weights."""
        config = self.config
        for cache in self.caches:
            for inbox in cache.inboxes:
                speed = self.speed[inbox]
                for step in inbox.steps():
                    yield functools.partial(self.surround, step, f"{cache.name} {inbox.server.name}", inbox), speed
                if inbox.connected:
                    yield inbox.heartbeat, 0.05
                    if config.cuts:
                        yield (
                            functools.partial(self.surround, inbox.cut, f"{cache.name} {inbox.server.name}", inbox),
                            0.02,
                        )
            # When only replays are left, the end has some of its own: else cuts could go on for ever.
            if cache.pending and not cache.recovering and (self.left or any(task.operation for task in self.tasks)):
                yield functools.partial(self.replay, cache), 0.2
            if config.switches and cache.below:
                yield functools.partial(self.switch, cache), 0.02
        if config.time_passes:
            yield self.pass_time, 0.1
        if config.evictions:
            yield self.evict, 0.05
        if config.crashes and self.servers:
            yield self.crash, 0.01

    def surround(self, step, who, inbox):
        what = ""
        if step.__name__ == "deliver":
            what = f" {inbox.messages[0][1]}"
        elif step.__name__ == "answer":
            what = f" {inbox.questions[0][:2]}"
        self.trace.append(f"{CLOCK.now - 1000:7.2f} stream of {who}: {step.__name__}{what}")
        step()

    def pass_time(self):
        CLOCK.now += self.rng.choice((0.01, 0.1, 0.6, 1.5, 8.0, 40.0))
        self.trace.append(f"{CLOCK.now - 1000:7.2f} time has passed")

    def evict(self):
        key = self.rng.choice(self.keys)
        if self.servers and self.chance(0.6):
            server = self.rng.choice(self.servers)
            server.lose(self.caches[0].tiers[self.servers.index(server)], [key])
            self.trace.append(f"{CLOCK.now - 1000:7.2f} {server.name} evicts {key}")
            return
        cache = self.rng.choice(self.caches)
        if cache.memory is not None:
            record = cache.memory.store.pop(key, None)
            if record is not None:
                cache.memory._left(key, record, "size")
            self.trace.append(f"{CLOCK.now - 1000:7.2f} {cache.name} evicts {key}")

    def crash(self):
        """A server loses all that it holds; its epochs go on with the time, as those of a real one do."""
        place = self.rng.randrange(len(self.servers))
        server = self.servers[place]
        self.trace.append(f"{CLOCK.now - 1000:7.2f} {server.name} begins anew")
        for inbox in server.streams:
            if inbox.connected:
                inbox.cut()
        for state in list(server.states):
            server.states[state] += 1
        server.kept.clear()
        server.epochs["test"] += 1_000_000
        server.ended = {("test", CLEAR): server.epochs["test"]}

    def switch(self, cache):
        level = self.rng.choice([*cache.below, cache.logic.memory_level or cache.below[0]])
        level.on = not level.on
        if level is cache.logic.memory_level:
            cache.memory.doubt() if level.on else cache.memory.store.clear()
        self.trace.append(f"{CLOCK.now - 1000:7.2f} {cache.name} switches {level.name} {'on' if level.on else 'off'}")

    def replay(self, cache):
        cache.recovering = True
        CLOCK.now += 0.002  # as long as the queue pauses at most

        def flow():
            try:
                yield from cache.pending.replay()
            finally:
                cache.recovering = False

        self.numbers += 1
        self.tasks.append(Task(self, cache, f"{cache.name} replay {self.numbers}", flow(), contextvars.Context()))

    def spawn(self, parent, flow, at_end):
        self.numbers += 1
        name = f"{parent.cache.name} background {self.numbers} of {parent.name.split()[-1]}"
        self.tasks.append(Task(self, parent.cache, name, flow, parent.context.copy(), at_end=at_end))

    def fail(self, kind, text):
        raise Violation(kind, text, self)

    # What flows ask for

    def perform_ask(self, task):
        """Do one operation of a level, or fail before or after it."""
        ask = task.effect
        failing = self.config.failures if not self.draining else 0.0
        before, after = self.chance(failing / 2), self.chance(failing / 2)
        before = before or (ask.level.name, ask.operation) in self.broken
        changes = ask.operation in {"write", "remove", "invalidate", "touch"}
        result, error = None, None
        if before:
            error = TierTimeout("not done")
        else:
            sent = self.sent()
            try:
                result = ask.level.ask(ask.operation, *ask.arguments, **ask.named)
            except Exception as raised:  # switched off
                error = raised
            self.dirty = True
            if changes and task.operation is not None:
                task.operation.announced |= {inbox for inbox, before in sent.items() if inbox.sent > before}
            if error is None and after:
                result, error = None, TierTimeout("done")
        if error is not None and changes and task.operation is not None:
            task.operation.failed = True
        task.log(
            f"{ask.level.name} {ask.operation} {_shown(ask.arguments)} -> "
            f"{_shown(result) if error is None else error!r}"
        )
        return result, error

    def perform_load(self, task, function, arguments):
        """Ask the origin: what it says is of this moment, and arrives later."""
        self.asking = task
        try:
            value = function(*arguments)
        except LoaderError as error:
            task.log(f"{getattr(function, '__name__', 'load')} {arguments} fails")
            return None, error
        task.log(f"{getattr(function, '__name__', 'load')} {arguments} -> {_shown(value)}")
        return value, None

    def load(self, key):
        task = self.asking
        self.loads += 1
        loading = task.cache.loading[key]
        flight = task.cache.logic.flights.led(key, task.context)
        if flight is None:
            self.fail("e", f"{task.name} loads {key} without leading its flight")
        for other, (effect, its_flight) in list(loading.items()):
            if other.over or other.cancelled or other.effect is not effect:
                del loading[other]
            elif other is not task and not (flight.detached or its_flight.detached):
                self.fail("e", f"{task.name} and {other.name} load {key} at once")
        loading[task] = task.effect, flight
        if not self.draining and self.chance(self.config.load_failures):
            raise LoaderError(key)
        number = self.origin[key]
        value = ABSENT if number in self.tombs[key] else number
        return Loaded(value, tags=(self.group(key), f"#{number}"))

    def load_many(self, keys):
        return {key: self.load(key) for key in keys}

    def save(self, key, value):
        self.bump(self.asking.operation, key)

    def bump(self, operation, key, *, tomb=False):
        """Count a key up at the origin."""
        self.origin[key] += 1
        operation.numbers[key] = self.origin[key]
        if tomb:
            self.tombs[key].add(self.origin[key])

    # What users do

    def begin_operation(self):
        self.left -= 1
        cache = self.rng.choice(self.caches)
        kind = self.rng.choice(self.config.kinds)
        key = self.rng.choice(self.keys)
        keys = [key]
        if kind == "get_many":
            keys = self.rng.sample(self.keys, self.rng.randint(1, len(self.keys)))
        elif kind == "invalidate" and self.chance(0.3):
            keys = list(self.keys)
        elif kind == "tags":
            keys = [one for one in self.keys if self.group(one) == self.group(key)]
        elif kind == "clear":
            keys = list(self.keys)
        self.begin(cache, kind, keys)

    def begin(self, cache, kind, keys):
        """Begin one operation; the task, which stands before its first effect."""
        self.numbers += 1
        operation = Operation(kind, keys)
        name = f"{cache.name} {kind} {','.join(keys)} {self.numbers}"
        flow = getattr(self, f"{kind}_flow")(cache, operation)
        task = Task(self, cache, name, flow, contextvars.Context(), operation=operation)
        self.tasks.append(task)
        if kind in {"get", "get_many"}:
            operation.needs = {one: self.needed(cache, one) for one in keys}
        task.log("begins")
        task.resume(None, None)
        if task.over:
            self.tasks.remove(task)
        return task

    def sent(self):
        return {inbox: inbox.sent for cache in self.caches for inbox in cache.inboxes}

    def loader(self):
        return None if self.config.aside else self.load

    def get_flow(self, cache, operation):
        (key,) = operation.keys
        record = cache.look(key)
        if record is not None:
            return record.value
        return (yield from cache.logic.get(key, self.options, self.loader(), looked=True))

    def get_many_flow(self, cache, operation):
        load_many = self.load_many if self.chance(0.5) and not self.config.aside else None
        return (yield from cache.logic.get_many(operation.keys, self.options, self.loader(), load_many))

    def holding(self, operation, inner, *, stores):
        """Have writers take turns while one of them stores."""
        keys = sorted(operation.keys)
        mine = 0 if stores else 1
        held = []
        try:
            for key in () if self.config.racing else keys:
                lock = self.locks[key]
                free = functools.partial(self.free, lock, stores)
                yield Effect(functools.partial(self.hold, lock, mine), f"takes {key}", free)
                held.append(lock)
            yield from inner
        finally:
            for lock in held:
                lock[mine] -= 1

    def hold(self, lock, mine):
        lock[mine] += 1

    def free(self, lock, stores):
        return not lock[0] and not (stores and lock[1])

    def set_flow(self, cache, operation):
        (key,) = operation.keys
        if self.chance(0.5):
            return self.save_flow(cache, operation)
        absent = self.chance(0.3)

        def inner():
            yield Effect(functools.partial(self.bump, operation, key, tomb=absent), f"counts {key} up")
            value = ABSENT if absent else Numbered(operation, key)
            tags = (self.group(key), Tagged(operation, key))
            yield from cache.logic.write({key: value}, self.options, tags, None)

        return self.holding(operation, inner(), stores=True)

    def save_flow(self, cache, operation):
        """A set whose `save` counts the key up."""
        (key,) = operation.keys
        tags = (self.group(key), Tagged(operation, key))
        flow = cache.logic.write(
            {key: Numbered(operation, key)}, self.options, tags, Origin(self.save, None, None, None).calls_to_save
        )
        return self.holding(operation, flow, stores=True)

    def remove_flow(self, cache, operation, *, expire=False, tomb=False):
        def inner():
            delete = None
            if tomb and self.chance(0.5):

                def delete(key):
                    self.bump(operation, key, tomb=True)

            else:
                for key in operation.keys:
                    yield Effect(functools.partial(self.bump, operation, key, tomb=tomb), f"counts {key} up")
            calls = None if delete is None else Origin(None, None, delete, None).calls_to_delete
            yield from cache.logic.remove(operation.keys, expire=expire, delete=calls)

        return self.holding(operation, inner(), stores=False)

    def invalidate_flow(self, cache, operation):
        return self.remove_flow(cache, operation)

    def delete_flow(self, cache, operation):
        return self.remove_flow(cache, operation, tomb=True)

    def expire_flow(self, cache, operation):
        return self.remove_flow(cache, operation, expire=True)

    def tags_flow(self, cache, operation):
        def inner():
            for key in operation.keys:
                yield Effect(functools.partial(self.bump, operation, key), f"counts {key} up")
            yield from cache.logic.invalidate((self.group(operation.keys[0]),))

        return self.holding(operation, inner(), stores=False)

    def clear_flow(self, cache, operation):
        def inner():
            for key in operation.keys:
                yield Effect(functools.partial(self.bump, operation, key), f"counts {key} up")
            yield from cache.logic.invalidate((CLEAR,))

        return self.holding(operation, inner(), stores=False)

    def touch_flow(self, cache, operation):
        (key,) = operation.keys
        return cache.logic.touch(key, self.options)

    # Checks

    def ended(self, task, value, error):
        """Look at what a flow has come to."""
        operation = task.operation
        if operation is None:
            if error is not None and not isinstance(error, (LoaderError, CancelledError)):
                self.fail("f", f"{task.name} raises {error!r}")
            return
        kind = operation.kind
        task.log(f"-> {value!r}" if error is None else f"raises {error!r}")
        if error is not None:
            allowed = isinstance(error, LoaderError) or (isinstance(error, CancelledError) and task.cancelled)
            if not allowed and not (isinstance(error, LoadTimeout) and self.options.hard_timeout):
                self.fail("f", f"{task.name} raises {error!r}")
            return
        if kind == "get":
            self.check_read(task, operation.keys[0], value)
        elif kind == "get_many":
            for key in operation.keys:
                self.check_read(task, key, value.get(key, MISSING))
        elif kind != "touch":
            sent = self.sent()
            for key, number in operation.numbers.items():
                clean, soft = not operation.failed, kind == "expire"
                promise = Promise(number, task.cache, CLOCK.now, sent, operation.announced, clean, soft)
                self.promises[key].append(promise)
            self.dirty = True

    def needed(self, cache, key):
        """Return what a read that begins now must give at least: own numbers, those that may be undercut, promises."""
        own = own_soft = 0
        told, late = [], []
        for promise in self.promises[key]:
            if promise.cache is cache:
                if promise.soft:
                    own_soft = max(own_soft, promise.number)
                else:
                    own = max(own, promise.number)
            if not promise.clean:
                continue
            # It is told if its streams have been well all the time, and of what the levels have been told.
            faults = self.config.failures or self.config.switches or self.config.cuts or self.config.crashes
            if (
                cache.inboxes
                and not faults
                and all(
                    inbox.connected and not inbox.first and inbox.taken >= promise.sent[inbox]
                    for inbox in cache.inboxes
                )
            ):
                told.append(promise)
            if promise.returned + self.options.max_staleness < CLOCK.now:
                late.append(promise)
        return own, own_soft, told, late

    def check_read(self, task, key, value):
        self.reads += 1
        if value is MISSING or (value is ABSENT and self.config.aside):
            return
        own, own_soft, told, late = task.operation.needs[key]
        if value is ABSENT:
            number = max(self.tombs[key], default=-1)
        else:
            number = value.number if isinstance(value, Numbered) else value
        if self.config.racing:
            return
        if number < own:
            self.fail("a", f"{task.name} gives {key} = {number} after {own} in the same cache")
        excused = self.may_serve_stale
        if number < own_soft and not excused:
            self.fail("a", f"{task.name} gives {key} = {number} after {own_soft} in the same cache")
        # Whoever joins a load gets what it brings, be it of before a change that was not announced.
        joined = task.joined.get(key, CLOCK.now)
        inboxes = set(task.cache.inboxes)
        told = [one.number for one in told if one.returned < joined or inboxes <= one.announced]
        late = [one.number for one in late if one.returned < joined]
        told, late = max(told, default=0), max(late, default=0)
        if number < told and not excused:
            self.fail("b", f"{task.name} gives {key} = {number} after it was told of {told}")
        if number < late and not excused:
            self.fail("b", f"{task.name} gives {key} = {number} more than max_staleness after {late}")

    @property
    def may_serve_stale(self):
        """Whether the origin fails: then, and for a while after, what is kept is served, but for no other reason."""
        return bool(self.config.keep and (self.config.load_failures or self.config.timeouts))

    def check_shared(self):
        """No shared level has anything live that is older than a clean promise."""
        if self.config.racing:
            return
        for key in self.keys:
            clean = max((promise.number for promise in self.promises[key] if promise.clean), default=0)
            for tier in self.caches[0].tiers:
                entry = tier.storage.live(tier, key)
                if entry is not None and number_of(entry) < clean:
                    self.fail("c", f"{tier.name} has {key} = {number_of(entry)} after {clean}")

    # Directions, where no chance is wanted

    def do(self, number, kind, until=None, times=1):
        """Begin an operation on all keys in one cache, and go on until it has asked levels for `until` so often."""
        task = self.begin(self.caches[number], kind, list(self.keys))
        while not task.over and times:
            self.take(task)
            times -= task.has_asked(until)
        return task

    def finish(self, task):
        """Go on with an operation to its end."""
        while not task.over:
            self.take(task)

    def tell(self, number):
        """Have a cache take in what was announced to it."""
        for inbox in self.caches[number].inboxes:
            while steps := inbox.steps():
                self.surround(steps[0], self.caches[number].name, inbox)

    def replay_all(self):
        """Tell the levels what they have missed."""
        for cache in self.caches:
            if cache.pending:
                self.replay(cache)
                self.finish(self.tasks[-1])

    def drain(self):
        """Let all come in and be replayed, and check what is left."""
        self.draining = True
        self.trace.append("--- the end ---")
        for cache in self.caches:
            for level in cache.below:
                level.on = True
            if cache.memory is not None and not cache.logic.memory_level.on:
                cache.logic.memory_level.on = True
                cache.memory.doubt()
        for _ in range(50):
            for cache in self.caches:
                if cache.pending:
                    self.replay(cache)
            while self.tasks:
                ready = [task for task in self.tasks if task.ready()]
                if not ready:
                    self.fail("f", f"nobody can go on: {[task.name for task in self.tasks]}")
                self.take(ready[0])
            for cache in self.caches:
                for inbox in cache.inboxes:
                    inbox.heartbeat()
                    while steps := inbox.steps():
                        self.surround(steps[0], cache.name, inbox)
            if not any(cache.pending for cache in self.caches):
                break
        else:
            self.fail("d", "what is pending is never replayed")
        CLOCK.now += self.options.max_staleness + 0.1
        for cache in self.caches:
            for inbox in cache.inboxes:
                inbox.heartbeat()
                while steps := inbox.steps():
                    self.surround(steps[0], cache.name, inbox)
        self.check_levels()
        self.check_last_reads()

    def check_levels(self):
        """Nothing has anything but the newest."""
        for key in self.keys:
            newest = self.origin[key]
            wanted = max((promise.number for promise in self.promises[key]), default=0)
            first = None
            for place, tier in enumerate(self.caches[0].tiers):
                entry = tier.storage.live(tier, key)
                if place == 0:
                    # What is dead there may be served still when the origin fails, and a level that has missed an
                    # invalidation is told of it when something newer is there already.
                    dead_counts = self.may_serve_stale or self.config.failures
                    first = tier.present(key) if dead_counts else entry
                if entry is not None and number_of(entry) < wanted and not self.config.racing:
                    self.fail("d", f"{tier.name} has {key} = {number_of(entry)} at the end, after {wanted}")
            for cache in self.caches:
                record = None if cache.memory is None else cache.memory.store.peek(key)
                if record is None or record.deadline <= CLOCK.now or not cache.logic._trusted(record, CLOCK.now):
                    continue
                number = number_of(record)
                # Of what was expired only, the value of before is kept for when the origin fails.
                firm = max((one.number for one in self.promises[key] if not one.soft), default=0)
                if number >= (firm if self.may_serve_stale else wanted) and not self.config.racing:
                    continue
                if number == newest or (first is not None and number == number_of(first)):
                    continue
                self.fail("d", f"{cache.name} has {key} = {number} in memory at the end, after {wanted}")

    def check_last_reads(self):
        """A read of everything at last; and of what nobody has changed at the end, the shared level's."""
        for cache in self.caches:
            for key in self.keys:
                operation = Operation("get", [key])
                self.numbers += 1
                task = Task(
                    self,
                    cache,
                    f"{cache.name} last get {key} {self.numbers}",
                    self.get_flow(cache, operation),
                    contextvars.Context(),
                    operation=operation,
                )
                operation.needs = {key: self.needed(cache, key)}
                self.tasks.append(task)
                while self.tasks:
                    ready = [one for one in self.tasks if one.ready()]
                    if not ready:
                        self.fail("f", f"nobody can go on: {[one.name for one in self.tasks]}")
                    self.take(ready[0])


class Numbered:
    """A value whose number the origin gives while it is stored."""

    def __init__(self, operation, key):
        self.operation, self.key = operation, key

    @property
    def number(self):
        return self.operation.numbers[self.key]

    def __repr__(self):
        return f"{self.operation.numbers.get(self.key, '?')}"


class Tagged(str):
    """A tag that says the number of a value that is being stored."""

    __slots__ = ("key", "operation")

    def __new__(cls, operation, key):
        self = super().__new__(cls, f"#{id(operation)}")
        self.operation, self.key = operation, key
        return self


def number_of(entry):
    """Return the origin's number of an entry or record."""
    for tag in entry.tags:
        if isinstance(tag, Tagged):
            return tag.operation.numbers[tag.key]
        if tag.startswith("#"):
            return int(tag[1:])
    raise AssertionError(f"{entry!r} has no number")


def _shown(thing):
    """Return a short text of what a level was asked or said."""
    if isinstance(thing, Loaded):
        return f"{thing.value!r} {thing.tags[-1]}"
    if hasattr(thing, "found"):
        return " ".join(f"[{_shown(found.entry)} fence {found.fence}]" for found in thing.found)
    if hasattr(thing, "life") and hasattr(thing, "version"):
        return f"{thing.value!r}{' (ended)' if thing.life <= 0 else ''} {thing.version.hex()[:4]}"
    if isinstance(thing, (list, tuple)):
        return " ".join(_shown(one) for one in thing)
    if isinstance(thing, dict):
        return " ".join(f"{key}: {_shown(value)}" for key, value in thing.items())
    return repr(thing)


def run(seed, config=None, **changes):
    """Run one schedule. Raises Violation."""
    with virtual_time():
        return Schedule(seed, config, **changes).run()
