"""A tier in the hands of a test: by its plain methods or by those for asyncio, with a listener that remembers."""

# ruff: noqa: S101 - a suite of tests states what it expects by assert

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from hotset.tiers.contract import Entry, Found, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hotset.tiers.contract import Fence, Tier

__all__ = ["LONG", "NAMES", "Driver", "RecordingListener", "entry", "opened", "run_threads", "same_face"]

LONG: Final = 3600.0  # seconds; no test lives to see the end of it
# What a tier has to tell apart, and to keep as it is.
NAMES: Final = (
    "",
    " ",
    "two words",
    "tab\tand\nnewline\r\n",
    "\x00",
    "a\x00b",
    "é, ß, 日本語, 🦊",
    "e\u0301",
    "\\x00\\n",
    "b'bytes'",
    "{tag}:{tag}",
    "{",
    "*",
    "?[a-z]*",
    "a:b:c",
    "../../etc/passwd",
    "%s %d {} $1",
    "'; DROP TABLE users; --",
    "n" * 1024,
    "n" * 1023 + "m",
    "日" * 400,
    "本" * 400,
)


def entry(value: Any = "value", **fields: Any) -> Entry:
    """Return an entry of a version of its own, that lives for an hour unless `fields` say otherwise."""
    return Entry(value, os.urandom(12), **{"life": LONG, "keep": LONG, "writer": "a test", **fields})


class RecordingListener:
    """A listener that remembers what it was told."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.tags: list[tuple[str, int]] = []
        self.moments: list[float] = []
        self.losses = 0
        # What `own_version` answers; a test puts in what it writes, as a cache does.
        self.written: dict[str, bytes] = {}

    def changed(self, names: Iterable[str]) -> None:
        """See Listener."""
        self.names.extend(names)

    def invalidated(self, tags: Iterable[str], epoch: int) -> None:
        """See Listener."""
        self.tags.extend((tag, epoch) for tag in tags)

    def own_version(self, name: str) -> bytes | None:
        """See Listener."""
        return self.written.get(name)

    def alive(self, since: float) -> None:
        """See Listener."""
        self.moments.append(since)

    def lost(self) -> None:
        """See Listener."""
        self.losses += 1


class Driver:
    """A tier by one of its two faces, so that one test serves both.

    Without a runner it is the plain one, with a runner the one for asyncio.
    """

    def __init__(self, tier: Tier, listener: RecordingListener, runner: asyncio.Runner | None = None) -> None:
        self.tier = tier
        self.listener = listener
        self.runner = runner
        # The latest epoch that a reading or an invalidation has told.
        self._latest: int | None = None

    def _do(self, verb: str, *args: Any, **options: Any) -> Any:
        """Call a method by its plain name."""
        if self.runner is None:
            return getattr(self.tier, verb)(*args, **options)

        async def call() -> Any:
            return await getattr(self.tier, "a" + verb)(*args, **options)

        return self.runner.run(call())

    @property
    def shared(self) -> bool:
        """Whether other processes see it."""
        return self.tier.shared

    def close(self) -> None:
        """See Tier."""
        self._do("close")

    def read(self, names: Sequence[str]) -> Reading:
        """See Tier."""
        return self._noted(self._do("read", names))

    def lease(self, names: Sequence[str]) -> Reading:
        """See Tier."""
        return self._noted(self._do("lease", names))

    def fill(self, items: Sequence[tuple[str, Entry, Fence]]) -> list[bool]:
        """See Tier."""
        return self._do("fill", items)  # type: ignore[no-any-return]

    def write(self, items: Sequence[tuple[str, Entry]]) -> None:
        """See Tier."""
        self._do("write", items)

    def remove(self, names: Sequence[str], *, expire: bool = False) -> None:
        """See Tier."""
        self._do("remove", names, expire=expire)

    def hold(self, names: Sequence[str], *, expire: bool = False) -> Any:
        """See HoldingTier."""
        return self._do("hold", names, expire=expire)

    def settle(self, items: Sequence[tuple[str, Entry | None]], hold: Any, *, expire: bool = False) -> list[bool]:
        """See HoldingTier."""
        return self._do("settle", items, hold, expire=expire)  # type: ignore[no-any-return]

    def touch(self, name: str, life: float, keep: float) -> bool:
        """See Tier."""
        return self._do("touch", name, life, keep)  # type: ignore[no-any-return]

    def invalidate(self, tags: Sequence[str]) -> int:
        """See Tier."""
        epoch: int = self._do("invalidate", tags)
        self._latest = max(epoch, self._latest or 0)
        return epoch

    def _noted(self, reading: Reading) -> Reading:
        """Remember the epoch of a reading."""
        self._latest = max(reading.epoch, self._latest or 0)
        return reading

    def entry(self, value: Any = "value", **fields: Any) -> Entry:
        """Return an entry as a cache would make it now, of the latest epoch unless `fields` say otherwise."""
        if "epoch" not in fields:
            fields["epoch"] = self.epoch() if self._latest is None else self._latest
        return entry(value, **fields)

    def look(self, name: str) -> Entry | None:
        """Return what is there under one name."""
        return self.read([name]).found[0].entry

    def values(self, names: Sequence[str]) -> list[Any]:
        """Return the values that are there, be they live or not; None for what is missing."""
        return [None if found.entry is None else found.entry.value for found in self.read(names).found]

    def epoch(self) -> int:
        """Return the epoch as of now."""
        return self.read(["whatever"]).epoch

    def serves(self, name: str) -> Any:
        """Return the value that a reader would be given, or None: what is absent, expired or dead is none."""
        seen = self.look(name)
        return None if seen is None or seen.life <= 0 else seen.value

    def begin(self, name: str) -> tuple[Found, int]:
        """Begin a load as a cache does: read, and where that gives no fence, lease; what was found, and the epoch."""
        reading = self.read([name])
        if reading.found[0].fence is None:
            epoch = reading.epoch
            reading = self.lease([name])
            return reading.found[0], epoch
        return reading.found[0], reading.epoch

    def end(self, name: str, loaded: Entry, fence: Fence) -> bool:
        """End a load: fill one name."""
        return self.fill([(name, loaded, fence)])[0]


@contextlib.contextmanager
def opened(tier: Tier, namespace: str, runner: asyncio.Runner | None) -> Iterator[Driver]:
    """Open a tier, and close it by both of its faces in the end."""
    listener = RecordingListener()
    tier.open(namespace, listener)
    driver = Driver(tier, listener, runner)
    try:
        yield driver
    finally:
        driver.close()
        tier.close()


def same_face(driver: Driver) -> contextlib.AbstractContextManager[asyncio.Runner | None]:
    """Give a thread a runner of its own, if the driver has one."""
    return contextlib.nullcontext() if driver.runner is None else asyncio.Runner()


def run_threads(work: Callable[[int], None], count: int, patience: float) -> None:
    """Run `work(0)` to `work(count - 1)` at once; raise the first error of any."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 3 * patience
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    # The cause rather than the barrier that it broke for the others.
    errors.sort(key=lambda error: isinstance(error, threading.BrokenBarrierError))
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads), f"a thread hangs for more than {3 * patience} s"
