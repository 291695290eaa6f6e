"""Typed messages by msgspec, as MessagePack or as JSON.

Neither can run code, and the memory that a message takes is bounded by its length. Builtins, dataclasses, msgspec and
attrs classes and everything made of them are decoded by the declared type and checked against it. Pydantic models,
wherever they stand in the type, go through their own serializers and validators by field name, not by alias; fields
that a model excludes are lost, and serializers of its own must emit what its validators take. Pydantic's *dataclasses*
are taken for plain ones.

Only JSON loses something without saying so: nan and the infinities become null.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hotset.codecs.shapes import describe

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JsonCodec", "MsgpackCodec"]


class _MsgspecCodec:
    """What both have in common. `encode` and `decode` are msgspec's own C methods: nothing stands in between."""

    id: int
    name: str
    safe = True

    def __init__(
        self,
        type: Any = Any,  # noqa: A002 - the word that users know
        *,
        enc_hook: Callable[[Any], Any] | None = None,
        dec_hook: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        try:
            msgspec = import_module("msgspec")
        except ImportError as error:
            raise ImportError(f"codec {self.name!r} needs msgspec: pip install 'hotset[msgspec]'") from error
        self._form = import_module(f"msgspec.{self.name}")
        self._enc_hook = enc_hook
        self._dec_hook = dec_hook
        self.schema = describe(type)
        self.mismatches: tuple[type[Exception], ...] = (msgspec.ValidationError,)
        self.encode: Callable[[Any], bytes] = self._form.Encoder(enc_hook=self._plain).encode
        self.decode: Callable[[bytes | memoryview], Any] = self._form.Decoder(type, dec_hook=self._typed).decode

    def _plain(self, value: Any) -> Any:
        """Return something that msgspec knows for a value that it does not."""
        if hasattr(value, "__pydantic_serializer__"):
            return self._dump(value)
        if self._enc_hook is not None:
            return self._enc_hook(value)
        raise NotImplementedError(f"there is no encoding for {type(value).__qualname__}")

    def _typed(self, type_: Any, plain: Any) -> Any:
        """Return a value of a type that msgspec does not know."""
        if hasattr(type_, "__pydantic_validator__"):
            return self._validate(type_, plain)
        if self._dec_hook is not None:
            return self._dec_hook(type_, plain)
        raise NotImplementedError(f"there is no decoding for {type_!r}")

    def _dump(self, model: Any) -> Any:
        raise NotImplementedError

    def _validate(self, model_type: Any, plain: Any) -> Any:
        raise NotImplementedError


class MsgpackCodec(_MsgspecCodec):
    """MessagePack: compact, fast, binary safe. The default.

    For classes that msgspec does not know, `enc_hook(value)` returns something that it does, and `dec_hook(type,
    something)` turns it back. Raises TypeError for a type that msgspec cannot do, ImportError without msgspec.
    """

    id = 1
    name = "msgpack"

    def _dump(self, model: Any) -> Any:
        return model.model_dump(round_trip=True, by_alias=False)

    def _validate(self, model_type: Any, plain: Any) -> Any:
        return model_type.model_validate(plain, strict=False, by_alias=False, by_name=True)


class JsonCodec(_MsgspecCodec):
    """JSON, for values that people or other programs read on the server. Hooks and errors as of `MsgpackCodec`."""

    id = 2
    name = "json"

    # Models pass as JSON text both ways: bytes, for one, are told from str by the model alone.
    def _dump(self, model: Any) -> Any:
        return import_module("msgspec").Raw(model.model_dump_json(round_trip=True, by_alias=False).encode())

    def _validate(self, model_type: Any, plain: Any) -> Any:
        text = self._form.encode(plain)
        return model_type.model_validate_json(text, strict=False, by_alias=False, by_name=True)
