"""What becomes of a write: the policy of a cache, of some of its keys, or of one call.

==============  ================================================================  ==============================
policy          what is done before the call returns                              what the levels have afterwards
==============  ================================================================  ==============================
``through``     all shared levels held, the origin, then the levels               the new value
``behind``      a durable journal, then the levels; the origin later              the new value
``around``      all shared levels held, the origin                                the older value, its life ended
``invalidate``  all shared levels held, the origin                                nothing
==============  ================================================================  ==============================
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

__all__ = ["WritePolicies", "WritePolicy", "WritePolicyChoice", "policy_of"]


class WritePolicy(StrEnum):
    """What becomes of a write; each may be given by its value."""

    THROUGH = "through"
    BEHIND = "behind"
    AROUND = "around"
    INVALIDATE = "invalidate"


WritePolicyChoice: TypeAlias = (
    "WritePolicy | str | Mapping[str, WritePolicy | str] | Callable[[Any], WritePolicy | str]"
)


def policy_of(given: Any, what: str = "write") -> WritePolicy:
    """Return a policy by its name. Raises TypeError, ValueError for what is none."""
    if not isinstance(given, str):
        raise TypeError(f"{what} must be one of {_names()}, got {given!r}")
    try:
        return WritePolicy(given)
    except ValueError:
        raise ValueError(f"{what} must be one of {_names()}, got {given!r}") from None


def _names() -> str:
    return ", ".join(repr(policy.value) for policy in WritePolicy)


class WritePolicies:
    """The policies of a cache's keys.

    `choice` is one policy for all keys; or a mapping of patterns, as `fnmatch.fnmatchcase` takes them, of which the
    first that fits a key counts (str keys as they are, others as `str` writes them), "through" where none does; or is
    called with a key. `capable` says of a policy what the cache lacks for it, if anything. Choosing is O(1) for one
    policy, O(patterns) for several.

    Raises TypeError and ValueError for what is no choice, or cannot be done; a callable's are looked at key by key.
    """

    __slots__ = ("_call", "_capable", "_one", "_patterns")

    def __init__(self, choice: Any, capable: Callable[[WritePolicy], str | None]) -> None:
        self._capable = capable
        self._one: WritePolicy | None = None
        self._patterns: list[tuple[re.Pattern[str], WritePolicy]] = []
        self._call: Callable[[Any], Any] | None = None
        if isinstance(choice, Mapping):
            for pattern, policy in choice.items():
                if not isinstance(pattern, str):
                    raise TypeError(f"a pattern of write must be a str, got {pattern!r}")
                chosen = self.checked(policy, f"write[{pattern!r}]")
                self._patterns.append((re.compile(fnmatch.translate(pattern)), chosen))
        elif callable(choice):
            self._call = choice
        elif isinstance(choice, str):
            self._one = self.checked(choice)
        else:
            raise TypeError(
                f"write must be one of {_names()}, a mapping of patterns to these, or a callable, got {choice!r}"
            )

    @property
    def only(self) -> WritePolicy | None:
        """The policy of all keys, if they have the same."""
        return self._one

    def checked(self, policy: Any, what: str = "write") -> WritePolicy:
        """Return a policy that the cache can do. Raises TypeError, ValueError."""
        chosen = policy_of(policy, what)
        lacking = self._capable(chosen)
        if lacking is not None:
            raise ValueError(f"{what}={chosen.value!r} needs {lacking}")
        return chosen

    def of(self, key: Any) -> WritePolicy:
        """Return the policy of a key."""
        if self._one is not None:
            return self._one
        if self._call is not None:
            return self.checked(self._call(key), f"write({key!r})")
        text = key if isinstance(key, str) else str(key)
        for pattern, policy in self._patterns:
            if pattern.match(text):
                return policy
        return WritePolicy.THROUGH

    def split(self, keys: list[Any], given: WritePolicy | None = None) -> dict[WritePolicy, list[Any]]:
        """Return keys by their policies, or by the one that is given for a call."""
        if given is None:
            given = self._one
        if given is not None:
            return {given: keys}
        split: dict[WritePolicy, list[Any]] = {}
        for key in keys:
            split.setdefault(self.of(key), []).append(key)
        return split
