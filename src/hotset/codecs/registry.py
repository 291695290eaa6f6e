"""Codecs by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hotset.codecs.messages import JsonCodec, MsgpackCodec
from hotset.codecs.pickles import PickleCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hotset.codecs.contract import Codec

__all__ = ["CODECS", "codec_named"]

CODECS: Final[Mapping[str, Callable[[Any], Codec]]] = {
    "msgpack": MsgpackCodec,
    "json": JsonCodec,
    "pickle": PickleCodec,
}


def codec_named(name: str, type: Any = Any) -> Codec:  # noqa: A002 - the word that users know
    """Return the codec of a name, for values of a type.

    Raises ValueError for an unknown name, TypeError for a type that the codec cannot do, ImportError without its
    package.
    """
    try:
        codec = CODECS[name]
    except (KeyError, TypeError):
        raise ValueError(f"codec must be one of {', '.join(map(repr, CODECS))} or a Codec, not {name!r}") from None
    return codec(type)
