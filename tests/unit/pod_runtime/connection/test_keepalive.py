from __future__ import annotations

import socket

import pytest

from pod_runtime.connection.keepalive import IDLE_S, INTERVAL_S, keepalive_options, keepalive_socket, set_keepalive


def test_the_kernel_asks_an_idle_peer_and_gives_up_a_silent_one() -> None:
    with keepalive_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_USER_TIMEOUT)
        found = tuple(made.getsockopt(socket.IPPROTO_TCP, option) for option in options)
    assert found == (IDLE_S, INTERVAL_S, 15_000)


def test_a_time_of_less_than_a_millisecond_is_no_time_without_bound() -> None:
    assert (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1) in keepalive_options(0.0001)


def test_a_unix_socket_keeps_its_own_options() -> None:
    with socket.socket(socket.AF_UNIX) as made:
        set_keepalive(made)
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


def test_a_system_without_an_option_has_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    assert [option[2] for option in keepalive_options()] == [1, IDLE_S, INTERVAL_S]
