"""Load that one broker process carries, over HTTP: `python -m bench.order_process [checkout]`.

`orders_per_core`: the highest rate of market orders at which the process answers 99 of 100 within 5 ms beyond what the
venue takes of a plain client at the same rate. The broker has a core of its own; the simulator and the callers share
another. The venue's rate limit is off on our side, and the journal lies in memory where the system has /dev/shm: disk
and venue are not what is measured. The baseline is the broker of another checkout, measured in turn with ours; it is
the argument, or `BASELINE_CHECKOUT`.

`order_process_cpu`: CPU of the whole process for each order, at 100 orders a second. It can be measured beside other
work, which those milliseconds cannot.

`restart_1000_open_1m_history`: from the start of the process to ready, with so many open orders in the journal and at
the venue, and so many rows in the history, half of them orders and half transactions.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import statistics
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import aiohttp
import psutil
import tomli_w
import uvloop

ACCOUNT = "101-004-1234567-001"
TOKEN, KEY = "bench-token", "bench-key"
OURS = Path(__file__).resolve().parents[1]
CALLERS = 32
STEP_S = 2.0
FIRST_RATE, STEP = 60.0, 1.2
TURNS = 3
CPU_RATE = 100.0
OVERHEAD_S = 0.005
MISSES = 2
"""Rates in a row that end the search: one may meet somebody else's work."""
SUSTAINED = 0.97
OPEN_ORDERS, HISTORY_ROWS = 1000, 1_000_000
RESTART_GOAL_S = 2.0
READY_S = 120.0
HISTORY_S = 3.0
# The throttle before the venue lets everything through: its setting ends at the venue's own limit. Two names, for the
# module was another once.
UNLIMITED = """
from importlib import import_module
from importlib.util import find_spec
names = ("broker.venue.throttle", "broker.venue.rest.rate_limit")
import_module(next(filter(find_spec, names))).Bucket.wait_s = lambda *_: 0.0
from broker.__main__ import main
main(prog_name="broker")
"""


class Caller(asyncio.Protocol):
    """A connection that posts prepared requests, one at a time: lean, for it shares its core with the venue."""

    def __init__(self, free: deque[Caller], wake: Callable[[], None]) -> None:
        self._free, self._wake = free, wake
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._answered: Callable[[bytes], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._free.append(self)

    def post(self, request: bytes, answered: Callable[[bytes], None]) -> None:
        """Send; `answered` gets the answer's head."""
        assert self._transport is not None
        self._answered = answered
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take an answer, whole by its Content-Length."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        self._received = b""
        assert self._answered is not None
        self._answered(head)
        self._free.append(self)
        self._wake()


async def load(address: str, requests: Iterator[bytes], rate: float, seconds: float) -> list[float]:
    """Post at a rate, whatever each takes; seconds from the time that each was due to its answer."""
    host, port = address.rsplit(":", 1)
    loop = asyncio.get_running_loop()
    free: deque[Caller] = deque()
    wanted = asyncio.Event()
    callers = [
        (await loop.create_connection(lambda: Caller(free, wanted.set), host, int(port)))[0] for _ in range(CALLERS)
    ]
    durations: list[float] = []
    began, due = perf_counter(), 0.0

    def take(at: float) -> Callable[[bytes], None]:
        def answered(head: bytes) -> None:
            assert head.startswith(b"HTTP/1.1 201"), head
            durations.append(perf_counter() - began - at)

        return answered

    while due < seconds:
        await asyncio.sleep(max(0.0, began + due - perf_counter()))
        while not free and perf_counter() - began < seconds:
            wanted.clear()
            await wanted.wait()
        if perf_counter() - began >= seconds:
            break
        free.popleft().post(next(requests), take(due))
        due += 1 / rate
    await asyncio.sleep(0.5)  # for the last answers
    for transport in callers:
        transport.close()
    return durations


def to_broker(start: int) -> Iterator[bytes]:
    """Orders to the broker, to and fro."""
    while True:
        start += 1
        order = {"instrument": "EUR_USD", "side": "buy" if start % 2 else "sell", "type": "market", "units": "100"}
        key = f"X-API-Key: {KEY}\r\nIdempotency-Key: bench-{start}\r\n"
        yield _post("/v1/orders", key, order)


def to_venue() -> Iterator[bytes]:
    """The same orders to the venue."""
    side = 1
    while True:
        side = -side
        units = str(100 * side)
        order = {"type": "MARKET", "instrument": "EUR_USD", "units": units, "timeInForce": "FOK"}
        key = f"Authorization: Bearer {TOKEN}\r\n"
        yield _post(f"/v3/accounts/{ACCOUNT}/orders", key, {"order": order})


def _post(path: str, headers: str, body: dict[str, Any]) -> bytes:
    text = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


@asynccontextmanager
async def child(command: list[str], checkout: Path, cores: set[int]) -> AsyncIterator[tuple[psutil.Process, Any]]:
    """A process of a checkout on some cores, and a reader of its JSON lines by their event's name."""
    environ = {**os.environ, "PYTHONPATH": f"{checkout}:{checkout / 'proto'}"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the images are compiled, too
    python = checkout / ".venv" / "bin" / "python"
    process = await asyncio.create_subprocess_exec(
        str(python if python.exists() else sys.executable),
        *command,
        cwd=checkout,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
    )
    os.sched_setaffinity(process.pid, cores)
    assert process.stdout is not None
    output = process.stdout

    async def event(name: str) -> dict[str, Any]:
        async with asyncio.timeout(READY_S):
            while line := await output.readline():
                if (found := json.loads(line)).get("event") == name:
                    return dict(found)
        raise RuntimeError(f"{command[:2]} ended before {name!r}")

    try:
        yield psutil.Process(process.pid), event
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            reading = asyncio.ensure_future(output.read())
            await process.wait()
            await reading


def cores() -> tuple[set[int], set[int]]:
    """The broker's core, and those of all else; the same on a machine with one."""
    own, *others = sorted(os.sched_getaffinity(0), reverse=True)
    return {own}, set(others) or {own}


@asynccontextmanager
async def venue() -> AsyncIterator[dict[str, Any]]:
    """A simulator without limits: its addresses. It answers at once."""
    command = ["-m", "broker.simulator", "--token", TOKEN, "--requests-per-s", "0"]
    async with child(command, OURS, cores()[1]) as (_, event):
        yield await event("listening")


def configuration(place: Path, addresses: dict[str, Any]) -> Path:
    """The broker's file and its secret volume, in `place`."""
    generation = place / "secrets" / "..1"
    generation.mkdir(parents=True, exist_ok=True)
    keys = [{"id": "bench", "sha256": sha256(KEY.encode()).hexdigest(), "scopes": ["read", "trade"]}]
    files = {"venue.json": {"token": TOKEN, "account_id": ACCOUNT}, "api-keys.json": {"keys": keys}}
    about = {name.split(".")[0]: {"source": "kv", "version": 1, "expires_at": None, "files": [name]} for name in files}
    manifest = {"version": 1, "generation": 1, "published_at": "2026-01-05T10:00:00Z", "secrets": about}
    for name, content in {**files, "manifest.json": manifest}.items():
        (generation / name).write_text(json.dumps(content))
    if not (current := place / "secrets" / "..data").exists():
        current.symlink_to("..1")
    rest, stream = (f"http://{addresses[name]}" for name in ("rest", "stream"))
    table = {
        "api": {"host": "127.0.0.1", "port": 0, "tls": "off", "requests_per_s": 1e6, "request_burst": 1_000_000},
        "venue": {"account": ACCOUNT, "rest_url": rest, "stream_url": stream, "connections": CALLERS}
        | {"connections_per_s": 1000.0},
        "orders": {"directory": str(place / "orders")},
        "telemetry": {"socket": str(place / "socket"), "spool_directory": str(place / "spool"), "drain_s": 0.2},
        "history": {"url": f"sqlite+aiosqlite:///{place / 'history.sqlite'}"},
        "credentials": {"directory": str(place / "secrets"), "poll_s": 0.1},
    }
    path = place / "broker.toml"
    path.write_text(tomli_w.dumps(table))
    return path


@asynccontextmanager
async def broker(checkout: Path, place: Path, addresses: dict[str, Any]) -> AsyncIterator[tuple[psutil.Process, str]]:
    """A broker process that is ready, without the venue's rate limit: the process and its address."""
    command = ["-c", UNLIMITED, "--config", str(configuration(place, addresses))]
    async with child(command, checkout, cores()[0]) as (process, event):
        address = (await event("listening"))["api"]
        await event("ready")
        yield process, address


def _p99(durations: list[float]) -> float:
    return statistics.quantiles(durations, n=100)[98]


async def orders_per_core(checkout: Path, place: Path) -> tuple[float, float]:
    """The highest rate that was sustained, 0 if none was; CPU seconds of the broker for each order at CPU_RATE."""
    async with venue() as addresses, broker(checkout, place, addresses) as (process, address):
        requests, straight = to_broker(0), to_venue()
        await load(address, requests, FIRST_RATE, STEP_S)  # opens connections
        before = process.cpu_times()
        answered = len(await load(address, requests, CPU_RATE, STEP_S))
        after = process.cpu_times()
        cpu_s = (after.user + after.system - before.user - before.system) / answered
        rate, found, misses = FIRST_RATE, 0.0, 0
        while misses < MISSES:
            plain = await load(addresses["rest"], straight, rate, STEP_S)
            durations = await load(address, requests, rate, STEP_S)
            is_whole = len(durations) >= SUSTAINED * rate * STEP_S
            if is_whole and _p99(durations) - _p99(plain) <= OVERHEAD_S:
                found, misses = rate, 0
            else:
                misses += 1
            rate *= STEP
        return found, cpu_s


async def restart(checkout: Path, place: Path) -> float:
    """Seconds from the start of the process to ready, with its open orders and its history."""
    async with venue() as addresses:
        rest = {"type": "LIMIT", "instrument": "EUR_USD", "units": "1", "price": "0.50000", "timeInForce": "GTC"}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            for _ in range(OPEN_ORDERS):
                path = f"http://{addresses['rest']}/v3/accounts/{ACCOUNT}/orders"
                async with session.post(path, json={"order": rest}) as answer:
                    answer.raise_for_status()
        async with broker(checkout, place, addresses):
            await asyncio.sleep(HISTORY_S)  # the orders that it adopted go into the history
        fill_history(place / "history.sqlite")
        started = perf_counter()
        async with broker(checkout, place, addresses):
            return perf_counter() - started


def fill_history(path: Path) -> None:
    """Copy rows of the history, as the broker made them, until there are so many of orders and transactions."""
    with sqlite3.connect(path) as connection:
        for table, key, new_key in (
            ("orders", "id", "printf('%s-%d', id, number)"),
            ("transactions", "id", "-id - number * 100000"),
        ):
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            columns = ", ".join(names)
            chosen = {key: new_key, "client_order_id": "printf('%s-%d', client_order_id, number)"}
            values = ", ".join(chosen.get(name, name) for name in names)
            have = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - names of ours
            copies = HISTORY_ROWS // 2 // have
            connection.execute(
                f"WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers "  # noqa: S608 - as above
                f"WHERE number < {copies}) INSERT INTO {table} ({columns}) SELECT {values} FROM {table}, numbers"
            )
    connection.close()


def row(
    name: str, ours: float, *, unit: str, baseline: float | None, goal: float, rises: bool | None = None
) -> dict[str, Any]:
    """A line of the table. `rises`: the goal is of the ratio, and the least of it or the most."""
    ratio = ours / baseline if baseline else None
    measured = ours if rises is None else ratio
    holds = None if measured is None else measured >= goal if rises else measured <= goal
    return {
        "name": name,
        "ours": ours,
        "baseline": baseline,
        "unit": unit,
        "ratio": ratio,
        "goal": goal,
        "holds": holds,
    }


def _ms(seconds: float | None) -> float | None:
    return seconds * 1e3 if seconds is not None else None


async def measure(baseline: Path | None) -> list[dict[str, Any]]:
    """The rows: medians over turns, in which the checkouts take their turns."""
    checkouts = [OURS] if baseline is None else [baseline, OURS]
    found: dict[Path, list[tuple[float, float, float]]] = {checkout: [] for checkout in checkouts}
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a directory of our own in it
    for _ in range(TURNS):
        for checkout in checkouts:
            with tempfile.TemporaryDirectory(dir=memory) as name:
                rate, cpu_s = await orders_per_core(checkout, Path(name))
            with tempfile.TemporaryDirectory(dir=memory) as name:
                found[checkout].append((rate, cpu_s, await restart(checkout, Path(name))))
    ours, *theirs = (
        [statistics.median(column) for column in zip(*found[checkout], strict=True)] for checkout in reversed(checkouts)
    )
    other: list[float | None] = [*theirs[0]] if theirs else [None] * 3
    return [
        row("orders_per_core", ours[0], unit="1/s", baseline=other[0], goal=2.0, rises=True),
        row("order_process_cpu", ours[1] * 1e3, unit="ms", baseline=_ms(other[1]), goal=0.5, rises=False),
        row("restart_1000_open_1m_history", ours[2], unit="s", baseline=other[2], goal=RESTART_GOAL_S),
    ]


def rows() -> list[dict[str, Any]]:
    """The rows of one broker process."""
    given = os.environ.get("BASELINE_CHECKOUT")
    return uvloop.run(measure(Path(given).resolve() if given else None))


if __name__ == "__main__":
    if sys.argv[1:]:
        os.environ["BASELINE_CHECKOUT"] = sys.argv[1]
    for line in rows():
        print(json.dumps(line))
