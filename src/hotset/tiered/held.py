"""Invalidations that wait for a database to commit: made when it has, and dropped when it has not.

`with cache.invalidations():` collects what is invalidated inside by this context (this thread, or this task), and does
it when the block ends: keys in one step a level, tags in one. An exception that leaves the block drops it. Blocks may
be nested; the outermost decides.

If the process dies between the commit and the end of the block, nobody invalidates. With `hold=True` each key is
removed from the shared levels when it is invalidated, before the commit, and held there, as by a write through: until
the end of the block, or of the tiers' hold time, nobody can store what he has loaded. Then nothing older than the
database is left there whenever the process dies. Tags cannot be held.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from hotset.names import name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextvars import Token
    from types import TracebackType
    from typing import Self

    from hotset.tiered.effects import Flow
    from hotset.tiered.flow import Logic
    from hotset.tiered.level import Level
    from hotset.tiered.shell import Shell

__all__ = ["Invalidations", "collecting"]

_open: ContextVar[tuple[Invalidations, ...]] = ContextVar("hotset_invalidations", default=())


def collecting(logic: Logic) -> Invalidations | None:
    """Return what collects the invalidations of a cache in this context, if anything does."""
    return next((one for one in reversed(_open.get()) if one.logic is logic), None)


class Invalidations:
    """Invalidations of one cache that wait. Made by `TieredCache.invalidations`.

    Besides as a context manager, sync or async, it can be used by hand, as from the events of a database session:
    `add`, then `commit` or `drop`. For one context at a time.
    """

    def __init__(self, logic: Logic, shell: Shell, *, hold: bool) -> None:
        self.logic = logic
        self._shell = shell
        self._holds = hold
        self._keys: dict[str, tuple[Any, bool]] = {}  # name -> key, and whether only its life is to end
        self._tags: dict[str, None] = {}
        self._held: list[tuple[list[Any], dict[Level, Any]]] = []
        self._token: Token[tuple[Invalidations, ...]] | None = None

    def __repr__(self) -> str:
        return f"<Invalidations of {self.logic.name!r}: {len(self._keys)} keys, {len(self._tags)} tags>"

    def __len__(self) -> int:
        return len(self._keys) + len(self._tags)

    def add(self, *keys: Any, tags: Iterable[str] = (), expire: bool = False) -> None:
        """Have keys and tags invalidated by `commit`; with `hold` the keys are removed and held now."""
        for flow in self.collected(keys, tags, expire=expire):
            self._shell.drive(flow)

    async def aadd(self, *keys: Any, tags: Iterable[str] = (), expire: bool = False) -> None:
        """See add."""
        for flow in self.collected(keys, tags, expire=expire):
            await self._shell.adrive(flow)

    def collected(self, keys: Sequence[Any], tags: Iterable[str], *, expire: bool) -> list[Flow]:
        """Take keys and tags in; what is to be done at once."""
        self._tags.update(dict.fromkeys(tags))
        new = []
        for key in keys:
            name = name_of(key)
            if name not in self._keys:
                new.append(key)
            # Who removes a key means more than who ends its life.
            self._keys[name] = key, expire and self._keys.get(name, (key, True))[1]
        return [self._hold(new)] if new and self._holds else []

    def _hold(self, keys: list[Any]) -> Flow:
        self._held.append((keys, (yield from self.logic.hold(keys))))

    def commit(self) -> None:
        """Do all of it, in one step a level for keys and one for tags."""
        for flow in self._flows():
            self._shell.drive(flow)

    async def acommit(self) -> None:
        """See commit."""
        for flow in self._flows():
            await self._shell.adrive(flow)

    def drop(self) -> None:
        """Forget all of it. What is held is let go: its keys are loaded anew."""
        for flow in self._releases():
            self._shell.drive(flow)

    async def adrop(self) -> None:
        """See drop."""
        for flow in self._releases():
            await self._shell.adrive(flow)

    def _flows(self) -> list[Flow]:
        keys, tags = self._keys, self._tags
        flows = self._releases()
        logic = self.logic
        if not flows:
            for expire in (False, True):
                some = [key for key, ended in keys.values() if ended is expire]
                if some:
                    flows.append(logic.remove(some, expire=expire))
        if tags:
            flows.append(logic.invalidate(tuple(tags)))
        return flows

    def _releases(self) -> list[Flow]:
        held, self._held, self._keys, self._tags = self._held, [], {}, {}
        return [self.logic.release(keys, levels) for keys, levels in held]

    # As a context manager

    def _enter(self) -> None:
        if self._token is not None:
            raise RuntimeError(f"{self!r} is open already: make another one")
        self._token = _open.set((*_open.get(), self))

    def _leave(self) -> Invalidations | None:
        """Close it; return the block around it, to which all passes."""
        if self._token is not None:
            _open.reset(self._token)
            self._token = None
        return collecting(self.logic)

    def _pass_on(self, outer: Invalidations) -> None:
        outer._held += self._held
        outer._tags.update(self._tags)
        for name, (key, expire) in self._keys.items():
            outer._keys[name] = key, expire and outer._keys.get(name, (key, True))[1]
        self._held, self._keys, self._tags = [], {}, {}

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        outer = self._leave()
        if kind is not None:
            self.drop()
        elif outer is not None:
            self._pass_on(outer)
        else:
            self.commit()

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        outer = self._leave()
        if kind is not None:
            await self.adrop()
        elif outer is not None:
            self._pass_on(outer)
        else:
            await self.acommit()
