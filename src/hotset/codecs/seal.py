"""Seals: proof that bytes were written by a holder of a key, for the name that they are read under.

A seal covers the name, the header and the body of an envelope, all but the fence at its front (`hotset.wire` says why).
Whoever can write to the server but has no key can drop entries, end their lives, and put an *older* entry of the same
name back, until its sealed expiry; nothing else. HMAC-SHA256 leaves values readable; with `encrypt` they are sealed by
AES-256-GCM, and names, tags and times stay readable.

Keys are rotated by id: add the new key to all processes, then make it current, then drop the old one when its entries
have expired. What was sealed with an id that is not there is refused.
"""

from __future__ import annotations

import hmac
import os
import zlib
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, Protocol

__all__ = ["Seal"]

_MAC_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16


class _Mechanism(Protocol):
    """One key in use."""

    def close(self, bound: bytes, body: bytes) -> bytes: ...
    def open(self, bound: bytes, sealed: bytes | memoryview) -> bytes | memoryview | None: ...


class Seal:
    """Keys by id, one of them current: that one closes, all of them open.

    `keys` are secret random bytes (``secrets.token_bytes(32)``): 16 at least, exactly 32 with `encrypt`. With `encrypt`
    and random nonces, rotate a key before it has sealed four thousand million entries.

    Raises TypeError or ValueError for keys that are not, ImportError if `encrypt` is asked for and the package
    `cryptography` (extra ``hotset[encrypt]``) is not installed.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str, *, encrypt: bool = False) -> None:
        if not isinstance(keys, Mapping):
            raise TypeError(f"keys must be a mapping of ids to bytes, not {type(keys).__name__}")
        if current not in keys:
            raise ValueError(
                f"current must be the id of one of the keys, {', '.join(map(repr, keys))}; not {current!r}"
            )
        mechanism: type[_Authenticated | _Encrypted] = _Encrypted if encrypt else _Authenticated
        self._mechanisms: dict[int, _Mechanism] = {}
        for name, key in keys.items():
            number = _number(name)
            if number in self._mechanisms:
                raise ValueError(f"key id {name!r} has the same CRC-32 as another id: choose another")
            if not isinstance(key, bytes):
                raise TypeError(f"key {name!r} must be bytes, not {type(key).__name__}")
            if encrypt and len(key) != 32:
                raise ValueError(f"key {name!r} must have 32 bytes for AES-256-GCM, not {len(key)}")
            if len(key) < 16:
                raise ValueError(f"key {name!r} must have 16 bytes at least for HMAC-SHA256, not {len(key)}")
            self._mechanisms[number] = mechanism(key)
        self._ids = tuple(keys)
        self._current_id = current
        self._current = self._mechanisms[_number(current)]
        self.key: Final = _number(current)
        self.encrypts: Final = bool(encrypt)
        self.overhead: Final = mechanism.overhead

    def __repr__(self) -> str:
        """Name the key ids; the keys stay out of logs."""
        return f"Seal(keys={list(self._ids)!r}, current={self._current_id!r}, encrypt={self.encrypts!r})"

    def close(self, bound: bytes, body: bytes) -> bytes:
        """Return a body under seal, `overhead` bytes longer; `bound` is sealed with it and not stored."""
        return self._current.close(bound, body)

    def open(self, key: int, bound: bytes, sealed: bytes | memoryview) -> bytes | memoryview | None:
        """Return the body, or None if the key is unknown or the seal is not whole."""
        mechanism = self._mechanisms.get(key)
        if mechanism is None or len(sealed) < self.overhead:
            return None
        return mechanism.open(bound, sealed)


class _Authenticated:
    """HMAC-SHA256; the body stays as it is."""

    overhead: Final = _MAC_BYTES

    def __init__(self, key: bytes) -> None:
        # A key of its own for each use: the same secret may serve both mechanisms.
        derived = hmac.digest(key, b"hotset seal 1: HMAC-SHA256", "sha256")
        self._keyed: Any = hmac.new(derived, digestmod="sha256")

    def close(self, bound: bytes, body: bytes) -> bytes:
        return b"".join((body, self._mac(bound, body)))

    def open(self, bound: bytes, sealed: bytes | memoryview) -> bytes | memoryview | None:
        body = sealed[:-_MAC_BYTES]
        return body if hmac.compare_digest(self._mac(bound, body), sealed[-_MAC_BYTES:]) else None

    def _mac(self, bound: bytes, body: bytes | memoryview) -> bytes:
        """Sign both; the length in front tells where one ends."""
        mac = self._keyed.copy()
        mac.update(len(bound).to_bytes(4, "little") + bound)
        mac.update(body)
        signature: bytes = mac.digest()
        return signature


class _Encrypted:
    """AES-256-GCM: nonce, ciphertext, tag."""

    overhead: Final = _NONCE_BYTES + _TAG_BYTES

    def __init__(self, key: bytes) -> None:
        try:
            aead = import_module("cryptography.hazmat.primitives.ciphers.aead")
            exceptions = import_module("cryptography.exceptions")
        except ImportError as error:
            raise ImportError("Seal(encrypt=True) needs cryptography: pip install 'hotset[encrypt]'") from error
        self._cipher: Any = aead.AESGCM(hmac.digest(key, b"hotset seal 1: AES-256-GCM", "sha256"))
        self._invalid: type[Exception] = exceptions.InvalidTag

    def close(self, bound: bytes, body: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return b"".join((nonce, self._cipher.encrypt(nonce, body, bound)))

    def open(self, bound: bytes, sealed: bytes | memoryview) -> bytes | None:
        try:
            body: bytes = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
        except self._invalid:
            return None
        return body


def _number(key_id: str) -> int:
    """Return the 32 bits that stand for a key id in an envelope."""
    if not isinstance(key_id, str):
        raise TypeError(f"key ids must be str, not {type(key_id).__name__}")
    return zlib.crc32(key_id.encode())
