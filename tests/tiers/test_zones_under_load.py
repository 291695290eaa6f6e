"""Three zones below two caches, under load: zones are lost and come back, and nothing stale is served."""

import contextlib
import time

import pytest
from tiers.zones import Places, cut, under_load

from hotset.tiered import TieredCache
from hotset.tiered.breaker import Breaker
from hotset.tiers import MemoryTier, ReplicatedTier


@pytest.fixture
def places(five_servers, make_proxy):
    return Places(five_servers, make_proxy, ["a", "b", "c"])


@pytest.mark.stress
def test_a_zone_lost_and_back_under_load_serves_nothing_stale(places, eventually):
    """Two caches, whose local zones differ; the writer reads nothing older than it wrote, nor does the other later.

    One zone is killed, and comes back empty; another is cut off from both, and comes back with what it had.
    """
    ways = [{}, {}]
    options = {"settle": 1.0, "breaker": lambda: Breaker(consecutive=2, open_for=60)}
    written = dict.fromkeys(range(20), 0)
    with contextlib.ExitStack() as stack:
        caches = [
            stack.enter_context(
                TieredCache(
                    "test",
                    [
                        MemoryTier(10),
                        ReplicatedTier(
                            places.tiers(ways[number], stream="tracking", timeout=0.5), local="ab"[number], **options
                        ),
                    ],
                    load=written.get,
                )
            )
            for number in (0, 1)
        ]

        with under_load(*caches, written):
            time.sleep(0.5)
            places.servers["a"].kill()
            time.sleep(1)
            places.servers["a"].start()
            time.sleep(3)
            for one in ways:
                cut(one["b"])
            time.sleep(1)
            for one in ways:
                one["b"].accept()
            time.sleep(3)
        zones = caches[0]._levels[1].tier
        eventually(lambda: zones.states() == {"a": "closed", "b": "closed", "c": "closed"})
        hits = caches[1].stats().levels[1].hits
    assert hits > 0
