"""MemoryTier keeps the promises of a tier: by every policy, by weight, and with a longest life of its own."""

import pytest

from hotset.policies import POLICIES
from hotset.testing.tier_contract import TierContract
from hotset.tiers import MemoryTier


class TestEveryPolicy(TierContract):
    @pytest.fixture(autouse=True, params=POLICIES)
    def choose_policy(self, request):
        self.policy = request.param

    def make_tier(self):
        return MemoryTier(10_000, policy=self.policy)


class TestWeighed(TierContract):
    def make_tier(self):
        return MemoryTier(10_000_000, getsizeof=lambda value: len(repr(value)))


class TestLongestLife(TierContract):
    """With a `ttl` that is longer than the lives in the suite, but for those without end."""

    def make_tier(self):
        return MemoryTier(10_000, ttl="2h")

    # These ask for times without end, which `ttl` is there to forbid.
    test_an_entry_comes_back_as_it_was = None
    test_a_new_entry_has_its_own_times = None
    test_touch_gives_new_times = None

    def test_it_bounds_the_life_and_leaves_the_entry_alone(self, tier):
        given = tier.entry("A", life=1e6, keep=2e6)
        tier.write([("a", given)])
        assert (given.life, given.keep) == (1e6, 2e6)
        assert 7100 < tier.look("a").life <= 7200
        assert tier.touch("a", 1e6, 2e6)
        assert 7100 < tier.look("a").life <= 7200
