"""Ports for servers that a test starts, and starts again on the same port."""

from __future__ import annotations

import random
import socket

# Below Linux's ephemeral range (32768 on, ip(7)): while a server restarts, no connection of another test can
# have been given its port.
RANGE = range(20_000, 32_000)


def free_port() -> int:
    """A port of loopback that nobody has now."""
    chance = random.SystemRandom()
    while True:
        port = chance.choice(RANGE)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
