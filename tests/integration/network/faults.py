"""Kinds of network fault, as a table: its beginning, and the network's return."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

from tests.integration.network.namespaces import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFault:
    """`begin` brings it; `end` is the network's return, after which new connections work, and perhaps old ones."""

    name: str
    begin: Callable[[Network], None]
    end: Callable[[Network], None]
    lasts: bool = True
    """False where new connections work all the time: the return is the beginning."""


def _dropped(net: Network) -> None:
    net.drop(net.server)
    net.drop(net.client)


def _lossy(net: Network) -> None:
    for side in (net.server, net.client):
        net.drop(side, "-m", "statistic", "--mode", "random", "--probability", "0.6")


def _narrow(net: Network) -> None:
    for side in (net.server, net.client):
        net.drop(side, "-m", "length", "--length", "600:65535")


FAULTS = (
    NetworkFault(name="packets dropped both ways", begin=_dropped, end=Network.accept_all),
    NetworkFault(name="requests dropped", begin=lambda net: net.drop(net.server), end=Network.accept_all),
    NetworkFault(name="answers dropped", begin=lambda net: net.drop(net.client), end=Network.accept_all),
    NetworkFault(name="link down", begin=lambda net: net.link("down"), end=lambda net: net.link("up")),
    NetworkFault(
        name="reset and refused",
        begin=lambda net: net.drop(net.server, "-p", "tcp", how=("REJECT", "--reject-with", "tcp-reset")),
        end=Network.accept_all,
    ),
    NetworkFault(
        name="server frozen",
        begin=lambda net: net.signal_relay(signal.SIGSTOP),
        end=lambda net: net.signal_relay(signal.SIGCONT),
    ),
    NetworkFault(
        name="never answers, never closes",
        begin=lambda net: net.tell_relay("mute"),
        end=lambda net: net.tell_relay("hear"),
    ),
    NetworkFault(name="moved by DNS", begin=Network.leave_address, end=Network.move),
    NetworkFault(
        name="connections forgotten on the way", begin=Network.forget_connections, end=Network.accept_all, lasts=False
    ),
    NetworkFault(name="60 % loss", begin=_lossy, end=Network.accept_all),
    NetworkFault(name="large packets dropped", begin=_narrow, end=Network.accept_all),
)
