from __future__ import annotations

import os
import socket

import pytest

from pod_runtime.ports import AddressError, holder, listen, name_of, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8090", ("127.0.0.1", 8090)),
        (":8000", ("", 8000)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_is_host_and_port(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["8090", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1:8090", "a:-1", "a:²"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="8090"):
        parse_address(text)


def test_port_zero_takes_a_free_one_and_says_which() -> None:
    with listen("127.0.0.1", 0) as taken:
        host, port = parse_address(name_of(taken))
        assert host == "127.0.0.1"
        assert port > 0


def test_a_taken_port_names_the_port_and_its_holder() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=rf"port {port} is in use by {os.getpid()} \S+"):
            listen("127.0.0.1", port)


def test_nobody_holds_a_port_that_is_only_bound() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert holder(bound.getsockname()[1]) is None


def test_an_address_of_another_machine_is_refused_with_its_reason() -> None:
    with pytest.raises(AddressError, match=r"cannot listen on 192\.0\.2\.1:0"):
        listen("192.0.2.1", 0)
