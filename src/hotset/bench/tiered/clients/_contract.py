"""What the benchmark asks of a contestant: caches in three set-ups, driven the way the library's users drive it.

A set-up is a `Stand`: the bound methods that are called, with no layer of the benchmark's between. The methods of an
asynchronous library are coroutine functions, and its set-ups are made with the event loop running.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotset.bench.tiered.place import Place

__all__ = ["Client", "Stand", "nothing"]


def nothing() -> None:
    """Close a stand that has nothing to close."""


@dataclass(frozen=True, slots=True)
class Stand:
    """One cache, ready: how a key is read, how one is stored, how several are read, and how it is given up.

    `settle` is called before hits in memory are timed: it returns when all of these keys are answered from there.
    """

    get: Callable[[str], Any]
    put: Callable[[str, Any], Any]
    get_many: Callable[[list[str]], Any] | None = None
    close: Callable[[], Any] = nothing
    settle: Callable[[list[str]], None] | None = None


class Client:
    """One library, and which set-ups it has."""

    name = ""
    setups: tuple[str, ...] = ("memory", "shared", "through")
    # Of the package index, for the table of versions; "" for what is written here.
    distribution = ""
    # Whether its methods are coroutine functions.
    asynchronous = False
    # Whether it can reach a server by its unix socket.
    sockets = True
    # The name of its file on the command line, set when it is loaded.
    rival = ""

    def __repr__(self) -> str:
        return f"<client {self.name}>"

    def memory(self, place: Place, entries: int) -> Stand:
        """Return a cache that answers out of the memory of this process, with all that it offers turned on."""
        raise NotImplementedError

    def shared(self, place: Place) -> Stand:
        """Return a cache in which every read goes to the server."""
        raise NotImplementedError

    def cluster(self, place: Place) -> Stand:
        """Return a cache in which every read goes to the nodes of a Cluster."""
        raise NotImplementedError

    def through(self, place: Place, load: Callable[[str], Any]) -> Stand:
        """Return a cache that loads what it has not, with the protection against stampedes that it offers.

        `load` is a coroutine function for an asynchronous library.
        """
        raise NotImplementedError
