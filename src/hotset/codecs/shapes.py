"""The shape of a declared type, in words that are the same in all processes.

Two types of equal words encode alike: the same classes with the same fields of the same types in the same order. What
only validators look at (constraints, docstrings, methods) is left out: they run anyway when a value is decoded.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import sys
import types
import typing
from typing import Any, Final

__all__ = ["describe", "fingerprint"]

_PLAIN: Final = (str, bytes, int, float, bool, type(None))


def describe(type_: Any) -> str:
    """Return the shape of a type; "" for Any."""
    return "" if type_ is Any else _describe(type_, set())


def fingerprint(words: str) -> int:
    """Return 32 bits for a description, never 0 but for "": that stands for any shape."""
    if not words:
        return 0
    return int.from_bytes(hashlib.sha256(words.encode("utf-8", "surrogatepass")).digest()[:4], "little") or 1


def _describe(type_: Any, seen: set[type]) -> str:
    """Describe a part; classes that were seen are named only, or recursive ones would have no end."""
    if type_ is None or type_ is type(None):
        return "None"
    if isinstance(type_, str):
        return type_
    if isinstance(type_, (list, tuple)):
        return f"[{', '.join(_describe(part, seen) for part in type_)}]"
    origin = typing.get_origin(type_)
    if origin is typing.Annotated:
        return _describe(typing.get_args(type_)[0], seen)
    if origin is typing.Literal:
        return f"Literal{list(typing.get_args(type_))!r}"
    if origin in {typing.Union, types.UnionType}:  # two ways to write the same
        return f"Union{_describe(typing.get_args(type_), seen)}"
    if origin is not None:
        return f"{_describe(origin, seen)}{_describe(typing.get_args(type_), seen)}"
    for alias in ("__supertype__", "__value__", "__bound__"):  # NewType, type statement, TypeVar
        if (meant := getattr(type_, alias, None)) is not None and not isinstance(type_, type):
            return f"{getattr(type_, '__name__', '')}={_describe(meant, seen)}"
    if isinstance(type_, type):
        return _describe_class(type_, seen)
    return str(type_)


def _describe_class(cls: type, seen: set[type]) -> str:
    """Describe a class by its name, its fields, and what else changes its encoding."""
    if cls.__module__ == "builtins":
        return cls.__qualname__
    name = f"{cls.__module__}.{cls.__qualname__}"
    if cls in seen:
        return name
    seen.add(cls)
    if issubclass(cls, enum.Enum):
        return f"{name}{[(member.name, member.value) for member in cls]!r}"
    fields = ", ".join(f"{field}: {_describe(type_, seen)}" for field, type_ in _fields(cls).items())
    return f"{name}{{{fields}}}{_struct_options(cls)}"


def _fields(cls: type) -> dict[str, Any]:
    """Return the types of the fields of a class, in order."""
    if isinstance(models := getattr(cls, "model_fields", None), dict):  # pydantic: its own annotations do not resolve
        return {name: getattr(field, "annotation", Any) for name, field in models.items()}
    try:
        hints = typing.get_type_hints(cls)
    except Exception:  # noqa: BLE001 - names that are not there, or not any more: the texts do
        hints = {}
        for base in reversed(cls.__mro__):
            hints |= _annotation_texts(base)
    if dataclasses.is_dataclass(cls):
        return {field.name: hints.get(field.name, field.type) for field in dataclasses.fields(cls)}
    return {name: hint for name, hint in hints.items() if typing.get_origin(hint) is not typing.ClassVar}


def _annotation_texts(cls: type) -> dict[str, Any]:
    """Return a class's own annotations without looking up the names in them."""
    if sys.version_info >= (3, 14):
        import annotationlib  # noqa: PLC0415 - not there before

        return annotationlib.get_annotations(cls, format=annotationlib.Format.STRING)
    return dict(vars(cls).get("__annotations__", {}))


def _struct_options(cls: type) -> str:
    """Return what a msgspec class says of its encoding beyond its fields."""
    config = getattr(cls, "__struct_config__", None)
    if config is None:
        return ""
    names = getattr(cls, "__struct_encode_fields__", ())
    # A default that is left out of the bytes is part of their meaning.
    defaults = getattr(cls, "__struct_defaults__", ()) if config.omit_defaults else ()
    shown = [value if isinstance(value, _PLAIN) else type(value).__qualname__ for value in defaults]
    return repr((names, config.tag_field, config.tag, config.array_like, shown))
