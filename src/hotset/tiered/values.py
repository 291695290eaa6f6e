"""What loaders return, and what stands for values that are not there."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hotset.tiers.contract import CLEAR

__all__ = ["ABSENT", "MISSING", "Loaded", "checked_tags", "one_by", "or_default", "picked"]


class _Sentinel:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name


ABSENT: Final[Any] = _Sentinel("ABSENT")  # what a loader returns to say that the origin has no such thing
MISSING: Final[Any] = _Sentinel("MISSING")  # no value was found


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a loader may return in place of a value, to say more about it than that."""

    value: Any
    ttl: float | None = None  # seconds; None for what the cache or the call says
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", checked_tags(self.tags))
        if self.ttl is not None and (isinstance(self.ttl, bool) or not isinstance(self.ttl, (int, float))):
            raise TypeError(f"ttl must be seconds or None, got {self.ttl!r}")


def or_default(value: Any, default: Any) -> Any:
    """Return a value, or the default for one that is not there."""
    return default if value is MISSING or value is ABSENT else value


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags as a tuple. Raises TypeError, ValueError for what cannot be one."""
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise TypeError(f"tags must be a sequence of str, got {tags!r}")
    tags = tuple(tags)
    for tag in tags:
        if type(tag) is not str or not tag or tag == CLEAR:
            raise ValueError(f"a tag must be a str that is not empty and not {CLEAR!r}, got {tag!r}")
    return tags


def one_by(load_many: Any) -> Any:
    """A loader of one key by a loader of many."""

    def load(key: Any) -> Any:
        found = load_many([key])
        return _apicked(found, key) if inspect.isawaitable(found) else picked(found, key)

    return load


def picked(found: Any, key: Any) -> Any:
    """Return what a loader of many has found of one key."""
    if not isinstance(found, Mapping):
        raise TypeError(f"load_many must return a dict of the keys that there are, got {found!r}")
    return found.get(key, ABSENT)


async def _apicked(found: Any, key: Any) -> Any:
    return picked(await found, key)
