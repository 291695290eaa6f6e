"""Several real servers, and ways to them that can be cut for one client alone."""

import contextlib
import random
import threading
import time
from collections import deque

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


@contextlib.contextmanager
def under_load(writer, reader, written):
    """Two caches in use, of keys from 0 on whose last values are `written`; both must read nothing stale meanwhile.

    Who writes reads nothing older than it wrote. The other one looks again, 1.5 s later, at what was written or
    invalidated: what its memory holds has been told by then.
    """
    failures, errors = [], []
    ending = threading.Event()

    def read():
        rng = random.Random(2)
        due = deque()
        while not ending.is_set():
            key = rng.randrange(len(written))
            due.append((time.monotonic() + 1.5, key, written[key]))
            while due and due[0][0] < time.monotonic():
                _, key, least = due.popleft()
                seen = reader.get(key)
                if seen < least:
                    failures.append((key, seen, least))
            time.sleep(0.003)

    def write():
        number = 0
        while not ending.is_set():
            number += 1
            key = number % len(written)
            written[key] = number
            if number % 3:
                writer.invalidate(key)
            else:
                writer.set(key, number)
            seen = writer.get(key)
            if seen != number:
                failures.append((key, seen, number))
            time.sleep(0.002)

    def guarded(work):
        try:
            work()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (read, write)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ending.set()
        for thread in threads:
            thread.join(30)
    assert errors == []
    assert failures == []
    assert max(written.values()) > 100
