"""Versions: 12 bytes that tell one load or write from all others, in whichever process.

96 random bits: among a billion of them, two are equal with a probability of 1e-11. They need not be unpredictable, so
they come from a generator that is seeded by the system once, at a tenth of the cost of asking the system each time.
"""

from __future__ import annotations

import os
import random
from typing import Final

__all__ = ["VERSION_BYTES", "new_version"]

VERSION_BYTES: Final = 12

# Of its own: what users do with the module's generator, such as to seed it alike in each process, must not matter here.
_random: Final = random.Random()  # noqa: S311 - no secrets
_bits: Final = _random.getrandbits


def new_version() -> bytes:
    """Return a new version."""
    return _bits(8 * VERSION_BYTES).to_bytes(VERSION_BYTES, "little")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)
