from __future__ import annotations

import socket
from contextlib import closing

import pytest

from broker.api.http.server import advertised_address


@pytest.mark.parametrize(
    ("bound", "host", "expected"),
    [
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "fd00::1", "[fd00::1]"),
        ("0.0.0.0", "", "machine"),
        ("0.0.0.0", "10.0.0.1", "10.0.0.1"),
    ],
)
def test_address_is_the_set_host_with_the_port_that_was_taken(
    monkeypatch: pytest.MonkeyPatch, bound: str, host: str, expected: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "machine")
    with closing(socket.socket()) as listening:
        listening.bind((bound, 0))
        assert advertised_address(listening, host) == f"{expected}:{listening.getsockname()[1]}"
