"""What is stored: users, each a dict of five fields, under str keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["auser", "fresh", "user", "user_keys"]


def user_keys(rng: np.random.Generator, count: int) -> list[str]:
    """Return distinct keys such as "user:012345678", whose hash is known, as that of a key in use."""
    keys = [f"user:{number:09d}" for number in (rng.choice(1 << 29, size=count, replace=False) + 1000).tolist()]
    for key in keys:
        hash(key)
    return keys


def fresh(keys: list[str]) -> list[str]:
    """Return equal keys as a service makes them for each request: new objects, not hashed yet."""
    return [f"user:{key[5:]}" for key in keys]


def user(key: str) -> dict[str, Any]:
    """Return the value of a key; the origin of the benchmark, which takes a microsecond."""
    number = key[5:]
    return {"id": int(number), "name": f"User {number}", "email": f"{number}@example.com", "age": 42, "active": True}


async def auser(key: str) -> dict[str, Any]:
    """Return what `user` does, as a coroutine."""
    return user(key)
