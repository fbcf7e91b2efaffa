"""Listening addresses: parsed, bound before anything else starts, and with the holder named if one is taken."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

# Connections that the kernel keeps while the event loop is busy (listen(2)).
BACKLOG = 128


MAX_SOCKET_PATH = 107
"""Most bytes of a Unix socket's path (unix(7): 108 with the closing zero)."""


class AddressError(Exception):
    """An address cannot be bound; the text says which, why, and which process holds it."""


def parse_address(text: str) -> tuple[str, int]:
    """Split `host:port`, or raise `ValueError`; an IPv6 host stands in brackets, an empty host is every interface."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - 16 bits
        raise ValueError(f"{text!r} is not host:port, for example 127.0.0.1:8090")
    if ":" in bare and not host.startswith("["):
        raise ValueError(f"{text!r}: write an IPv6 host in brackets, for example [::1]:8090")
    return bare, int(port)


def check_socket_path(path: Path) -> None:
    """Raise ValueError if no Unix socket can have the path."""
    if (size := len(os.fsencode(path))) > MAX_SOCKET_PATH:
        raise ValueError(
            f"socket: the path has {size} bytes, a Unix socket takes {MAX_SOCKET_PATH}; give a shorter one"
        )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket, for a server that accepts one ready-made; the caller closes it.

    An empty host is every interface, by IPv6 and IPv4, or by the one family that this machine has. Port 0 takes a free
    port, and so avoids the race of choosing one first and binding it later.

    Raises:
        AddressError: the address is in use, not of this machine, or not allowed.
    """
    try:
        if host:
            family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            return _listen_at(family, place)
        try:
            return _listen_at(socket.AF_INET6, ("::", port))
        except OSError as error:
            if error.errno not in _NO_FAMILY:
                raise
            return _listen_at(socket.AF_INET, ("0.0.0.0", port))
    except OSError as error:
        raise AddressError(_fault(host, port, error)) from error


_NO_FAMILY = {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EADDRNOTAVAIL}


def _listen_at(family: int, place: Any) -> socket.socket:
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Or a restart could not bind while connections of the process before it are in TIME_WAIT (socket(7)).
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # The address `::` takes IPv4 as well (ipv6(7)), whatever net.ipv6.bindv6only says.
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        taken.bind(place)
        taken.listen(BACKLOG)
        taken.setblocking(False)
    except OSError:
        taken.close()
        raise
    return taken


def name_of(taken: socket.socket) -> str:
    """Write the address of a listening socket as `host:port`, with brackets around an IPv6 host."""
    host, port = taken.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _fault(host: str, port: int, error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"cannot listen on {host}:{port}: {error.strerror or error}"
    who = holder(port)
    by = f" by {who}" if who else " by a process that is not ours to see"
    return f"port {port} is in use{by}; end it, or set another port (0 takes a free one)"


def holder(port: int) -> str | None:
    """Return `PID name` of the process that listens on a TCP port of this machine, or None if we may not see it."""
    import psutil  # noqa: PLC0415 - 30 ms that only a fault pays for

    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return None
    # Without privileges only our own processes show: that is most often the one that was forgotten.
    for item in connections:
        if item.status == psutil.CONN_LISTEN and item.pid and item.laddr and item.laddr.port == port:
            try:
                return f"{item.pid} {psutil.Process(item.pid).name()}"
            except psutil.Error:
                return str(item.pid)
    return None
