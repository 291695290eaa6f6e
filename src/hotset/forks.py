"""Locks that a fork may catch in the hands of a thread that the child does not have.

An object that guards itself with a lock registers here; in a forked child, before any other code of it runs, it is
told to make the lock anew and to forget what only the parent's threads could have ended.
"""

from __future__ import annotations

import os
from typing import Final, Protocol
from weakref import WeakSet

__all__ = ["Forkable", "tell_child"]


class Forkable(Protocol):
    """What has something to mend in a forked child."""

    def after_fork(self) -> None:
        """Make locks anew; called in the child, which has one thread yet."""


_registered: Final[WeakSet[Forkable]] = WeakSet()


def tell_child(thing: Forkable) -> None:
    """Have `after_fork` called in every child forked from now on, for as long as the object lives."""
    _registered.add(thing)


def _after_fork() -> None:
    for thing in list(_registered):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
