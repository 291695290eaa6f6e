"""Free TCP ports that stay free while the listener is away."""

from __future__ import annotations

import random
import socket
from typing import Final

__all__ = ["free_port"]

# Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections. From within those, a
# client that tries to reconnect while its server is down can be given the very port that it calls, and is then
# connected to itself.
LISTENING_PORTS: Final = range(15_000, 32_000)
ATTEMPTS: Final = 200


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port of `host` that nothing listens on. Raises OSError if 200 random ones were all taken."""
    # Not seeded: test runs side by side must not try the same ports in the same order.
    for port in random.SystemRandom().sample(LISTENING_PORTS, ATTEMPTS):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free TCP port on {host!r} among {ATTEMPTS} tried")
