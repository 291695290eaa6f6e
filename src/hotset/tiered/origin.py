"""The origin as it is written to: the functions that a cache was given, and numbers by which to tell a repeated write.

A function that has a parameter `seq` is told the number of each write with it: `save(key, value, seq=7)`,
`save_many(items, seq={key: 7, ...})`. Numbers grow with every write of one process, and are microseconds since 1970 as
long as fewer are made than that, so that they grow over its restarts, too. An origin that keeps the number beside the
value, and takes no lower one, does nothing twice.
"""

from __future__ import annotations

import functools
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any

from hotset.forks import tell_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Numbers", "Origin"]


class Numbers:
    """Numbers that grow. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        tell_child(self)

    def take(self, count: int = 1, above: int = 0) -> int:
        """Return the first of so many new numbers, all of which are above one."""
        with self._lock:
            first = max(self._last + 1, above + 1, time.time_ns() // 1000)
            self._last = first + count - 1
            return first

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._lock = threading.Lock()


class Origin:
    """What writes to the origin, one by one or many at once. None where nothing does."""

    def __init__(self, save: Any, save_many: Any, delete: Any, delete_many: Any) -> None:
        for what, function in (
            ("save", save),
            ("save_many", save_many),
            ("delete", delete),
            ("delete_many", delete_many),
        ):
            if function is not None and not callable(function):
                raise TypeError(f"{what} must be callable or None, got {function!r}")
        self.numbers = Numbers()
        self.save, self.save_many = save, save_many
        self.delete, self.delete_many = delete, delete_many
        kinds = ("save", "save_many", "delete", "delete_many")
        self._numbered = {kind for kind in kinds if _takes_seq(getattr(self, kind))}

    @property
    def saves(self) -> bool:
        """Whether values can be stored."""
        return self.save is not None or self.save_many is not None

    @property
    def deletes(self) -> bool:
        """Whether values can be removed."""
        return self.delete is not None or self.delete_many is not None

    def calls_to_save(self, items: dict[Any, Any], seqs: dict[Any, int] | None = None) -> list[Call]:
        """Return what is to be called, one after another, and which keys each call is about."""
        if self.save_many is not None and (self.save is None or len(items) > 1):
            return [self._call("save_many", list(items), seqs, items)]
        return [self._call("save", [key], seqs, key, value) for key, value in items.items()]

    def calls_to_delete(self, keys: Iterable[Any], seqs: dict[Any, int] | None = None) -> list[Call]:
        """Return what is to be called, one after another, and which keys each call is about."""
        keys = list(keys)
        if self.delete_many is not None and (self.delete is None or len(keys) > 1):
            return [self._call("delete_many", keys, seqs, keys)]
        return [self._call("delete", [key], seqs, key) for key in keys]

    def _call(self, kind: str, keys: list[Any], seqs: dict[Any, int] | None, *arguments: Any) -> Call:
        function = getattr(self, kind)
        if kind not in self._numbered:
            return Call(functools.partial(function, *arguments), keys)
        given = self.numbered(keys) if seqs is None else {key: seqs[key] for key in keys}
        seq = given if kind.endswith("_many") else given[keys[0]]
        return Call(functools.partial(function, *arguments, seq=seq), keys)

    def numbered(self, keys: Iterable[Any]) -> dict[Any, int]:
        """Return a new number for each key."""
        keys = list(keys)
        first = self.numbers.take(len(keys))
        return dict(zip(keys, range(first, first + len(keys)), strict=True))


class Call:
    """One call of the user's, and the keys that it is about."""

    __slots__ = ("function", "keys")

    def __init__(self, function: Callable[[], Any], keys: list[Any]) -> None:
        self.function = function
        self.keys = keys


def _takes_seq(function: Any) -> bool:
    if function is None:
        return False
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(parameter.name == "seq" and parameter.kind is not parameter.POSITIONAL_ONLY for parameter in parameters)
