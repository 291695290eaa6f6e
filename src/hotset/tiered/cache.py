"""The tiered cache: levels from this process's memory to the origin, behind one object."""

from __future__ import annotations

import asyncio
import functools
import math
import threading
import time
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from hotset._engine import Fresh, Memo
from hotset.durations import seconds
from hotset.forks import tell_child
from hotset.tiered.behind import Owner, WriteBehind
from hotset.tiered.breaker import Breaker
from hotset.tiered.budget import Budget
from hotset.tiered.decorated import decorated
from hotset.tiered.flow import Logic
from hotset.tiered.held import Invalidations, collecting
from hotset.tiered.latency import Latency
from hotset.tiered.level import Level
from hotset.tiered.options import Options
from hotset.tiered.origin import Origin
from hotset.tiered.pending import Pending
from hotset.tiered.shell import Shell
from hotset.tiered.stats import LevelStats, TieredStats
from hotset.tiered.values import ABSENT, MISSING, checked_tags, one_by, or_default
from hotset.tiered.write_policy import WritePolicies, WritePolicy, policy_of
from hotset.tiers.contract import CLEAR, Tier
from hotset.tiers.memory import MemoryTier

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Literal, Self, Unpack

    from hotset._engine import Cache
    from hotset.annotations import Decorated
    from hotset.lab.advice import Advice, Latencies, Prices
    from hotset.recording import Recording
    from hotset.tiered.effects import Flow
    from hotset.tiered.options import CacheOptions, CallOptions, Duration
    from hotset.tiered.stats import Explanation
    from hotset.tiered.unsaved import Unsaved
    from hotset.tiered.write_policy import WritePolicyChoice

__all__ = ["TieredCache"]

_LOOKS = 100  # into memory, to time one
_SMALL = 1 << 30  # ints below are looked up by the engine

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
_P = ParamSpec("_P")
_R = TypeVar("_R")


class TieredCache(Generic[K, V]):
    """A cache of several levels, fastest first, that stays coherent, loads once, and serves on when a level dies.

    `name` is its namespace in shared levels. `tiers` are objects of the `Tier` protocol; a `MemoryTier` may only be
    the first. `load(key)` gets a value from the origin, `load_many(keys)` several as a dict; both may be coroutine
    functions. Without them the cache is used aside: `get`, then `set`. `save(key, value)`, or `save_many(items)` with a
    dict, and `delete(key)`, or `delete_many(keys)`, write to the origin; one that has a parameter `seq` is told numbers
    by which to tell a repeated write (see `hotset.tiered.origin`).

    `write` says when they are called by `set` and `delete`: "through", "behind" (with `behind`, a WriteBehind),
    "around" or "invalidate"; or a mapping of key patterns to these, of which the first that fits counts; or a callable
    that returns one for a key (see `hotset.tiered.write_policy`).

    Keys are str, int, bytes or tuples of these. A cached None is a value; a loader says by returning ABSENT that there
    is nothing. All operations may be called from any thread; the same with an `a` before the name are for asyncio, on
    any loop.

    Options (see `Options`) are given here for the cache and to most methods for one call.

    Raises TypeError and ValueError for arguments that cannot be used, and warns (RuntimeWarning) of shared levels that
    do not keep through a crash what is written through them. A level that fails raises nothing here: it is counted, and
    left out as long as its breaker says so.
    """

    def __init__(
        self,
        name: str,
        tiers: Iterable[Tier],
        load: Callable[[K], Any] | None = None,
        *,
        load_many: Callable[[Sequence[K]], Any] | None = None,
        save: Callable[[K, V], Any] | None = None,
        save_many: Callable[[dict[K, V]], Any] | None = None,
        delete: Callable[[K], Any] | None = None,
        delete_many: Callable[[list[K]], Any] | None = None,
        write: WritePolicyChoice = "through",
        behind: WriteBehind | None = None,
        breaker: Callable[[], Breaker] = Breaker,
        writer: str = "",
        recovery_items: int = 10_000,
        recovery_delay: Duration = 1.0,
        **options: Unpack[CacheOptions],
    ) -> None:
        if type(name) is not str or not name or any(c.isspace() or c in "{}*" for c in name):
            raise ValueError(f"name must be a str without spaces, braces and asterisks, got {name!r}")
        for what, function in (("load", load), ("load_many", load_many)):
            if function is not None and not callable(function):
                raise TypeError(f"{what} must be callable or None, got {function!r}")
        if behind is not None and not isinstance(behind, WriteBehind):
            raise TypeError(f"behind must be a WriteBehind or None, got {behind!r}")
        self._origin = Origin(save, save_many, delete, delete_many)
        self.behind = behind
        self._policies = WritePolicies(write, self._lacking)
        if isinstance(tiers, Tier) or not isinstance(tiers, Iterable):
            raise TypeError(f"tiers must be a list of tiers, got {tiers!r}")
        tiers = list(tiers)
        if not tiers:
            raise ValueError("tiers must not be empty: give a MemoryTier at least")
        for number, tier in enumerate(tiers):
            if not isinstance(tier, Tier):
                raise TypeError(f"tiers must be Tier objects, got {tier!r}")
            if isinstance(tier, MemoryTier) and number:
                raise ValueError(f"a MemoryTier can only be the first level, got one at place {number + 1}")
        names = [tier.name for tier in tiers]
        if len(set(names)) < len(names):
            raise ValueError(f"tiers must have different names, got {', '.join(names)}")
        unheld = [tier.name for tier in tiers if tier.shared and not getattr(tier, "holds", False)]
        if unheld and (self._origin.saves or self._origin.deletes) and self._policies.only is not WritePolicy.BEHIND:
            warnings.warn(
                f"{', '.join(unheld)} cannot hold keys while the origin is written: a process that is killed in "
                "between leaves an older value there until its life ends",
                RuntimeWarning,
                2,
            )
        lags = max((float(getattr(tier, "lags", 0.0)) for tier in tiers), default=0.0)
        held_for = min((float(getattr(tier, "held_for", math.inf)) for tier in tiers), default=math.inf)
        if lags > held_for and (self._origin.saves or self._origin.deletes):
            warnings.warn(
                f"a replica may be {lags:g} s behind, and keys are held for {held_for:g} s while the origin is written."
                " A process that is killed in between may have the older value loaded again from it after that. "
                f"Give the shared levels a lease of {lags:g} s and what a save takes, or the replica a shorter "
                "max_staleness",
                RuntimeWarning,
                2,
            )
        self.name = name
        self.options = Options.of(options)
        idle = [option for option in ("refresh_ahead", "xfetch", "stale_while_revalidate") if options.get(option)]
        if idle and not isinstance(tiers[0], MemoryTier):
            warnings.warn(
                f"{', '.join(idle)} has no effect without a MemoryTier as the first level, which is what knows when an "
                "entry was read last: put one in front, be it a small one",
                RuntimeWarning,
                2,
            )
        self._load = one_by(load_many) if load is None and load_many is not None else load
        self._load_many = load_many
        self._loaders: list[tuple[str, Callable[[Any], Any]]] = []
        self._levels = [Level(tier, breaker()) for tier in tiers]
        memory = self._levels[0] if isinstance(tiers[0], MemoryTier) else None
        below = self._levels[1:] if memory is not None else self._levels
        # Nothing is served by the engine alone until the shared levels' streams say that they are alive.
        self._guard: Fresh = Fresh(None, math.inf)
        self._pending = Pending(below, max_items=recovery_items, delay=seconds(recovery_delay), changed=self._recover)
        self._logic = Logic(name, memory, below, self._pending, self.options, self._guard, writer)
        self._shell = Shell(name, Budget(self.options.max_loads), self.options.max_loads_wait)
        self._closed = False
        self._lock = threading.Lock()
        tell_child(self)
        self._recovering: threading.Thread | None = None
        self._wake = threading.Event()
        self._ears = [_Ear(self._logic, level) for level in self._levels]
        streaming = [ear for ear in self._ears if ear.streams]
        if streaming:
            self._guard.until = -math.inf
            for ear in streaming:
                ear.others = streaming
        if behind is not None:
            # Before the tiers: it may be refused.
            self._logic.behind = behind
            owner = Owner(name, self._origin, self._shell.call, self._carried, self._dropped)
            behind.open(owner)
        try:
            for level, ear in zip(self._levels, self._ears, strict=True):
                level.tier.open(name, ear)
        except BaseException:
            if behind is not None:
                behind.close()
            raise
        longest = math.inf
        for tier in reversed(tiers):
            if hasattr(tier, "longest"):  # no level outlives one beneath
                tier.longest = longest = min(longest, tier.longest)
        if behind is not None:
            behind.start(owner)
        if memory is not None and type(self).get is TieredCache.get:
            # A hit in memory is the engine's alone; it calls _unserved for everything else.
            store = cast("MemoryTier", memory.tier).store
            front: Any = Memo(self._unserved, lambda: store, shared=False, guard=self._guard)
            functools.update_wrapper(front, self.get)
            self.get = front  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return f"<TieredCache {self.name!r}: {' > '.join(level.described for level in self._levels)}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # Reading

    @overload
    def get(self, key: K, default: None = None, **options: Unpack[CallOptions]) -> V | None: ...
    @overload
    def get(self, key: K, default: D, **options: Unpack[CallOptions]) -> V | D: ...
    def get(self, key: K, default: Any = None, **options: Unpack[CallOptions]) -> Any:
        """Return the value of a key, loaded if there is a loader and no level has it; or the default.

        Raises what the loader raises, unless an older value is kept for that (`keep`); LoadTimeout after
        `hard_timeout`, LoadRefused if the budget of loads is spent, RuntimeError if a loader asks for its own key. A
        hit in memory is O(1) and takes no lock and no Python code.
        """
        return self._find(False, key, default, **options)  # noqa: FBT003

    def _unserved(self, *given: Any, **named: Any) -> Any:
        """Get what the engine did not serve, which has looked up a str or small int that came alone by its place."""
        if not given or named:
            return self._find(False, *given, **named)  # noqa: FBT003
        key = given[0]
        kind = type(key)
        looked = kind is str or (kind is int and -_SMALL < key < _SMALL)
        return self._find(looked, key) if len(given) == 1 else self._find(looked, *given)

    def _find(self, looked: bool, /, key: Any, default: Any = None, **options: Any) -> Any:  # noqa: FBT001
        loader = self._loader_of(key) if self._loaders else self._load
        chosen = self.options.with_(options) if options else self.options
        value = self._shell.drive(self._logic.get(key, chosen, loader, looked=looked))
        return default if value is MISSING or value is ABSENT else value

    @overload
    async def aget(self, key: K, default: None = None, **options: Unpack[CallOptions]) -> V | None: ...
    @overload
    async def aget(self, key: K, default: D, **options: Unpack[CallOptions]) -> V | D: ...
    async def aget(self, key: K, default: Any = None, **options: Unpack[CallOptions]) -> Any:
        """See get. Gets of one turn of the loop ask a level in one round trip."""
        memory = self._logic.memory
        # Of other kinds, 1.0 and True would find what belongs to 1.
        if memory is not None and not options and type(key) in {str, int}:
            record = memory.store.get(cast("Any", key))
            now = time.monotonic()
            if record is not None and record.until > now and self._guard.until > now:
                return record.value
            looked = True
        else:
            looked = False
        flow = self._logic.get(key, self._options(options), self._loader_of(key), looked=looked)
        return or_default(await self._shell.adrive(flow), default)

    def get_or_load(self, key: K, load: Callable[[K], Any], **options: Unpack[CallOptions]) -> V | None:
        """Return the value of a key, loaded by this loader if no level has it; None if there is nothing."""
        flow = self._logic.get(key, self._options(options), _callable(load))
        return cast("V | None", or_default(self._shell.drive(flow), None))

    async def aget_or_load(self, key: K, load: Callable[[K], Any], **options: Unpack[CallOptions]) -> V | None:
        """See get_or_load."""
        flow = self._logic.get(key, self._options(options), _callable(load))
        return cast("V | None", or_default(await self._shell.adrive(flow), None))

    def get_many(self, keys: Iterable[K], **options: Unpack[CallOptions]) -> dict[K, V]:
        """Return the values of keys that there are as a dict: one round trip a level, one `load_many`."""
        return cast("dict[K, V]", self._shell.drive(self._get_many(keys, options)))

    async def aget_many(self, keys: Iterable[K], **options: Unpack[CallOptions]) -> dict[K, V]:
        """See get_many."""
        return cast("dict[K, V]", await self._shell.adrive(self._get_many(keys, options)))

    def _get_many(self, keys: Iterable[K], options: Mapping[str, Any]) -> Flow:
        keys = list(keys)
        loader_of = self._loader_of if self._loaders else None
        return self._logic.get_many(keys, self._options(options), self._load, self._load_many, loader_of)

    # Writing

    def set(
        self,
        key: K,
        value: V,
        *,
        tags: Sequence[str] = (),
        write: WritePolicy | str | None = None,
        write_through: bool = False,
        **options: Unpack[CallOptions],
    ) -> None:
        """Store a value at the origin, if there is a `save`, and in all levels, as the policy of the key says.

        `write` is another policy for this call; `write_through` stands for "through". Raises what `save` raises, and
        then no level has the older value any more, because nobody knows whether the origin has it; WriteRefused,
        JournalError for a write behind that was not acknowledged, and nothing has changed then.
        """
        for flow in self._writes({key: value}, tags, write, options, through=write_through):
            self._shell.drive(flow)

    async def aset(
        self,
        key: K,
        value: V,
        *,
        tags: Sequence[str] = (),
        write: WritePolicy | str | None = None,
        write_through: bool = False,
        **options: Unpack[CallOptions],
    ) -> None:
        """See set."""
        for flow in self._writes({key: value}, tags, write, options, through=write_through):
            await self._shell.adrive(flow)

    def set_many(
        self,
        values: Mapping[K, V],
        *,
        tags: Sequence[str] = (),
        write: WritePolicy | str | None = None,
        write_through: bool = False,
        **options: Unpack[CallOptions],
    ) -> None:
        """Store several values, in one round trip a level, and one call of `save_many`; keys of each policy in turn."""
        for flow in self._writes(dict(values), tags, write, options, through=write_through):
            self._shell.drive(flow)

    async def aset_many(
        self,
        values: Mapping[K, V],
        *,
        tags: Sequence[str] = (),
        write: WritePolicy | str | None = None,
        write_through: bool = False,
        **options: Unpack[CallOptions],
    ) -> None:
        """See set_many."""
        for flow in self._writes(dict(values), tags, write, options, through=write_through):
            await self._shell.adrive(flow)

    def _writes(
        self,
        values: dict[K, V],
        tags: Sequence[str],
        write: WritePolicy | str | None,
        options: Mapping[str, Any],
        *,
        through: bool,
    ) -> list[Flow]:
        if through and write is not None:
            raise TypeError(f"give write_through or write, not both, got write={write!r}")
        given = WritePolicy.THROUGH if through else None if write is None else self._policies.checked(write)
        chosen, tagged = self._options(options), checked_tags(tags)
        save = self._origin.calls_to_save if self._origin.saves else None
        flows = []
        for policy, keys in self._policies.split(list(values), given).items():
            some = values if len(keys) == len(values) else {key: values[key] for key in keys}
            if policy is WritePolicy.BEHIND:
                flows.append(self._logic.write_behind(some, chosen, tagged))
            else:
                flows.append(self._logic.write(some, chosen, tagged, save, policy))
        return flows

    def _lacking(self, policy: WritePolicy) -> str | None:
        """Return what this cache has not that a policy needs."""
        if policy is not WritePolicy.THROUGH and not self._origin.saves:
            return "a save or a save_many"
        if policy is WritePolicy.BEHIND and self.behind is None:
            return "behind=WriteBehind(...)"
        return None

    def delete(self, key: K, *, write: WritePolicy | str | None = None) -> None:
        """Remove a key from the origin, if there is a `delete`, and from all levels; see set."""
        self.delete_many((key,), write=write)

    async def adelete(self, key: K, *, write: WritePolicy | str | None = None) -> None:
        """See delete."""
        await self.adelete_many((key,), write=write)

    def delete_many(self, keys: Iterable[K], *, write: WritePolicy | str | None = None) -> None:
        """Remove several keys, in one round trip a level, and one call of `delete_many`."""
        for flow in self._deletes(list(keys), write):
            self._shell.drive(flow)

    async def adelete_many(self, keys: Iterable[K], *, write: WritePolicy | str | None = None) -> None:
        """See delete_many."""
        for flow in self._deletes(list(keys), write):
            await self._shell.adrive(flow)

    def _deletes(self, keys: list[K], write: WritePolicy | str | None) -> list[Flow]:
        given = None if write is None else policy_of(write)
        if given is WritePolicy.BEHIND and self.behind is None:
            raise ValueError("write='behind' needs behind=WriteBehind(...)")
        delete = self._origin.calls_to_delete if self._origin.deletes else None
        flows = []
        for policy, some in self._policies.split(keys, given).items():
            if policy is WritePolicy.BEHIND and delete is not None:
                flows.append(self._logic.remove_behind(some, self.options))
            else:
                flows.append(self._logic.remove(some, delete=delete))
        return flows

    def _carried(self, items: list[Unsaved]) -> None:
        """Tell the levels that the origin has writes behind."""
        self._shell.drive(self._logic.carried(items))

    def _dropped(self, keys: list[Any]) -> None:
        """Tell the levels that the origin will not have them."""
        self._shell.drive(self._logic.remove(keys))

    def invalidate(self, *keys: K, tags: Sequence[str] = (), expire: bool = False) -> None:
        """Make all levels forget keys, and all entries with one of these tags.

        When it has returned, no read that begins later in this process returns an older value; other processes follow
        at shared levels at once and in their memories within `max_staleness`. O(1) a key or tag. With `expire` the
        values are kept for fail-safe. Inside of `invalidations()` all of this is done when that ends.
        """
        for flow in self._invalidations(keys, checked_tags(tags), expire=expire):
            self._shell.drive(flow)

    async def ainvalidate(self, *keys: K, tags: Sequence[str] = (), expire: bool = False) -> None:
        """See invalidate."""
        for flow in self._invalidations(keys, checked_tags(tags), expire=expire):
            await self._shell.adrive(flow)

    def _invalidations(self, keys: Sequence[K], tags: tuple[str, ...], *, expire: bool) -> list[Flow]:
        flows: list[Flow] = []
        held = collecting(self._logic)
        if held is not None:
            return held.collected(keys, tags, expire=expire)
        if keys:
            flows.append(self._logic.remove(keys, expire=expire))
        if tags:
            flows.append(self._logic.invalidate(tags))
        return flows

    def invalidations(self, *, hold: bool = False) -> Invalidations:
        """Return a context manager that holds invalidations until it ends, and drops them if an exception ends it.

        For a transaction of a database: what is invalidated inside, by this thread or task, is done after the commit.
        With `hold` keys are removed at once, and shared levels take nothing of them until the end (see
        `hotset.tiered.held`).
        """
        return Invalidations(self._logic, self._shell, hold=hold)

    def remove(self, *keys: K) -> None:
        """Make all levels forget keys."""
        self.invalidate(*keys)

    async def aremove(self, *keys: K) -> None:
        """See remove."""
        await self.ainvalidate(*keys)

    def expire(self, *keys: K) -> None:
        """End the lives of keys in all levels; their values are kept for fail-safe."""
        self.invalidate(*keys, expire=True)

    async def aexpire(self, *keys: K) -> None:
        """See expire."""
        await self.ainvalidate(*keys, expire=True)

    def clear(self) -> None:
        """Make all levels forget everything of this cache. O(1) at shared levels."""
        self._shell.drive(self._logic.invalidate((CLEAR,)))

    async def aclear(self) -> None:
        """See clear."""
        await self._shell.adrive(self._logic.invalidate((CLEAR,)))

    def touch(self, key: K, ttl: Duration | None = None) -> bool:
        """Give an entry a new time to live; whether any level had it."""
        options = self._options({} if ttl is None else {"ttl": ttl})
        return self._shell.drive(self._logic.touch(key, options))

    async def atouch(self, key: K, ttl: Duration | None = None) -> bool:
        """See touch."""
        options = self._options({} if ttl is None else {"ttl": ttl})
        return cast("bool", await self._shell.adrive(self._logic.touch(key, options)))

    # Loaders

    def register_loader(self, prefix: str, load: Callable[[Any], Any]) -> None:
        """Load str keys that begin with a prefix by this loader; the longest prefix counts, then the cache's `load`."""
        if not prefix or type(prefix) is not str:
            raise ValueError(f"prefix must be a str that is not empty, got {prefix!r}")
        loaders = [(known, loader) for known, loader in self._loaders if known != prefix]
        self._loaders = sorted([*loaders, (prefix, _callable(load))], key=lambda pair: -len(pair[0]))

    def _loader_of(self, key: Any) -> Callable[[Any], Any] | None:
        if self._loaders and isinstance(key, str):
            for prefix, loader in self._loaders:
                if key.startswith(prefix):
                    return loader
        return self._load

    def cached(
        self, key: str | Callable[..., Any], *, tags: Sequence[str] = (), **options: Unpack[CallOptions]
    ) -> Callable[[Callable[_P, _R]], Decorated[_P, _R]]:
        """Decorate a function or coroutine function: its results are kept under `key`, made of its arguments.

        `key` is a template such as "user:{user_id}" (see `hotset.tiered.decorated`: `user(7)` is kept as "user:7", and
        what the template separates by is escaped in arguments), or is called with the arguments. Tags may be templates,
        too. The function gets an attribute `key_of(*args)`, the key of a call.

        Raises TypeError, ValueError for what can be no key, and, when it decorates, ValueError for a template with a
        field that the function has no parameter for.
        """
        if not isinstance(key, str) and not callable(key):
            raise TypeError(f"key must be a template or callable, got {key!r}")
        templates = checked_tags(tags)
        chosen = self.options.with_(options)

        def flow_of(made: Any, loader: Callable[[Any], Any]) -> Flow:
            return self._logic.get(made, chosen, loader)

        def decorate(function: Callable[_P, _R]) -> Decorated[_P, _R]:
            return decorated(function, key, templates, flow_of, self._shell)

        return decorate

    # Looking inside

    def stats(self) -> TieredStats:
        """Return what has happened since the cache was made."""
        logic = self._logic
        levels = []
        requests = 0
        for level in self._levels:
            if level is logic.memory_level:
                levels.append(self._memory_stats(level))
                requests = levels[0].reads
            else:
                levels.append(level.stats())
        if logic.memory_level is None:
            requests = levels[0].reads
        return TieredStats(
            self.name,
            requests,
            tuple(levels),
            logic.loads,
            logic.load_failures,
            logic.load_latencies.snapshot(),
            logic.stale_served,
            logic.negative_served,
            logic.refreshes,
            self._pending.stats(),
            None if self.behind is None else self.behind.stats(),
        )

    def record(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        sample: float = 0.01,
        keys: Literal["hashed", "plain"] = "hashed",
        limit: int | None = None,
    ) -> Recording:
        """Record what is asked for from now on, as memory sees it. See hotset.recording.Recording for all the rest.

        Raises TypeError if the first level is not a MemoryTier.
        """
        return self._first_store("record").record(path, sample=sample, keys=keys, limit=limit)

    def advise(
        self, *, l2: int | None = None, latencies: Latencies | None = None, prices: Prices | None = None
    ) -> Advice:
        """Say what would help, from what `record` has recorded and what was counted and timed: print it.

        `l2` is how many entries a level below has, if that is to be looked at. Needs the extra `hotset[lab]`. Raises
        RuntimeError if nothing was recorded, ValueError if that is too little, TypeError as `record` does.
        """
        store = self._first_store("advise")
        from hotset.lab.live import advise_tiered  # noqa: PLC0415 - an extra

        return advise_tiered(self.stats(), store, store.recording, l2=l2, latencies=latencies, prices=prices)

    def _first_store(self, verb: str) -> Cache[Any, Any]:
        """Return the engine's cache of the first level."""
        if self._logic.memory_level is None:
            raise TypeError(f"{verb}() looks at what memory is asked for: the first level must be a MemoryTier")
        return cast("MemoryTier", self._logic.memory_level.tier).store

    def _memory_stats(self, level: Level) -> LevelStats:
        engine = cast("MemoryTier", level.tier).store.stats()
        hits = max(0, engine.hits - self._logic.not_fresh)
        return LevelStats(
            level.name,
            engine.hits + engine.misses,
            hits,
            engine.misses + self._logic.not_fresh,
            level.errors,
            level.timeouts,
            engine.updates,
            engine.inserts,
            level.fills_refused,
            {"evicted": engine.evictions, "expired": engine.expirations},
            self._memory_latency(),
            level.state,
        )

    def _memory_latency(self) -> Latency:
        """Of a look into memory, timed now: to time each of them would cost more than they do."""
        store = cast("MemoryTier", cast("Level", self._logic.memory_level).tier).store
        some = store.coldest(1)
        if not some:
            return Latency(0, 0.0, 0.0, 0.0)
        key = some[0][0]
        times = []
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(_LOOKS):
                store.peek(key)
            times.append((time.perf_counter() - start) / _LOOKS)
        return Latency(_LOOKS, min(times), min(times), max(times))

    def explain(self, key: K) -> Explanation:
        """Tell where a key stands in each level: age, life left, who wrote it, why it is not there."""
        return self._shell.drive(self._logic.explain(key))

    async def aexplain(self, key: K) -> Explanation:
        """See explain."""
        return cast("Explanation", await self._shell.adrive(self._logic.explain(key)))

    def switch(self, level: str, *, on: bool) -> None:
        """Take a level out of use, or back into it. What it misses meanwhile is made up for, as after a failure."""
        for one in self._levels:
            if one.name == level:
                if one is self._logic.memory_level and one.on != on:
                    # Nothing is left of what it had, and what is on its way there is refused.
                    one.on = False
                    cast("MemoryTier", one.tier).invalidate((CLEAR,))
                one.on = on
                return
        raise ValueError(f"unknown level {level!r}: use one of {', '.join(one.name for one in self._levels)}")

    # The end

    def close(self) -> None:
        """Close the tiers and end all threads. What is stored at shared levels stays. May be called twice.

        Writes behind are given to the origin first, for `close_timeout` at most. Afterwards shared levels are neither
        asked nor told: `get` gives None or the default, silently, or what the loader gives if there is one; `set`
        reaches the origin, if there is a `save`, and this process's memory, silently, too. Only what needs threads or
        tasks of the cache's own raises RuntimeError: loads for asyncio, and by coroutine functions.
        """
        if self._begin_close():
            if self.behind is not None:
                self.behind.close()
            for level in self._levels:
                level.tier.close()
            self._shell.close()

    async def aclose(self) -> None:
        """See close; ends this loop's tasks, too."""
        if self._begin_close():
            if self.behind is not None:
                await asyncio.to_thread(self.behind.close)
            for level in self._levels:
                await level.tier.aclose()
            await self._shell.aclose()

    def _begin_close(self) -> bool:
        with self._lock:
            first, self._closed = not self._closed, True
        self._wake.set()
        return first

    def after_fork(self) -> None:
        """Begin anew in a forked child, whose parent's threads may have held locks."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._recovering = None
        for ear in self._ears:
            ear.after_fork()
        self._guard.until = -math.inf if self._logic.streamed else math.inf

    # Recovery

    def _recover(self) -> None:
        """See to it that somebody replays what shared levels have missed."""
        self._wake.set()
        with self._lock:
            if self._closed or (self._recovering is not None and self._recovering.is_alive()):
                return
            self._recovering = threading.Thread(target=self._replay, name=f"hotset-{self.name}-recovery", daemon=True)
            self._recovering.start()

    def _replay(self) -> None:
        while not self._closed:
            self._wake.wait(min(60.0, self._pending.due_in()))
            self._wake.clear()
            if self._closed:
                return
            if self._pending.due_in() > 0:
                self._wake.wait(min(1.0, self._pending.due_in()))
                continue
            self._shell.drive(self._pending.replay())

    def _options(self, given: Mapping[str, Any]) -> Options:
        return self.options.with_(given) if given else self.options


class _Ear:
    """What one tier tells the cache of changes by others."""

    def __init__(self, logic: Logic, level: Level) -> None:
        self._logic = logic
        self._pending = logic.pending
        self._level = level
        self._cut = True
        self._until = -math.inf
        self.streams = bool(getattr(level.tier, "streams", False))
        self.others: list[_Ear] = [self]  # memory is as good as the worst of them

    def changed(self, names: Iterable[str]) -> None:
        names = list(names)
        self._pending.heard(self._level, names)  # first: what memory asks next must not be a level that is in doubt
        self._logic.changed(names)

    def invalidated(self, tags: Iterable[str], _epoch: int) -> None:
        tags = list(tags)
        self._pending.heard(self._level, (), tags)
        self._logic.told(tags)

    def own_version(self, name: str) -> bytes | None:
        return self._logic.own.peek(name)

    def alive(self, since: float) -> None:
        logic = self._logic
        if self._cut:
            # What was stored while nobody told of changes is looked at once more before it is served again.
            # Changes between `since` and now may have been missed.
            logic.since = time.monotonic()
            if logic.memory is not None:
                logic.memory.doubt()
            self._level.breaker.reset()  # it answers: there is no need to find out by trial
        self._until = since + logic.options.max_staleness
        cut, self._cut = self._cut, False
        self._level.stream = "alive"
        self._pending.alive(self._level, self._until, anew=cut)
        logic.guard.until = min(ear._until for ear in self.others)  # noqa: SLF001 - they are of one kind

    def after_fork(self) -> None:
        self._cut = True  # what the parent hears from now on this process does not
        self._level.stream = self._level.stream and "lost"

    def lost(self) -> None:
        self._cut = True
        self._level.stream = "lost"
        self._pending.hearsay.lost(self._level)


def _callable(load: Any) -> Callable[[Any], Any]:
    if not callable(load):
        raise TypeError(f"load must be callable, got {load!r}")
    return cast("Callable[[Any], Any]", load)
