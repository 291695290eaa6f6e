"""Rivals: loaded one by one, and named and left out where one is not installed or does not work."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from types import ModuleType

__all__ = ["load", "wanted"]


def load(
    package: str,
    modules: Mapping[str, str],
    always: Collection[str],
    rivals: Collection[str],
    check: Callable[[ModuleType], None] | None = None,
) -> tuple[dict[str, ModuleType], dict[str, str]]:
    """Return the modules of a package by the names that they have on the command line, and why others are missing.

    Those of `always` are loaded in any case, and their errors raised. `check` uses a module as the run will, so that it
    fails here and not in the middle. Raises ValueError for a rival that there is not.
    """
    optional = [name for name in modules if name not in always]
    unknown = sorted(set(rivals) - set(optional))
    if unknown:
        raise ValueError(f"unknown rival {unknown[0]!r}; choose from {', '.join(optional)}")
    loaded: dict[str, ModuleType] = {}
    missing: dict[str, str] = {}
    for name, module_name in modules.items():
        if name not in always and name not in rivals:
            continue
        try:
            module = importlib.import_module(f"{package}.{module_name}")
            if check is not None:
                check(module)
        except ModuleNotFoundError:
            if name in always:
                raise
            missing[name] = "not installed"
        except Exception as error:
            # A rival that is too old or broken fails in ways of its own; the run goes on without it.
            if name in always:
                raise
            missing[name] = f"does not work ({type(error).__name__}: {error})"
        else:
            for client in module.CLIENTS:
                client.rival = name
            loaded[name] = module
    return loaded, missing


def wanted(text: str, rivals: Collection[str]) -> Collection[str]:
    """Return the rivals named in a list with commas, "all" or "none"; for command lines."""
    if text == "all":
        return rivals
    return () if text == "none" else [name.strip() for name in text.split(",")]
