"""Where other brokers reach the order API."""

from __future__ import annotations

import socket

from pod_runtime.ports import name_of, parse_address

_EVERY = frozenset({"0.0.0.0", "::"})


def address_of(listening: socket.socket, host: str) -> str:
    """`host:port` to write where the owner of an account is named.

    `host` is the setting; where it is empty, the host that is listened on, or the machine's name for every interface.
    """
    bound, port = parse_address(name_of(listening))
    named = host or (socket.gethostname() if bound in _EVERY else bound)
    return f"[{named}]:{port}" if ":" in named else f"{named}:{port}"
