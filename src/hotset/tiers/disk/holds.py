"""What holds a name in the file while the origin is changed: in the place of its lease, of which it has the length.

``HELD``, a count and a token of 8 bytes, where a lease has its fence; then in milliseconds until when, as a lease has.
Of several who hold a name at once nobody knows whose change is the last one, so the token is nobody's from then on,
until all of them have settled.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

__all__ = ["TOKEN_BYTES", "Held", "is_held"]

TOKEN_BYTES: Final = 8
_PACKED: Final = struct.Struct(f"<4sI{TOKEN_BYTES}sQ")
_HELD: Final = b"HELD"  # no lease begins with this
_NOBODY: Final = bytes(TOKEN_BYTES)


def is_held(kept: bytes) -> bool:
    """Whether this is a hold, and no lease."""
    return kept[:4] == _HELD


class Held(NamedTuple):
    """A hold: how many have it, by which token if it is one, and until when, in milliseconds."""

    many: int
    token: bytes
    until: int

    @classmethod
    def of(cls, kept: bytes | None, now: float) -> Held | None:
        """Return the hold that is kept in a lease's place, if it is one and has not run out."""
        if kept is None or not is_held(kept):
            return None
        _, many, token, until = _PACKED.unpack(kept)
        return None if until <= 1000 * now else cls(many, token, until)

    def packed(self) -> bytes:
        """Return what is kept of it."""
        return _PACKED.pack(_HELD, *self)

    def joined(self, until: int) -> Held:
        """Return it with one more, whose time begins."""
        return Held(self.many + 1, _NOBODY, until)

    def left(self, token: bytes) -> Held | None:
        """Return what is left of it when the holder of a token has settled; None for nothing."""
        if self.token == token:
            return None
        # The hold of who settles is one of several; or it has run out, and the one that is here is another one's.
        many = self.many - (self.token == _NOBODY)
        return Held(many, _NOBODY, self.until) if many else None
