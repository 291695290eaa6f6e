"""NumPy's `.npz` with an array `keys`, and perhaps `sizes`, `costs` and `times`; `.npy` with the keys alone."""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from hotset.lab.formats.source import Chunk, Source, words
from hotset.lab.trace import Floats, TraceError, Words

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

NAME = "numpy"
SUFFIXES = (".npz", ".npy")
_STEP = 1 << 18
_OTHERS = {"sizes": "size", "costs": "cost", "times": "time"}


def fits(head: bytes, _source: Source) -> bool:
    """Whether this is such a file, by its first bytes."""
    return head.startswith((b"PK\x03\x04", b"\x93NUMPY"))


def chunks(source: Source) -> Iterator[Chunk]:
    """Yield the requests. A `.npy` is mapped, not read; the arrays of an `.npz` are in memory."""
    if source.compressed is not None:
        raise source.error(f"an array in a {source.compressed} file cannot be read: uncompress it")
    keys, others = _arrays(source)
    if keys.ndim != 1:
        raise source.error(f"the keys must be a one-dimensional array, not of shape {keys.shape}")
    if keys.dtype.kind not in "iuSU":
        raise source.error(f"the keys must be integers or text, not {keys.dtype}")
    for name, array in others.items():
        _check(source, name, array, len(keys))
    for start in range(0, len(keys), _STEP):
        part = slice(start, start + _STEP)
        sizes, costs, times = (_floats(others[name][part]) if name in others else None for name in _OTHERS)
        yield Chunk(_words(keys[part]), sizes, costs, times)


def _words(keys: npt.NDArray[Any]) -> Words:
    if keys.dtype.kind == "U":
        return words([key.encode("utf-8", "surrogatepass") for key in keys.tolist()])
    if keys.dtype.kind == "S":
        return words(keys.tolist())
    if keys.dtype.kind == "u":
        return keys.astype(np.uint64)
    return keys.astype(np.int64).view(np.uint64)


def _floats(values: npt.NDArray[Any]) -> Floats:
    return values.astype(np.float64)


def _check(source: Source, name: str, array: npt.NDArray[Any], count: int) -> None:
    if array.shape != (count,):
        raise source.error(f"{name} must be as many as keys, {count:,}, not of shape {array.shape}")
    if array.dtype.kind not in "iuf":
        raise source.error(f"{name} must be numbers, not {array.dtype}")
    bad = np.flatnonzero(~(np.asarray(array) >= 0)) if name != "times" else np.flatnonzero(np.isnan(array))
    if len(bad):
        raise source.error(f"{name}[{bad[0]}] must not be negative, got {array[bad[0]]}")


def _arrays(source: Source) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[Any]]]:
    try:
        if not source.head().startswith(b"PK"):
            mapped: npt.NDArray[Any] = np.load(source.path, mmap_mode="r")
            return mapped, {}
        # Opened here: NumPy leaves the file of a broken archive to the garbage collector.
        with source.path.open("rb") as file, np.load(file) as found:
            key = source.columns.get("key", "keys")
            if key not in found.files:
                raise source.error(f"has no array named {key!r} (it has {', '.join(found.files) or 'nothing'})")
            wanted = {name: source.columns.get(column, name) for name, column in _OTHERS.items()}
            return found[key], {name: found[array] for name, array in wanted.items() if array in found.files}
    except TraceError:
        raise
    except (ValueError, EOFError, KeyError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise source.error(f"cannot be read as NumPy arrays of numbers or text: {error}") from error
