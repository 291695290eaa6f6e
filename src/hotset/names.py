"""The names under which levels keep keys: a str for every key, and back.

A str is its own name. Other keys get one that begins with a tilde, and so does a str that begins with one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from hotset._wire import plain_names

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Key", "is_name", "key_of", "name_of", "named"]

Key: TypeAlias = "str | int | bytes | tuple[Key, ...]"


def name_of(key: Any) -> str:
    """Return the name of a key. Raises TypeError for what cannot be one.

    >>> name_of("user:1"), name_of(7), name_of(("user", 7))
    ('user:1', '~i7', '~t["user", "~i7"]')
    """
    kind = type(key)
    if kind is str:
        return f"~s{key}" if key[:1] == "~" else key
    if kind is int:
        return f"~i{key}"
    if kind is bytes:
        return f"~b{key.hex()}"
    if kind is tuple:
        return f"~t{json.dumps([name_of(part) for part in key], ensure_ascii=False)}"
    if isinstance(key, str):
        return name_of(str(key))
    raise TypeError(f"a key must be a str, an int, bytes or a tuple of these, got {key!r}")


def named(keys: Iterable[Any]) -> dict[str, Any]:
    """Return keys by their names, each once. Raises TypeError for what cannot be one. O(n)."""
    keys = list(keys)
    # As a rule each is its own name, which one look at all of them tells.
    plain = plain_names(keys)
    if plain is not None:
        return plain
    return {key if type(key) is str and key[:1] != "~" else name_of(key): key for key in keys}


def key_of(name: str) -> Any:
    """Return the key of a name. Raises ValueError for a str that is none."""
    if name[:1] != "~":
        return name
    kind, rest = name[1:2], name[2:]
    try:
        if kind == "s":
            return rest
        if kind == "i":
            return int(rest)
        if kind == "b":
            return bytes.fromhex(rest)
        if kind == "t":
            return tuple(map(key_of, json.loads(rest)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name!r} is no name of a key") from error
    raise ValueError(f"{name!r} is no name of a key")


def is_name(name: str) -> bool:
    """Whether this is the name of a key."""
    try:
        key_of(name)
    except ValueError:
        return False
    return True
