"""What tests of a cache need, and what a tier of your own must pass.

``hotset.testing.servers``        real Valkey or Redis servers that are killed, hung, or made to refuse
``hotset.testing.clusters``       a real Cluster whose primaries fail and whose slots move
``hotset.testing.proxy``          a TCP proxy that delays, stalls, cuts and corrupts
``hotset.testing.tier_contract``  the promises of the Tier protocol as a pytest class to subclass

The extra ``hotset[testing]`` installs the server and pytest; nothing here is imported by the cache.
"""

from __future__ import annotations

import sys

__all__: list[str] = []

# Failing assertions of the contract suite then show their values, as in any test module. Not imported for it: a program
# that only wants a server has no need of pytest.
if "pytest" in sys.modules:
    import pytest

    pytest.register_assert_rewrite(
        "hotset.testing.tier_contract", "hotset.testing.hold_contract", "hotset.testing.schedule"
    )
