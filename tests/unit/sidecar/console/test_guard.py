from __future__ import annotations

import pytest

from sidecar.console.guard import host_name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("LOCALHOST:8090", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:8090", "[::1]"),
        ("[::1]", "[::1]"),
        ("evil.example:80", "evil.example"),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header_has_neither_port_nor_capitals(header: str, name: str) -> None:
    assert host_name(header) == name
