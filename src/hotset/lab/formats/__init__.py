"""The kinds of trace files: a module each, with NAME, SUFFIXES, `fits` (can this be one?) and `chunks` (requests)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from hotset.lab.formats import arc, arrays, lirs, monitor, oracle, plain, table, weblog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hotset.lab.formats.source import Chunk, Source

__all__ = ["FORMATS", "Format", "format_of"]


class Format(Protocol):
    """What such a module has."""

    NAME: str
    SUFFIXES: tuple[str, ...]

    def fits(self, head: bytes, source: Source, /) -> bool:
        """Whether a file that begins so can be of this kind."""

    def chunks(self, source: Source, /) -> Iterator[Chunk]:
        """Yield the requests."""


# In the order in which they are tried: what is told apart for certain comes first, text takes what is left.
FORMATS: Final[dict[str, Format]] = {
    module.NAME: module for module in (arrays, monitor, weblog, arc, lirs, table, plain, oracle)
}


def format_of(source: Source) -> Format:
    """Return the kind that a file is of: the one of its name, if what it begins with fits, else the first that fits.

    Raises TraceError for an empty file, and for one that is of none of the kinds.
    """
    head = source.head()
    if not head:
        raise source.error("the file is empty")
    named = [kind for kind in FORMATS.values() if source.name.endswith(kind.SUFFIXES)]
    for kind in (*named, *FORMATS.values()):
        if kind.fits(head, source):
            return kind
    raise source.error(f"neither text nor any other kind that is known ({', '.join(FORMATS)})")
