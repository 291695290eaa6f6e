"""What the keys of a namespace are called on a Valkey or Redis server: all of it, and nowhere else.

==========================  =======================================================  =================
key                         what is there                                            announced
==========================  =======================================================  =================
``hs:NS:k:NAME``            the entry, as `hotset.wire` writes it                    yes
``hs:NS:l{hs:NS:k:NAME}``   the lease of a name that is not there: 16 bytes;         no
                            or "held count token": who holds the name
``hs:NS:r{hs:NS:k:NAME}``   for seconds: who has removed the name last               no
``hs:{NS}:epoch``           "epoch cleared floor who", see `scripts`                 yes
``hs:{NS}:tags``            a hash: in which epoch each tag was invalidated last     no
``hs:{NS}:bell:TAG``        "epoch who", for seconds: a tag was invalidated          yes
==========================  =======================================================  =================

Leases are kept apart from entries, so that a miss is not announced to every process as a change. The mark of a removal
tells the process that made it that what is announced is its own doing. Both hash to the slot of their entry, the rest
to one slot of the namespace, so scripts have the keys that they need on one node. (Only a name that has a closing brace
without being a hash tag of its own may have them elsewhere.)

In a namespace, colons, braces and percent signs are written as in URLs: no namespace is the beginning of another one.
Names and tags are what they are, in UTF-8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from hotset.names import is_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Keys", "Kind", "literal"]

Kind = Literal["entry", "state", "bell", ""]

_QUOTED: Final = str.maketrans({sign: f"%{ord(sign):02X}" for sign in "%:{}"})


class Keys:
    """The keys of one namespace."""

    __slots__ = ("_bell", "_entry", "_lease", "_removal", "channel", "state", "tags", "tracked")

    def __init__(self, namespace: str) -> None:
        space = namespace.translate(_QUOTED)
        self._entry = f"hs:{space}:k:"
        # What is kept beside an entry hashes to its slot.
        self._lease = f"hs:{space}:l{{{self._entry}"
        self._removal = f"hs:{space}:r{{{self._entry}"
        self._bell = f"hs:{{{space}}}:bell:"
        self.state = f"hs:{{{space}}}:epoch"
        self.tags = f"hs:{{{space}}}:tags"
        # Where changes are published if they are not tracked.
        self.channel = f"hs:{{{space}}}:changes"
        # The beginnings of the keys whose changes concern other processes.
        self.tracked = (self._entry, self.state, self._bell)

    def entry(self, name: str) -> str:
        """Return where the entry of a name is."""
        return self._entry + name

    def entries(self, names: Iterable[str]) -> list[str]:
        """Return where the entries of names are."""
        prefix = self._entry
        return [prefix + name for name in names]

    @property
    def pattern(self) -> str:
        """What SCAN is to match: where entries are."""
        return literal(self._entry) + "*"

    def names_at(self, places: Sequence[bytes]) -> list[str]:
        """Return the names of entries that are at places of the pattern; what is no name is left out."""
        front = len(self.entry("").encode())
        try:
            names = [place[front:].decode("utf-8", "surrogatepass") for place in places]
        except UnicodeDecodeError:  # anybody may write anything at a server
            names = [name for kind, name in map(self.meaning, places) if kind == "entry"]
        return [name for name in names if name[:1] != "~" or is_name(name)]

    def lease(self, name: str) -> str:
        """Return where the lease of a name is."""
        return self._lease + name + "}" if "}" not in name else _beside(self._lease, name)

    def removal(self, name: str) -> str:
        """Return where it says who has removed a name."""
        return self._removal + name + "}" if "}" not in name else _beside(self._removal, name)

    def of(self, name: str) -> tuple[str, str, str]:
        """Return where the entry of a name is, its lease, and who has removed it."""
        if "}" in name:
            return self._entry + name, self.lease(name), self.removal(name)
        end = name + "}"
        return self._entry + name, self._lease + end, self._removal + end

    def bell(self, tag: str) -> str:
        """Return what rings when a tag is invalidated."""
        return self._bell + tag

    def together(self, names: Sequence[str]) -> list[Sequence[str]]:
        """Return names in groups, of each of which one command may name all keys."""
        return [names]

    def meaning(self, key: bytes) -> tuple[Kind, str]:
        """Return of what kind a key is, and its name or tag; "" for what is not announced, or not of this namespace."""
        try:
            text = key.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return "", ""
        if text.startswith(self._entry):
            return "entry", text[len(self._entry) :]
        if text.startswith(self._bell):
            return "bell", text[len(self._bell) :]
        return ("state", "") if text == self.state else ("", "")


def _beside(prefix: str, name: str) -> str:
    """Return a key for a name that would end the hash tag; if it ends one of its own, that is the slot of all."""
    return f"{prefix.partition('{')[0]}:{name}"


def literal(text: str) -> str:
    """Return a pattern that matches this text and nothing else."""
    return "".join(f"\\{sign}" if sign in "*?[]\\^-" else sign for sign in text)
