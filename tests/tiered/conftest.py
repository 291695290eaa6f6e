"""Real servers and proxies for the tiered cache: those of the tests of tiers."""

from tiers.conftest import (  # noqa: F401
    eventually,
    lasting_server,
    make_proxy,
    make_server,
    proxy,
    server,
    server_binary,
)
