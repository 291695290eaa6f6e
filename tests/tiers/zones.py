"""Several real servers, and ways to them that can be cut for one client alone."""

import contextlib

from hotset.testing.driver import opened
from hotset.tiers import RedisTier


def restored(servers):
    """Undo what an earlier test has done to servers that all tests share."""
    for server in servers:
        if not server.running:
            server.start()
        server.command("ACL", "SETUSER", "default", "+@all")
        server.command("FLUSHALL")
    return servers


class Places:
    """Servers by name, and tiers on them that find them directly or through a proxy of their own."""

    def __init__(self, servers, make_proxy, names):
        self.servers = dict(zip(names, restored(servers[: len(names)]), strict=True))
        self._make_proxy = make_proxy

    def tiers(self, proxies=None, **options):
        """Return a tier a server; with a dict, fill it with proxies that they go through."""
        made = {}
        for name, server in self.servers.items():
            source = server.url
            if proxies is not None:
                proxies[name] = self._make_proxy(server.address)
                source = proxies[name].url
            made[name] = RedisTier(source, name=name, **{"stream": None, "timeout": 0.2, **options})
        return made


def cut(proxy):
    """Cut a client off from its server, which knows nothing of it."""
    proxy.refuse()
    proxy.cut()


@contextlib.contextmanager
def looking_into(server, namespace="test"):
    """Drive a tier of one server, to see what is there and what is not."""
    with opened(RedisTier(server.url, stream=None), namespace, None) as driver:
        yield driver


def values_at(server, names, namespace="test"):
    """Return what a server itself has: values, None for what is missing or expired."""
    with looking_into(server, namespace) as driver:
        return [driver.serves(name) for name in names]
