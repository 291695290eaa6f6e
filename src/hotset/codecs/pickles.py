"""Pickle: for values that nothing else can do, and only under a seal."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Final

from hotset.codecs.shapes import describe

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PickleCodec"]

# Of every Python that Hotset runs on, so that different ones share a server.
_PROTOCOL: Final = 5


class PickleCodec:
    """Python's pickle: whoever can write it runs code in every reader, so the envelope takes it only with a `Seal`."""

    id = 3
    name = "pickle"
    safe = False

    def __init__(self, type: Any = Any) -> None:  # noqa: A002 - the word that users know
        self.schema = describe(type)
        self.mismatches: tuple[type[Exception], ...] = ()
        self.decode: Callable[[bytes | memoryview], Any] = pickle.loads

    def encode(self, value: Any, /) -> bytes:
        """Return the pickle of a value."""
        return pickle.dumps(value, _PROTOCOL)
