"""The level on a real Cluster: the contract."""

import os
from typing import ClassVar

import pytest

from hotset.testing.tier_contract import TierContract
from hotset.tiers import ClusterTier


class TestCluster(TierContract):
    """By server-assisted tracking, and entries read from primaries."""

    options: ClassVar = {}

    @pytest.fixture(autouse=True)
    def namespace(self, cluster):
        """Each test's own, and where its nodes are."""
        self.url = cluster.url
        return f"contract-{os.urandom(6).hex()}"

    def make_tier(self):
        return ClusterTier(self.url, **{"timeout": 1.0, "connect_timeout": 1.0, **self.options})

    make_peer = make_tier
