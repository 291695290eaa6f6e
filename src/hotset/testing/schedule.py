"""What a name must look like after each step of several actors who use it at once."""

# ruff: noqa: S101 - it is part of a suite of tests, which states what it expects by assert

from __future__ import annotations

from typing import TYPE_CHECKING

from hotset.testing.driver import LONG, Driver
from hotset.tiers.contract import CLEAR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hotset.tiers.contract import Entry, Found

__all__ = ["Schedule"]


class Schedule:
    """What a name must look like after each step of several actors, and which fills may or must be stored.

    A step is "begin" (read, or lease), "end" (fill with the fence of the last begin), or one change. The state is
    counted up by what breaks fences.
    """

    def __init__(self, tier: Driver, actors: Mapping[str, Driver], name: str) -> None:
        self.tier = tier
        self.actors = actors
        self.name = name
        self.state = 0
        # A touch may break fences or not.
        self.touches = 0
        self.value: str | None = None
        self.version: bytes | None = None
        self.live = False
        # A death by tag does not break fences, but what began before it must not be served.
        self.epoch = tier.epoch()
        # Actor -> state and touches when it began, what it found, and the epoch then.
        self.begun: dict[str, tuple[int, int, Found, int]] = {}
        self.history: list[str] = []

    def prepare(self, start: str) -> None:
        """Put the name into the state in which the schedule begins."""
        if start != "missing":
            self.do(next(iter(self.actors)), "write")
        if start == "expired":
            self.do(next(iter(self.actors)), "expire")

    def do(self, actor: str, step: str) -> None:
        """Do one step, and check what can be seen."""
        self.history.append(f"{actor} {step}")
        getattr(self, "_" + step)(self.actors[actor], actor)
        for reader in {id(each.tier): each for each in self.actors.values()}.values():
            seen = reader.look(self.name)
            if self.live:
                assert seen is not None, self._told("is there no more")
                assert seen.value == self.value, self._told(f"has the value of {seen.value!r}")
                assert seen.version == self.version, self._told("has a version of something else")
                assert seen.life > 0, self._told("has no life")
            elif seen is not None:
                assert seen.life <= 0, self._told(f"is served, with value {seen.value!r}")
                # Its version is the tier's affair: to give it another one is a way to break its fences.
                assert seen.value == self.value, self._told(f"keeps the value of {seen.value!r}")

    def _told(self, what: str) -> str:
        return f"after {', '.join(self.history)}: {self.name!r} {what}"

    def _new(self, epoch: int) -> Entry:
        return self.tier.entry(f"step {len(self.history)}, {self.history[-1]}", tags=("t",), epoch=epoch)

    def _store(self, new: Entry) -> None:
        self.state += 1
        self.value, self.version, self.live = new.value, new.version, True

    def _begin(self, driver: Driver, actor: str) -> None:
        found, epoch = driver.begin(self.name)
        if self.live:
            assert found.entry is not None, self._told("is not found")
        self.begun[actor] = self.state, self.touches, found, epoch

    def _end(self, driver: Driver, actor: str) -> None:
        if actor not in self.begun:
            return
        state, touches, found, epoch = self.begun[actor]
        new = self._new(epoch)
        stored = driver.end(self.name, new, found.fence)
        unchanged = state == self.state and touches == self.touches and epoch == self.epoch
        # With another one's lease on the same state, either of the two may be the one that is good.
        alone = sum(other == self.state for other, *_ in self.begun.values()) == 1
        if stored:
            assert found.fence is not None, self._told("is filled without a fence")
            # Fills of a tier that is not shared do not break fences.
            if driver.shared:
                assert state == self.state, self._told("is filled over a later change")
            self._store(new)
            self.live = epoch == self.epoch
            if not driver.shared:
                self.state -= 1
        elif unchanged and alone and driver.shared:
            raise AssertionError(self._told("is not filled, though nothing has changed"))

    def _write(self, driver: Driver, _: str) -> None:
        new = self._new(self.epoch)
        driver.write([(self.name, new)])
        self._store(new)

    def _remove(self, driver: Driver, _: str) -> None:
        driver.remove([self.name])
        self.state += 1
        self.value, self.live = None, False

    def _expire(self, driver: Driver, _: str) -> None:
        driver.remove([self.name], expire=True)
        self.state += 1
        self.live = False

    def _touch(self, driver: Driver, _: str) -> None:
        self.touches += 1
        there = driver.touch(self.name, LONG if self.live else -1.0, LONG)
        if self.live:
            assert there, self._told("is not found by touch")

    def _invalidate(self, driver: Driver, _: str) -> None:
        self.epoch = driver.invalidate(["t"])
        self.live = False

    def _clear(self, driver: Driver, _: str) -> None:
        self.epoch = driver.invalidate([CLEAR])
        self.live = False
