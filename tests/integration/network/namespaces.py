"""Two network namespaces joined by a cable, a name server between them, and servers that are reached through a relay.

    client's namespace                            server's namespace          the test's own
    client process  10.77.0.1 ---- net0/net0 ---- 10.77.0.2, .3   relay ---- servers on 127.0.0.1
                                                  10.77.0.4       name server

Packets are dropped where they arrive, so that the sender's kernel knows nothing of it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
NAME = "server.test"
ADDRESSES = ("10.77.0.2", "10.77.0.3")
CLIENT, RESOLVER = "10.77.0.1", "10.77.0.4"
PORT_RANGES = ((10_000, 29_999), (30_000, 49_999))
"""Ports that the client's kernel gives to connections, in turns."""
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of <sched.h>


def enter(namespace: str) -> None:
    """Moves the calling thread into a network namespace (setns(2))."""
    with Path(namespace).open("rb") as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "setns")


@dataclass(slots=True)
class Network:
    """The two namespaces. Rules and states hold until `mend`."""

    client: int
    """Process in the client's namespace."""
    server: int
    relay: subprocess.Popen[bytes]
    address: str = ADDRESSES[0]
    """The one that the name server tells."""
    _ports: int = 0

    def drop(self, at: int, *match: str, how: Sequence[str] = ("DROP",)) -> None:
        """Drops packets that arrive at one side."""
        _run(at, "iptables", "-w", "-A", "INPUT", "-i", "net0", *match, "-j", *how)

    def accept_all(self) -> None:
        """Ends all dropping."""
        for side in (self.client, self.server):
            _run(side, "iptables", "-w", "-F", "INPUT")

    def link(self, state: str) -> None:
        """Takes the server's end of the cable `down` or `up`."""
        _run(self.server, "ip", "link", "set", "net0", state)

    def signal_relay(self, number: signal.Signals) -> None:
        """Stops or continues the relay; its kernel goes on acknowledging."""
        self.relay.send_signal(number)

    def tell_relay(self, word: str) -> None:
        """`mute`: what is open, and what is opened, is never answered and never closed; `hear`: new connections are."""
        assert self.relay.stdin is not None
        self.relay.stdin.write(f"{word}\n".encode())
        self.relay.stdin.flush()

    def leave_address(self) -> None:
        """Drops all packets to and from the current address, for good."""
        for side, way in ((self.server, "-d"), (self.client, "-s")):
            self.drop(side, way, self.address)

    def move(self) -> None:
        """Lets the name server tell the other address."""
        self.address = next(other for other in ADDRESSES if other != self.address)

    def forget_connections(self) -> None:
        """Drops the packets of all connections that there are, as a translator that has lost its table does."""
        low, high = PORT_RANGES[self._ports]
        self._ports = 1 - self._ports
        self.use_ports()
        self.drop(self.server, "-p", "tcp", "--sport", f"{low}:{high}")
        self.drop(self.client, "-p", "tcp", "--dport", f"{low}:{high}")

    def use_ports(self) -> None:
        """Sets the range of the client's ports."""
        low, high = PORT_RANGES[self._ports]
        _run(self.client, "sysctl", "-qw", f"net.ipv4.ip_local_port_range={low} {high}")


@contextmanager
def network(place: Path, ports: Sequence[int]) -> Iterator[Network]:
    """Both namespaces, the name server, and the relay to `ports` of loopback; all gone at the end."""
    hosts, resolver = place / "hosts", place / "resolv.conf"
    hosts.write_text("127.0.0.1 localhost\n")
    resolver.write_text(f"nameserver {RESOLVER}\n")
    mounts = f"mount --bind {hosts} /etc/hosts && mount --bind {resolver} /etc/resolv.conf && "
    with ExitStack() as stack:
        server = stack.enter_context(_namespace("--net"))
        client = stack.enter_context(_namespace("--net", "--mount", first=mounts))
        _run(client, "ip", "link", "add", "net0", "type", "veth", "peer", "name", "net0", "netns", str(server))
        for side, addresses in ((client, (CLIENT,)), (server, (*ADDRESSES, RESOLVER))):
            for address in addresses:
                _run(side, "ip", "address", "add", f"{address}/24", "dev", "net0")
            for device in ("lo", "net0"):
                _run(side, "ip", "link", "set", device, "up")
        command = [sys.executable, "-m", "tests.integration.network.relay", f"/proc/{server}/ns/net", *map(str, ports)]
        relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        stack.callback(_end, relay)
        assert relay.stdout is not None
        assert relay.stdout.readline() == b"ready\n"
        made = Network(client, server, relay)
        made.use_ports()
        stack.enter_context(_name_server(f"/proc/{server}/ns/net", lambda: made.address))
        yield made


@contextmanager
def _namespace(*kinds: str, first: str = "") -> Iterator[int]:
    command = ["unshare", *kinds, "sh", "-c", f"{first}echo ready && exec sleep infinity"]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        yield holder.pid
    finally:
        _end(holder)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def inside(process: int, *command: str) -> list[str]:
    """The command that runs `command` where `process` is."""
    return ["nsenter", f"--target={process}", "--net", "--mount", *command]


def _run(process: int, *command: str) -> None:
    done = subprocess.run(inside(process, *command), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


@contextmanager
def _name_server(namespace: str, address: Callable[[], str]) -> Iterator[None]:
    """Tells `address()` for NAME, no IPv6 address, and no other name (RFC 1035)."""
    listening, stop = threading.Event(), threading.Event()

    def serve() -> None:
        enter(namespace)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind((RESOLVER, 53))
            taken.settimeout(0.2)
            listening.set()
            while not stop.is_set():
                try:
                    query, peer = taken.recvfrom(1500)
                except TimeoutError:
                    continue
                taken.sendto(_answer(query, address()), peer)

    thread = threading.Thread(target=serve)
    thread.start()
    assert listening.wait(30)
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _answer(query: bytes, address: str) -> bytes:
    end = query.index(0, 12) + 5  # behind the name's last label: type and class
    question, kind = query[12:end], query[end - 4 : end - 2]
    known = question[:-4] == b"".join(bytes([len(part)]) + part.encode() for part in NAME.split(".")) + b"\0"
    found = known and kind == b"\0\1"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(address) if found else b""
    flags = b"\x81\x80" if known else b"\x81\x83"
    return query[:2] + flags + b"\0\1" + (b"\0\1" if found else b"\0\0") + b"\0\0\0\0" + question + record


@dataclass(slots=True)
class ClientProcess:
    """A process of clients in the client's namespace; `delivered` has the times of what each has delivered."""

    process: subprocess.Popen[bytes]
    delivered: dict[str, list[float]] = field(default_factory=dict)

    def read(self) -> None:
        """Reads its lines until it ends; for a thread."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            name, moment = line.decode().split()
            self.delivered.setdefault(name, []).append(float(moment))


@contextmanager
def clients(net: Network, place: Path, *arguments: str) -> Iterator[ClientProcess]:
    """Runs `clients.py` with these arguments; its log is `clients.log` of `place`."""
    program = [sys.executable, "-m", "tests.integration.network.clients", *arguments]
    environment: dict[str, Any] = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"}
    with (place / "clients.log").open("wb") as log:
        command = inside(net.client, *program)
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, env=environment, preexec_fn=None
        )
    made = ClientProcess(process)
    reading = threading.Thread(target=made.read)
    reading.start()
    try:
        yield made
    finally:
        process.kill()
        reading.join()
        _end(process)
