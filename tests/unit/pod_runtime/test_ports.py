from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys

import pytest

from pod_runtime.ports import AddressError, holder, listen, name_of, parse_address
from tests.require import missing, require_binary


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


def test_without_a_host_both_families_are_answered() -> None:
    with listen("", 0) as taken:
        port = taken.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), timeout=60):
                taken.accept()[0].close()


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_without_a_host_and_ipv6_the_other_family_is_left(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = socket.socket

    def without_ipv6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, os.strerror(number))
        return real(family, kind)

    monkeypatch.setattr("pod_runtime.ports.socket.socket", without_ipv6)
    with listen("", 0) as taken:
        assert taken.getsockname()[0] == "0.0.0.0"


PROGRAM = """
import socket
from pod_runtime.ports import listen
with listen("", 0) as taken:
    for host in {hosts}:
        socket.create_connection((host, taken.getsockname()[1]), timeout=60).close()
        taken.accept()[0].close()
"""


@pytest.mark.parametrize(
    ("hosts", "commands"),
    [
        (["127.0.0.1"], "sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip link set lo up"),
        (["::1"], "ip link set lo up; ip -4 addr flush dev lo"),
        (["127.0.0.1", "::1"], "ip link set lo up"),
    ],
    ids=["ipv4-only", "ipv6-only", "dual-stack"],
)
def test_without_a_host_the_families_of_the_machine_are_answered(hosts: list[str], commands: str) -> None:
    unshare = require_binary("unshare")
    program = f'{commands}; exec "$1" -c "$2"'
    arguments = [unshare, "-rn", "sh", "-c", program, "sh", sys.executable, PROGRAM.format(hosts=hosts)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.stderr.startswith("unshare:"):
        missing("a network namespace of one's own", done.stderr)
    assert (done.returncode, done.stderr) == (0, "")
