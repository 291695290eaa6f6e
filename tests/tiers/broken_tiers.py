"""Tiers with one fault each, and the tests of the contract suite that must find it.

Collected by test_contract_itself.py alone, in a process of its own: here, failing is right.
"""

import asyncio
import dataclasses
import time

from tiers.dict_tier import DictTier, Storage

from hotset.errors import TierError
from hotset.testing.tier_contract import TierContract
from hotset.tiers.contract import CLEAR, Found, Reading

ORDERS = "test_a_load_and_other_changes_in_any_order"

# Name of the test class -> what must fail in it.
FAULTS = {}


def broken(*found_by):
    """Make a test class of a faulty tier."""

    def decorate(faulty):
        class Suite(TierContract):
            patience = 0.5

            def make_tier(self):
                self.storage = Storage() if not hasattr(self, "storage") else self.storage
                return faulty(self.storage)

            make_peer = make_tier

        Suite.__name__ = Suite.__qualname__ = f"Test{faulty.__name__}"
        globals()[Suite.__name__] = Suite
        FAULTS[Suite.__name__] = found_by
        return faulty

    return decorate


# Fences


@broken(
    "test_a_leased_name_can_be_filled_once",
    "test_an_entry_is_refreshed_by_the_fence_of_its_reading",
    "test_any_schedule",
    ORDERS,
)
class IgnoresFences(DictTier):
    def fence_holds(self, name, fence):
        return fence is not None


@broken("test_no_fence_no_fill")
class FillsWithoutFence(DictTier):
    def fence_holds(self, name, fence):
        return fence is None or super().fence_holds(name, fence)


@broken("test_of_two_leases_one_fills", "test_of_two_fills_in_one_call_one_is_stored", "test_several_threads_at_once")
class FillKeepsFences(DictTier):
    def filled(self, name):
        self.tell("changed", [name])


@broken("test_a_batch_of_fills_is_judged_name_by_name", ORDERS)
class WriteKeepsFences(DictTier):
    def write(self, items):
        with self.storage.lock:
            for name, entry in items:
                self.put(name, entry)


@broken(ORDERS, "test_any_schedule")
class RemoveKeepsFences(DictTier):
    def remove(self, names, *, expire=False):
        before = {name: self.storage.states[self.place(name)] for name in names}
        super().remove(names, expire=expire)
        if not expire:
            for name, state in before.items():
                self.storage.states[self.place(name)] = state


@broken(ORDERS, "test_any_schedule")
class ExpireKeepsFences(DictTier):
    def remove(self, names, *, expire=False):
        before = {name: self.storage.states[self.place(name)] for name in names}
        super().remove(names, expire=expire)
        if expire:
            for name, state in before.items():
                self.storage.states[self.place(name)] = state


# Holds


@broken("test_a_held_name_is_filled_by_nobody")
class FillsWhatIsHeld(DictTier):
    def fence_holds(self, name, fence):
        return fence is not None and fence == self.storage.states[self.place(name)]


@broken("test_a_missing_name_that_is_held_is_leased_to_nobody")
class LeasesWhatIsHeld(DictTier):
    def leased(self, name, refused):
        found = super().leased(name, refused)
        return Found(None, self.storage.states[self.place(name)]) if found.fence is None else found


@broken("test_a_held_name_is_removed")
class HoldsWithoutRemoving(DictTier):
    def hold(self, names, *, expire=False):
        with self.storage.lock:
            before = {name: self.storage.kept.get(self.place(name)) for name in names}
            token = super().hold(names, expire=expire)
            self.storage.kept.update({self.place(name): kept for name, kept in before.items() if kept})
        return token


@broken("test_of_two_that_hold_a_name_none_stores")
class TheLastHolderStores(DictTier):
    def keep_held(self, name, count, alone):
        super().keep_held(name, count, self.latest if count else None)

    def hold(self, names, *, expire=False):
        self.latest = self.storage.latest = object()
        super().hold(names, expire=expire)
        return self.latest

    def settle(self, items, hold, *, expire=False):
        self.latest = self.storage.latest
        return super().settle(items, hold, expire=expire)


@broken("test_nobody_else_ends_a_hold")
class HoldsOnlyWhatIsMissing(DictTier):
    def fence_holds(self, name, fence):
        return fence == self.storage.states[self.place(name)] and (
            self.present(name) is not None or not self.is_held(name)
        )


@broken("test_nobody_else_ends_a_hold")
class RemoveEndsHolds(DictTier):
    def remove(self, names, *, expire=False):
        super().remove(names, expire=expire)
        for name in names:
            self.storage.held.pop(self.place(name), None)


@broken("test_what_is_settled_is_stored", "test_what_is_settled_without_an_entry_can_be_loaded")
class SettleKeepsHolding(DictTier):
    def settle(self, items, hold, *, expire=False):
        held = dict(self.storage.held)
        settled = super().settle(items, hold, expire=expire)
        self.storage.held.update(held)
        return settled


@broken(ORDERS)
class RemoveOfMissingNamesDoesNothing(DictTier):
    """The commonest fault: whoever loads a name that is not there is not told that it was deleted at the origin."""

    def remove(self, names, *, expire=False):
        super().remove([name for name in names if self.present(name) is not None], expire=expire)


@broken(ORDERS)
class FenceIsWhetherItIsThere(DictTier):
    """Written and removed again looks as if nothing had been."""

    def found(self, name, refused):
        found = super().found(name, refused)
        return Found(found.entry, None if found.entry is None else found.entry.version)

    def leased(self, name, refused):
        found = self.found(name, refused)
        return Found(None, b"") if found.entry is None else found

    def fence_holds(self, name, fence):
        entry = self.present(name)
        return fence == (b"" if entry is None or self.is_dead(entry) else entry.version)


@broken("test_a_lease_finds_what_came_meanwhile", "test_names_come_in_the_order_asked_for")
class LeaseDoesNotLook(DictTier):
    def leased(self, name, refused):
        return Found(None, self.storage.states[self.place(name)])


@broken("test_a_lease_tells_whether_it_is_the_first")
class LeasesLookAllTheSame(DictTier):
    def is_leased(self, name):
        return False


@broken("test_a_lease_tells_whether_it_is_the_first")
class LeasesOutliveRemoval(DictTier):
    def is_leased(self, name):
        return self.place(name) in self.storage.leases


@broken("test_a_missing_name_of_a_shared_tier_has_no_fence")
class ReadLeases(DictTier):
    def found(self, name, refused):
        return Found(super().found(name, refused).entry, self.storage.states[self.place(name)])


@broken("test_any_schedule", "test_a_leased_name_can_be_filled_once")
class RefusesAllFills(DictTier):
    def fence_holds(self, name, fence):
        return False


# Tags and epochs


@broken("test_an_invalidated_tag_ends_older_entries_that_have_it", "test_several_tags_at_once", ORDERS)
class IgnoresTags(DictTier):
    def is_dead(self, entry):
        return super().is_dead(dataclasses.replace(entry, tags=()))


@broken("test_clear_ends_all_older_entries")
class IgnoresClear(DictTier):
    def is_dead(self, entry):
        return any(self.storage.ended.get((self.namespace, tag), 0) > entry.epoch for tag in entry.tags)


@broken("test_an_invalidated_tag_ends_older_entries_that_have_it")
class AnyTagEndsAll(DictTier):
    def invalidate(self, tags):
        return super().invalidate([*tags, CLEAR])


@broken("test_odd_tags")
class TagsArePrefixes(DictTier):
    def is_dead(self, entry):
        joined = ",".join(entry.tags)
        return any(
            epoch > entry.epoch and (tag == CLEAR or tag in joined)
            for (namespace, tag), epoch in self.storage.ended.items()
            if namespace == self.namespace
        )


@broken("test_what_began_before_an_invalidation_is_dead_on_arrival", ORDERS)
class StoresTheEpochOfArrival(DictTier):
    def put(self, name, entry):
        super().put(name, dataclasses.replace(entry, epoch=self.storage.epochs[self.namespace]))


@broken("test_an_invalidated_tag_ends_older_entries_that_have_it", "test_a_dead_entry_can_be_replaced")
class InvalidationHoldsForEver(DictTier):
    def is_dead(self, entry):
        return any((self.namespace, tag) in self.storage.ended for tag in (CLEAR, *entry.tags))


@broken("test_a_dead_entry_does_not_come_to_life_again")
class TouchRevives(DictTier):
    def touch(self, name, life, keep):
        with self.storage.lock:
            entry = self.present(name)
            if entry is None:
                return False
            self.put(name, dataclasses.replace(entry, life=life, keep=keep, epoch=self.storage.epochs[self.namespace]))
            return True


@broken("test_the_epoch_grows_with_every_invalidation")
class ReadsTellNoEpoch(DictTier):
    def look_up(self, look, names):
        return Reading(super().look_up(look, names).found)


@broken("test_namespaces_are_apart")
class NamespacesAreOne(DictTier):
    def open(self, namespace, listener):
        super().open("all", listener)


# Entries, names and times


@broken("test_an_entry_comes_back_as_it_was")
class ForgetsWhoWrote(DictTier):
    def put(self, name, entry):
        super().put(name, dataclasses.replace(entry, writer=""))


@broken("test_an_entry_comes_back_as_it_was")
class ForgetsAbsence(DictTier):
    def put(self, name, entry):
        super().put(name, dataclasses.replace(entry, absent=False))


@broken("test_an_entry_comes_back_as_it_was")
class AgesNot(DictTier):
    def present(self, name):
        entry = super().present(name)
        return entry and dataclasses.replace(entry, age=0.0)


@broken("test_an_entry_comes_back_as_it_was")
class ChangesWhatItIsGiven(DictTier):
    def put(self, name, entry):
        entry.life = min(entry.life, 3000.0)
        super().put(name, entry)


@broken("test_an_entry_whose_life_is_over_is_kept", "test_expire")
class DropsAtTheEndOfLife(DictTier):
    def present(self, name):
        entry = super().present(name)
        return entry if entry is not None and entry.life > 0 else None


@broken("test_an_entry_that_is_kept_no_longer_is_gone", "test_expire_does_not_prolong")
class DropsNothing(DictTier):
    def put(self, name, entry):
        super().put(name, dataclasses.replace(entry, keep=3600.0))


@broken("test_names_come_in_the_order_asked_for")
class AnswersEachNameOnce(DictTier):
    def look_up(self, look, names):
        return super().look_up(look, list(dict.fromkeys(names)))


@broken("test_names_come_in_the_order_asked_for")
class AnswersInItsOwnOrder(DictTier):
    def look_up(self, look, names):
        return super().look_up(look, sorted(names))


@broken("test_odd_names")
class StripsNames(DictTier):
    def place(self, name):
        return self.namespace, name.strip()


@broken("test_odd_names")
class CutsLongNames(DictTier):
    def place(self, name):
        return self.namespace, name[:250].encode("ascii", "replace")


@broken("test_touch_of_a_missing_name")
class TouchSaysYes(DictTier):
    def touch(self, name, life, keep):
        super().touch(name, life, keep)
        return True


# Listeners


@broken("test_a_change_by_another_process_is_told", "test_an_invalidation_by_another_process_is_told")
class TellsNothing(DictTier):
    def tell(self, told, *args):
        pass


@broken("test_changes_are_told_again_and_again")
class TellsOnce(DictTier):
    def tell(self, told, *args):
        if args[0] != ["a"] or self.storage.states[self.place("a")] < 3:
            super().tell(told, *args)


@broken("test_what_this_process_has_written_is_not_told")
class TellsItself(DictTier):
    def told(self, tier):
        return tier.namespace == self.namespace


@broken("test_what_another_process_writes_over_ones_own_is_told")
class TakesOwnNamesForOwnChanges(DictTier):
    def tell(self, told, *args):
        for tier in self.storage.tiers:
            if self.told(tier) and (told != "changed" or tier.listener.own_version(args[0][0]) is None):
                tier.news.put((told, args))


@broken("test_what_is_told_as_alive_has_been_told")
class SaysAliveTooEarly(DictTier):
    def tell_news(self):
        while not self.closed.wait(0.02):
            self.listener.alive(time.monotonic())
            while self.news.qsize():
                time.sleep(0.02)
                told, args = self.news.get()
                getattr(self.listener, told)(*args)


@broken("test_the_stream_of_changes_reports_that_it_is_alive")
class SaysAliveOnce(DictTier):
    def tell_news(self):
        self.listener.alive(time.monotonic())


# Form


@broken("test_it_belongs_to_one_cache")
class BelongsToAll(DictTier):
    def open(self, namespace, listener):
        if self.thread is None:
            super().open(namespace, listener)


@broken("test_it_can_be_closed_twice")
class ClosesOnce(DictTier):
    def close(self):
        if self.closed.is_set():
            raise TierError("closed already")
        super().close()


@broken("test_names_come_in_the_order_asked_for[async]", "test_remove[async]")
class AsyncIsAnother(DictTier):
    async def aread(self, names):
        return Reading([Found(None)] * len(names))

    async def aremove(self, names, *, expire=False):
        pass


@broken("test_many_tasks_at_once[async]")
class TasksGetEachOthersAnswers(DictTier):
    asked = None

    async def aread(self, names):
        self.asked = names
        await asyncio.sleep(0)
        return self.read(self.asked)


@broken("test_one_event_loop_after_another")
class KeepsToItsFirstLoop(DictTier):
    loop = None

    async def aread(self, names):
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
        if self.loop is not asyncio.get_running_loop():
            raise RuntimeError("attached to a different loop")
        return self.read(names)
