"""What warming asks of a shared level beyond the Tier protocol: to list its names, and to keep a note for others.

A tier offers it by having these methods itself, as `DiskTier` and `ClusterTier` do to list names; for `RedisTier` they
are here. The note is a key of its own, of which nobody is told when it changes, and which neither `clear` nor the
tier's codec concerns: ``hs:{NS}:hot``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from hotset.tiers.contract import Tier
    from hotset.tiers.keys import Keys
    from hotset.tiers.redis import Operation, RedisTier

__all__ = ["Board", "Scanner", "board_of", "scanner_of"]


@runtime_checkable
class Scanner(Protocol):
    """Lists its names. Raises TierError, and waits no longer than the tier's own timeouts."""

    def scan(self, cursor: str, count: int) -> tuple[str, list[str]]:
        """Return some names and where to go on; begin with "", which comes back at the end. `count` is a hint.

        A name that was there all the time comes at least once. In all O(what the server holds), of others, too.
        """

    async def ascan(self, cursor: str, count: int) -> tuple[str, list[str]]:
        """See scan."""


@runtime_checkable
class Board(Protocol):
    """Keeps a note. Raises TierError, and waits no longer than the tier's own timeouts."""

    def post(self, note: bytes, ttl: float) -> None:
        """Leave a note in place of the last one, for so many seconds."""

    def posted(self) -> bytes | None:
        """Return the note that was left last."""

    async def apost(self, note: bytes, ttl: float) -> None:
        """See post."""

    async def aposted(self) -> bytes | None:
        """See posted."""


def scanner_of(tier: Tier) -> Scanner | None:
    """Return what lists the names of a tier, None if nothing does."""
    return tier if isinstance(tier, Scanner) else _redis_desk(tier)


def board_of(tier: Tier) -> Board | None:
    """Return what keeps a tier's note, None if nothing does."""
    return tier if isinstance(tier, Board) else _redis_desk(tier)


def _redis_desk(tier: Tier) -> _RedisDesk | None:
    module = sys.modules.get("hotset.tiers.redis")  # not imported: then it is no such tier
    return _RedisDesk(tier) if module is not None and isinstance(tier, module.RedisTier) else None


class _RedisDesk:
    def __init__(self, tier: RedisTier) -> None:
        self._tier = tier

    def scan(self, cursor: str, count: int) -> tuple[str, list[str]]:
        return self._tier.perform(_scan(self._tier.keys, cursor, count))

    def post(self, note: bytes, ttl: float) -> None:
        self._tier.perform(_post(self._tier.keys, note, ttl))

    def posted(self) -> bytes | None:
        return self._tier.perform(_posted(self._tier.keys))

    async def ascan(self, cursor: str, count: int) -> tuple[str, list[str]]:
        return await self._tier.aperform(_scan(self._tier.keys, cursor, count))

    async def apost(self, note: bytes, ttl: float) -> None:
        await self._tier.aperform(_post(self._tier.keys, note, ttl))

    async def aposted(self) -> bytes | None:
        return await self._tier.aperform(_posted(self._tier.keys))


def _note(keys: Keys) -> str:
    return f"{keys.state.removesuffix('epoch')}hot"


def _scan(keys: Keys, cursor: str, count: int) -> Operation[tuple[str, list[str]]]:
    (reply,) = yield [("SCAN", cursor or "0", "MATCH", keys.pattern, "COUNT", str(count))]
    _check(reply, list)
    after, places = reply
    return "" if after == b"0" else after.decode(), keys.names_at(places)


def _post(keys: Keys, note: bytes, ttl: float) -> Operation[None]:
    (reply,) = yield [("SET", _note(keys), note, "PX", str(max(1, int(ttl * 1000))))]
    _check(reply, bytes, str)


def _posted(keys: Keys) -> Operation[bytes | None]:
    (reply,) = yield [("GET", _note(keys))]
    _check(reply, bytes, type(None))
    return reply  # type: ignore[no-any-return]


def _check(reply: Any, *kinds: type) -> None:
    if not isinstance(reply, kinds):
        from hotset.tiers.links import raise_refusal  # noqa: PLC0415 - needs the extra, which is there by now

        raise_refusal(reply)
