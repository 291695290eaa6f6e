"""The promises of `HoldingTier` as tests: part of TierContract, which skips them for a tier that holds nothing."""

# ruff: noqa: S101 - a suite of tests states what it expects by assert

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hotset.tiers.contract import HoldingTier

if TYPE_CHECKING:
    from hotset.testing.driver import Driver

__all__ = ["HoldContract"]

START = pytest.mark.parametrize("start", ["missing", "live", "expired", "leased"])
ENDING = pytest.mark.parametrize("expire", [False, True], ids=["remove", "expire"])


class HoldContract:
    """What a tier owes whose `holds` is true."""

    @pytest.fixture
    def holder(self, tier: Driver) -> Driver:
        """The tier, if it holds."""
        if not getattr(tier.tier, "holds", False):
            pytest.skip("it holds nothing: `holds` is not true")
        assert isinstance(tier.tier, HoldingTier)
        assert tier.shared
        return tier

    def _prepare(self, tier: Driver, start: str) -> None:
        if start in {"live", "expired"}:
            tier.write([("a", tier.entry("old", life=100.0 if start == "live" else -1.0))])
        elif start == "leased":
            tier.lease(["a"])

    @START
    @ENDING
    def test_a_held_name_is_removed(self, holder: Driver, peer: Driver, start: str, expire: bool) -> None:  # noqa: FBT001
        """As by `remove`: nobody is served what was there; with `expire` it is kept, if it was there."""
        self._prepare(holder, start)
        holder.hold(["a", "b"], expire=expire)
        for reader in (holder, peer):
            assert reader.serves("a") is None
            assert (reader.look("a") is not None) == (expire and start in {"live", "expired"})

    @START
    @ENDING
    def test_a_held_name_is_filled_by_nobody(self, holder: Driver, peer: Driver, start: str, expire: bool) -> None:  # noqa: FBT001
        """Neither by the fence of a reading before the hold nor of one during it."""
        self._prepare(holder, start)
        before, _ = peer.begin("a")
        hold = holder.hold(["a"], expire=expire)
        during = [actor.begin("a")[0] for actor in (holder, peer)]
        for actor in (holder, peer):
            for found in (before, *during):
                assert not actor.end("a", actor.entry("loaded"), found.fence)
        assert peer.serves("a") is None
        assert holder.settle([("a", None)], hold, expire=expire) == [True]
        for found in (before, *during):
            assert not peer.end("a", peer.entry("loaded"), found.fence)
        assert peer.serves("a") is None

    def test_a_missing_name_that_is_held_is_leased_to_nobody(self, holder: Driver, peer: Driver) -> None:
        """There is no fence, and nobody to wait for; other names are leased."""
        holder.hold(["a"])
        for actor in (holder, peer):
            held, free = actor.lease(["a", "b"]).found
            assert (held.entry, held.fence, held.taken) == (None, None, False)
            assert free.fence is not None

    @pytest.mark.parametrize("verb", ["remove", "expire", "invalidate", "write", "write what is over"])
    @pytest.mark.parametrize("there", [False, True], ids=["missing", "written meanwhile"])
    def test_nobody_else_ends_a_hold(self, holder: Driver, peer: Driver, verb: str, there: bool) -> None:  # noqa: FBT001
        """The origin is still being changed: what is loaded now is stored by no fence, whatever is there."""
        hold = holder.hold(["a"])
        if there:
            peer.write([("a", peer.entry("written"))])
        if verb == "invalidate":
            peer.invalidate(["t"])
        elif verb in {"remove", "expire"}:
            peer.remove(["a"], expire=verb == "expire")
        else:
            peer.write([("a", peer.entry("written", **({} if verb == "write" else {"life": -1.0, "keep": 0.0})))])
        for actor in (holder, peer):
            found, _ = actor.begin("a")
            assert not actor.end("a", actor.entry("loaded"), found.fence)
        assert holder.settle([("a", holder.entry("new"))], hold) == [True]
        assert peer.serves("a") == "new"
        found, _ = peer.begin("a")
        assert peer.end("a", peer.entry("loaded"), found.fence)

    def test_what_is_settled_is_stored(self, holder: Driver, peer: Driver) -> None:
        """In one call or in several; then everything is as it was."""
        names = [f"name {number}" for number in range(20)]
        hold = holder.hold(names)
        first, second = names[:7], names[7:]
        given = {name: holder.entry(name, tags=("t",)) for name in names}
        assert all(holder.settle([(name, given[name]) for name in first], hold))
        assert peer.values(names) == [*first, *[None] * len(second)]
        assert all(holder.settle([(name, given[name]) for name in second], hold))
        assert peer.values(names) == names
        assert [peer.look(name).version for name in names] == [given[name].version for name in names]  # type: ignore[union-attr]
        assert peer.end(names[0], peer.entry("newer"), peer.read([names[0]]).found[0].fence)
        peer.invalidate(["t"])
        assert peer.values(names[1:]) == [None] * (len(names) - 1)

    @ENDING
    def test_what_is_settled_without_an_entry_can_be_loaded(self, holder: Driver, peer: Driver, expire: bool) -> None:  # noqa: FBT001
        """As after a removal."""
        holder.write([("a", holder.entry("old"))])
        hold = holder.hold(["a"], expire=expire)
        assert holder.settle([("a", None)], hold, expire=expire) == [True]
        assert (peer.look("a") is not None) == expire
        found, _ = peer.begin("a")
        assert peer.end("a", peer.entry("loaded"), found.fence)
        assert holder.serves("a") == "loaded"

    @pytest.mark.parametrize("order", ["first", "last"])
    def test_of_two_that_hold_a_name_none_stores(self, holder: Driver, peer: Driver, order: str) -> None:
        """Nobody knows whose change of the origin was the last; and nobody fills until both have settled."""
        holds = {"one": (holder, holder.hold(["a"])), "two": (peer, peer.hold(["a", "b"]))}
        for who in ("one", "two") if order == "first" else ("two", "one"):
            actor, hold = holds[who]
            found, _ = actor.begin("a")
            assert not actor.end("a", actor.entry("loaded"), found.fence)
            assert actor.settle([("a", actor.entry(who))], hold) == [False]
            assert holder.look("a") is None
        assert peer.settle([("b", peer.entry("b"))], holds["two"][1]) == [True]
        found, _ = peer.begin("a")
        assert peer.end("a", peer.entry("loaded"), found.fence)

    def test_the_next_one_holds_as_the_first(self, holder: Driver, peer: Driver) -> None:
        """What was contested is so no more when all have settled."""
        for _ in range(2):
            first, second = holder.hold(["a"]), peer.hold(["a"])
            holder.settle([("a", None)], first)
            peer.settle([("a", None)], second)
            hold = holder.hold(["a"])
            assert holder.settle([("a", holder.entry("new"))], hold) == [True]
            assert peer.serves("a") == "new"

    def test_a_plain_write_during_a_hold(self, holder: Driver, peer: Driver) -> None:
        """It is served, until what was held is settled."""
        hold = holder.hold(["a"])
        peer.write([("a", peer.entry("written"))])
        assert holder.serves("a") == "written"
        assert holder.settle([("a", holder.entry("new"))], hold) == [True]
        assert peer.serves("a") == "new"
