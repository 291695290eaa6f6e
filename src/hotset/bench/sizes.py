"""How big a benchmark's rows are, as a dataclass of ints with defaults that the bars are meant for."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

__all__ = ["Scale"]


class Scale:
    """What such a dataclass can tell of itself. It has a field `rounds`, which bars do not depend on."""

    __slots__ = ()

    @property
    def is_full(self) -> bool:
        """Tell whether the bars are meant for this size."""
        given: Any = self
        return bool(replace(given, rounds=0) == type(given)(rounds=0))

    def as_dict(self) -> dict[str, int]:
        """Return the sizes for JSON."""
        given: Any = self
        return asdict(given)
