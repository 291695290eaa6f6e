"""What can be set for a cache and for one call: call before cache before default."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypedDict

from hotset.durations import Duration, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CacheOptions", "CallOptions", "Duration", "Options"]


class CallOptions(TypedDict, total=False):
    """The options of a call as they are given, by name; `Options` says what they mean."""

    ttl: Duration | None
    keep: Duration
    jitter: float
    negative_ttl: Duration
    refresh_ahead: float | None
    xfetch: float | None
    stale_while_revalidate: Duration
    fail_safe_throttle: Duration
    soft_timeout: Duration | None
    hard_timeout: Duration | None
    lock_timeout: Duration


class CacheOptions(CallOptions, total=False):
    """The options of a cache as they are given: all that a call may have, and what only a whole cache can have."""

    max_loads: int | None
    max_loads_wait: Duration
    max_staleness: Duration


_DURATIONS: Final = {
    "fail_safe_throttle",
    "hard_timeout",
    "keep",
    "lock_timeout",
    "max_staleness",
    "negative_ttl",
    "soft_timeout",
    "stale_while_revalidate",
    "ttl",
}
_NAMES: Final = CacheOptions.__optional_keys__
_OF_THE_CACHE: Final = _NAMES - CallOptions.__optional_keys__


@dataclass(frozen=True, slots=True)
class Options:
    """All durations in seconds once made; given as seconds, a timedelta, or text such as "90s" and "1h30m"."""

    # How long an entry lives.
    ttl: float = 300.0
    # How much longer it is kept after that, to be served if the origin fails; 0 for not at all.
    keep: float = 0.0
    # Each life is shortened at random by up to this share, so that what was stored together does not expire together.
    jitter: float = 0.1
    # How long it is remembered that the origin has no such thing; 0 for not at all.
    negative_ttl: float = 0.0
    # After this share of its life the first read of an entry has it loaded anew in the background.
    refresh_ahead: float | None = None
    # Beta of XFetch (Vattani et al., VLDB 2015): early refresh at a random moment, the earlier the dearer the load.
    xfetch: float | None = None
    # For so long after the end of its life an entry is served while it is loaded anew in the background.
    stale_while_revalidate: float = 0.0
    # After a failed load, how long what is kept is served before the origin is asked again.
    fail_safe_throttle: float = 30.0
    # How long a load is waited for, if there is something kept to serve instead.
    soft_timeout: float | None = None
    # How long a load is waited for in any case. It goes on in the background.
    hard_timeout: float | None = None
    # One load in the cluster at a time: wait so long for another process's load before loading; 0 for not at all.
    lock_timeout: float = 0.0
    # Loads under way at once, over all keys, threads and loops; None for no bound.
    max_loads: int | None = None
    # How long a load waits for its turn.
    max_loads_wait: float = 5.0
    # How long memory is served after the last sign that it has been told of every change by others.
    max_staleness: float = 1.0
    # How much longer than it lives an entry is kept, for whatever purpose.
    kept: float = field(init=False)
    # Whether entries are loaded anew before the end of their lives.
    early: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kept", max(self.keep, self.stale_while_revalidate))
        object.__setattr__(self, "early", self.refresh_ahead is not None or self.xfetch is not None)

    def with_(self, given: Mapping[str, Any]) -> Options:
        """Return these options with some changed. Raises TypeError for unknown ones and ValueError for bad values."""
        for name in given:
            if name in _OF_THE_CACHE:
                raise TypeError(f"{name} is set for a cache, not for a call")
        return self.changed(given)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Return a cache's options. Raises TypeError for unknown ones and ValueError for bad values."""
        return cls().changed(given)

    def changed(self, given: Mapping[str, Any]) -> Options:
        """Return these options with some changed, of a cache or a call."""
        if not given:
            return self
        checked = {}
        for name, value in given.items():
            if name not in _NAMES:
                raise TypeError(f"unknown option {name!r}: use one of {', '.join(sorted(_NAMES))}")
            checked[name] = _checked(name, value)
        return replace(self, **checked)


def _checked(name: str, value: Any) -> Any:
    if name in _DURATIONS:
        if value is None and name in {"soft_timeout", "hard_timeout"}:
            return None
        if value is None and name == "ttl":
            return math.inf
        return seconds(value, zero=name not in {"ttl", "soft_timeout", "hard_timeout", "max_staleness"}, name=name)
    if name == "max_loads":
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"max_loads must be a positive int or None, got {value!r}")
        return value
    if name == "max_loads_wait":
        return seconds(value, zero=True, name=name)
    if value is None and name in {"refresh_ahead", "xfetch"}:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if name == "xfetch":
        if not 0 < value < math.inf:
            raise ValueError(f"xfetch must be positive, got {value!r}")
    elif not 0 <= value < 1 or (name == "refresh_ahead" and value == 0):
        raise ValueError(f"{name} must be a share between 0 and 1, got {value!r}")
    return float(value)
