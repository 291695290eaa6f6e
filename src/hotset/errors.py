"""What the tiered cache raises.

::

    HotsetError
    ├── TierError              a level did not do what it was asked; reads and writes go on without it
    │   ├── TierTimeout        it did not answer in time
    │   └── TierUnavailable    it refuses, is away, or its breaker is open
    ├── LoadError              the loader was not, or could not be, used
    │   ├── LoadTimeout        it did not return within the hard timeout; it goes on in the background
    │   └── LoadRefused        the budget of concurrent loads is spent
    ├── WriteError             a write behind was not acknowledged
    │   ├── WriteRefused       the queue has no room, or its owner is closed
    │   └── JournalError       the journal cannot be written: the disk is full, or it is damaged
    │       └── JournalTaken   another process has it open
    ├── CodecError             a value cannot be encoded; bytes that cannot be decoded are a miss and raise nothing
    │   └── ValueTooLarge      its encoding is above the limit
    └── WarmingError           a strategy of warming cannot go on: a damaged list, a level that lists nothing
        └── WarmingStopped     its run was stopped, or its time is up

What a loader raises comes through as it is.
"""

from __future__ import annotations

__all__ = [
    "CodecError",
    "HotsetError",
    "JournalError",
    "JournalTaken",
    "LoadError",
    "LoadRefused",
    "LoadTimeout",
    "TierError",
    "TierTimeout",
    "TierUnavailable",
    "ValueTooLarge",
    "WarmingError",
    "WarmingStopped",
    "WriteError",
    "WriteRefused",
]


class HotsetError(Exception):
    """Base of all errors that are Hotset's own."""


class TierError(HotsetError):
    """A tier did not do what it was asked."""


class TierTimeout(TierError):
    """A tier did not answer in time."""


class TierUnavailable(TierError):
    """A tier refuses, cannot be reached, or is kept out by its breaker or its switch."""


class LoadError(HotsetError):
    """A loader was not, or could not be, used."""


class LoadTimeout(LoadError):
    """A loader did not return within the hard timeout."""


class LoadRefused(LoadError):
    """As many loads as the budget allows are under way, and none ended in time."""


class WriteError(HotsetError):
    """A write behind was not acknowledged; whether the origin gets it is unknown if it says so, and never otherwise."""


class WriteRefused(WriteError):
    """The queue of writes behind has no room, and got none in time; or it takes no more."""


class JournalError(WriteError):
    """The journal of writes behind cannot be opened, read or written."""


class JournalTaken(JournalError):
    """Another process has the journal open."""


class CodecError(HotsetError):
    """A value cannot be encoded."""


class ValueTooLarge(CodecError):
    """The encoding of a value is above the size limit."""


class WarmingError(HotsetError):
    """A strategy of warming cannot go on."""


class WarmingStopped(WarmingError):
    """The run that a strategy belongs to was stopped, or its time is up."""
