"""Keepalive: lets the kernel find out that the other end of a connection is gone without a word.

By default Linux repeats what was written for a quarter of an hour (tcp_retries2), and first asks after two hours if
the other end of an idle connection is there (tcp_keepalive_time; tcp(7)). A translator on the way forgets an idle
connection within minutes, and a node that fails says nothing at all: the next request on such a connection would wait
for its deadline, and nobody would know if it had arrived.

So each connection that outlives a request has these options. An idle one is asked after IDLE_S, again each INTERVAL_S,
and is closed once nothing came for LOST_S; a busy one is closed once what it wrote is unacknowledged for LOST_S. They
do not see a process that stands still, for its kernel goes on answering: deadlines do.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

IDLE_S = 10
INTERVAL_S = 3
LOST_S = 15.0
SocketOption = tuple[int, int, int]
"""Level, name and value, as setsockopt(2) takes them."""


def keepalive_options(lost_s: float = LOST_S) -> Sequence[SocketOption]:
    """Options of a TCP socket whose other end may be silent for `lost_s` seconds at most, where it owes an answer."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    # Linux has all three; other systems, on which developers work, lack one or the other.
    for name, value in (
        ("TCP_KEEPIDLE", IDLE_S),
        ("TCP_KEEPINTVL", INTERVAL_S),
        ("TCP_USER_TIMEOUT", max(1, round(lost_s * 1000))),  # RFC 5482; it bounds the keepalive, too
    ):
        if (option := getattr(socket, name, None)) is not None:
            options.append((socket.IPPROTO_TCP, option, value))
    return options


def keepalive_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket with these options for an address of getaddrinfo(3), as aiohttp's connectors ask for one."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    set_keepalive(made)
    return made


def set_keepalive(made: Any, lost_s: float = LOST_S) -> None:
    """Set the options on a socket, or on an event loop's stand-in for one; a Unix socket needs none."""
    if made.family != socket.AF_UNIX:
        for option in keepalive_options(lost_s):
            made.setsockopt(*option)
