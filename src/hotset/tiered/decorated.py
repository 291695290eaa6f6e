"""Functions whose results a cache keeps, and how the key of a call is made of its arguments.

A key template is text with the names of parameters in braces, as `str.format` takes it: "user:{user_id}",
"page:{request.path}:{number:04}". Calls whose arguments read differently have different keys: in what stands for a
field, the characters next to the template's fields are percent-encoded, and the percent sign itself. So by
"k:{x}:{y}" the arguments ("1:2", 3) are kept under "k:1%3A2:3", and ("1", "2:3") under "k:1:2%3A3"; and what
"user:{name}" makes of any name is never what "user:{name}:posts" makes of another. Arguments without such characters
stand as they are, `user(7)` under "user:7", to be invalidated by that key; for all others there is `key_of`.

Arguments are told apart by their text, and so 7 and "7" are the same; and only those that the template names.
"""

from __future__ import annotations

import functools
import inspect
import re
import string
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from hotset.tiered.values import Loaded, or_default

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hotset.annotations import Decorated
    from hotset.tiered.effects import Flow
    from hotset.tiered.shell import Shell

__all__ = ["KeyTemplate", "decorated"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_PARAMETER: Final = re.compile(r"[^.\[]*")  # the name that a field begins with
_IN_CODES: Final = frozenset("%0123456789ABCDEF")  # what percent-encoded characters are made of


class KeyTemplate:
    """Makes keys of arguments by name. Raises ValueError for text that is no template or tells too little apart."""

    def __init__(self, text: str) -> None:
        self._text = text
        pieces = _pieces("key", text)
        self._codes = {ord(char): _code(char) for char in (*_separators(text, pieces), "%")}
        if len(self._codes) == 1:
            self._codes = {}  # one field is the whole key
        # Literal, the field to be formatted by itself, and its parameter.
        self._pieces = [
            (literal, None if field is None else f"{{{field}}}", None if field is None else _parameter(field))
            for literal, field in pieces
        ]

    def __repr__(self) -> str:
        return f"<KeyTemplate {self._text!r}>"

    def of(self, arguments: Mapping[str, Any]) -> str:
        """Return the key for these arguments. Raises TypeError for one that has no text of its own."""
        made = []
        for literal, field, parameter in self._pieces:
            made.append(literal)
            if field is None:
                continue
            if field[1:-1] == parameter and _is_told_by_place(arguments[parameter]):
                raise TypeError(
                    f"key {self._text!r} cannot tell {parameter} apart, got {arguments[parameter]!r}: name one of its "
                    "attributes, or give a callable for key"
                )
            made.append(field.format_map(arguments).translate(self._codes))
        return "".join(made)


def decorated(
    function: Callable[_P, _R],
    key: str | Callable[..., Any],
    tags: tuple[str, ...],
    flow_of: Callable[[Any, Callable[[Any], Any]], Flow],
    shell: Shell,
) -> Decorated[_P, _R]:
    """Return a function that looks for its result under its key, by the flow of a key and a loader."""
    signature = inspect.signature(function)
    template = KeyTemplate(key) if isinstance(key, str) else None
    for what, text in (("key", key), *(("tag", tag) for tag in tags)):
        if isinstance(text, str):
            _check_fields(what, text, function, signature.parameters)

    def arguments_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def key_of(*args: Any, **kwargs: Any) -> Any:
        if template is not None:
            return template.of(arguments_of(args, kwargs))
        return cast("Callable[..., Any]", key)(*args, **kwargs)

    def flow(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Flow:
        # Arguments stand in tags as they are: where two of them read alike, one invalidation too many harms nobody.
        tagged = tuple(tag.format_map(arguments_of(args, kwargs)) for tag in tags)
        return flow_of(key_of(*args, **kwargs), _tagged(functools.partial(function, *args, **kwargs), tagged, function))

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def acall(*args: Any, **kwargs: Any) -> Any:
            return or_default(await shell.adrive(flow(args, kwargs)), None)

        wrapper: Any = acall
    else:

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return or_default(shell.drive(flow(args, kwargs)), None)

        wrapper = call
    wrapper.key_of = key_of
    return cast("Decorated[_P, _R]", wrapper)


def _pieces(what: str, text: str) -> list[tuple[str, str | None]]:
    """Return the literals of a template, each with the field behind it as it is written. Raises ValueError."""
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{what} {text!r} is no template: {error}") from None
    pieces: list[tuple[str, str | None]] = []
    for literal, field, spec, conversion in parsed:
        written = None
        if field is not None:
            written = field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
        if pieces and pieces[-1][1] is None:  # an escaped brace ends a piece
            literal = pieces.pop()[0] + literal  # noqa: PLW2901 - of the same literal
        pieces.append((literal, written))
    return pieces


def _parameter(field: str) -> str:
    """Return the name of the parameter that a field begins with."""
    return cast("re.Match[str]", _PARAMETER.match(re.split("[!:]", field, maxsplit=1)[0]))[0]


def _fields(what: str, text: str) -> Iterator[str]:
    """Yield the fields of a template, and those in what they are formatted by."""
    for _, field in _pieces(what, text):
        if field is not None:
            yield field
            yield from _fields(what, field.partition(":")[2])


def _check_fields(what: str, text: str, function: Callable[..., Any], parameters: Iterable[str]) -> None:
    """Raise ValueError for a field that no parameter is called by."""
    known = list(parameters)
    for field in _fields(what, text):
        name = _parameter(field)
        if name not in known:
            called, has = getattr(function, "__qualname__", repr(function)), ", ".join(known) or "none"
            raise ValueError(f"{what} {text!r} has a field {name!r}, and {called} no such parameter: it has {has}")


def _separators(text: str, pieces: list[tuple[str, str | None]]) -> set[str]:
    """Return what no field may have in it. Raises ValueError if there is nothing to tell two fields apart by."""
    literals = [literal for literal, _ in pieces] + ([""] if pieces and pieces[-1][1] is not None else [])
    inner = literals[1:-1]
    before, after = literals[:-1], literals[1:]
    beside = {literal[-1:] for literal in before} | {literal[:1] for literal in after}
    separators = {char for char in beside if char and char != "%" and not char.isalnum()}
    for literal in inner:
        if separators.isdisjoint(literal):
            some = next((char for char in literal if char not in _IN_CODES), None)
            if some is None:
                raise ValueError(f"key {text!r} needs something like ':' between its fields, got {literal!r}")
            separators.add(some)
    return separators


def _code(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))


def _is_told_by_place(value: Any) -> bool:
    """Whether the text of an object is its place in memory, where another one may be later."""
    kind: Any = type(value)
    return kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__ and kind.__format__ is object.__format__


def _tagged(call: Callable[[], Any], tags: tuple[str, ...], function: Callable[..., Any]) -> Callable[[Any], Any]:
    def loaded(value: Any) -> Any:
        if not tags:
            return value
        if isinstance(value, Loaded):
            return Loaded(value.value, value.ttl, (*value.tags, *tags))
        return Loaded(value, tags=tags)

    if inspect.iscoroutinefunction(function):

        async def aload(_key: Any) -> Any:
            return loaded(await call())

        return aload

    def load(_key: Any) -> Any:
        return loaded(call())

    return load
