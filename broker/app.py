"""Runs the broker's parts: starts them inside out, drains them outside in."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from time import monotonic

from broker.account_wiring import Shard, opened, run_desks
from broker.api.http.server import advertised_address
from broker.config import Config
from broker.events.events import Lifecycle
from broker.orders.conditions import Conditions
from broker.watchdog import Watchdog
from broker.wiring import SERVING, Parts, build
from pod_runtime.ports import AddressError, listen, name_of
from pod_runtime.run import complain

_LOG = logging.getLogger(__name__)
EX_OK, EX_UNAVAILABLE, EX_SOFTWARE = 0, 69, 70
READY_LOOK_S = 0.02


async def serve(config: Config, stop: asyncio.Event) -> int:
    """Runs until `stop` and the drain that follows; the exit code (sysexits.h)."""
    code = EX_OK
    try:
        await _serve(config, stop)
    except* (AddressError, SpoolError) as group:
        code = EX_UNAVAILABLE
        complain(f"broker: {next(_leaves(group))}")
    except* Exception:  # noqa: BLE001 - logged in full, and told by the exit code
        code = EX_SOFTWARE
        _LOG.exception("broker failed")
    return code


async def _serve(config: Config, stop: asyncio.Event) -> None:
    listening = listen(config.api.host, config.api.port)
    try:
        parts = build(config, advertised_address(listening, config.api.address))
    except OSError as error:
        listening.close()
        place = config.telemetry.spool_directory
        raise SpoolError(f"telemetry.spool_directory {place}: {error.strerror}; give one to write to") from error
    try:
        await _with_telemetry(parts, listening, stop)
    finally:
        parts.close()


class SpoolError(Exception):
    """The directory for events cannot be used."""


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


async def _with_telemetry(parts: Parts, listening: socket.socket, stop: asyncio.Event) -> None:
    """The stream to the sidecar is the first to start and the last to end: its goodbye frees the sidecar to go."""
    over = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        watchdog = tasks.create_task(Watchdog(parts.config.watchdog.stall_s).run())
        own = [shard.stream for shard in parts.shards if shard.stream is not None]
        streams = [tasks.create_task(stream.run(over)) for stream in (*own, parts.stream)]
        parts.emitter.emit(Lifecycle(phase="started", detail=None))
        await _with_history(parts, listening, stop)
        parts.emitter.emit(Lifecycle(phase="drained", detail=None))
        over.set()
        await asyncio.wait(streams)
        watchdog.cancel()


async def _with_history(parts: Parts, listening: socket.socket, stop: asyncio.Event) -> None:
    """Credentials and history outlive the orders: those on their way need the one, and end in the other."""
    async with AsyncExitStack() as venues, asyncio.TaskGroup() as tasks:
        await opened(parts.shards, venues)
        running = [tasks.create_task(parts.credentials.run())]
        for shard in parts.shards:
            running += [tasks.create_task(work) for work in (shard.writer.run(), _fill(shard), shard.recall.run())]
        await _with_orders(parts, listening, stop)
        await asyncio.gather(*(_flush(shard, parts.config.history.drain_s) for shard in parts.shards))
        for task in running:
            task.cancel()
    await parts.database.close()


async def _fill(shard: Shard) -> None:
    await shard.backfill.run()


async def _flush(shard: Shard, deadline_s: float) -> None:
    if not await shard.writer.flush(deadline_s):
        shown = {"account": shard.account, "backlog": shard.writer.backlog()}
        _LOG.warning("history not complete at the end", extra=shown)


async def _with_orders(parts: Parts, listening: socket.socket, stop: asyncio.Event) -> None:
    """The API answers until the last order is settled: 503 to new ones, the truth about the others."""
    done = asyncio.Event()
    async with parts.api.peer, parts.api.in_flight, asyncio.TaskGroup() as tasks:
        server = tasks.create_task(parts.server.serve(sockets=[listening]))
        tasks.create_task(_announce(parts, stop))
        _LOG.info("listening", extra={"api": name_of(listening), "tls": parts.config.api.tls})
        desks = tasks.create_task(run_desks(parts.shards, done))
        await stop.wait()
        _begin_drain(parts)
        done.set()
        await desks
        await parts.api.in_flight.wait_idle(parts.config.orders.drain_s)
        parts.server.should_exit = True
        await server


def _begin_drain(parts: Parts) -> None:
    _LOG.info("draining")
    parts.api.drain.set()
    _say_serving(parts.conditions, reason="Draining")
    parts.emitter.emit(Lifecycle(phase="draining", detail=None))


def _say_serving(conditions: Conditions, *, reason: str) -> None:
    conditions.set(SERVING, ok=reason == "Ready", reason=reason)


async def _announce(parts: Parts, stop: asyncio.Event) -> None:
    """Says once when everything is ready."""
    _say_serving(parts.conditions, reason="Ready")
    began = monotonic()
    while not all(item.ok or item.advisory for item in parts.health()):
        if stop.is_set():
            return
        await asyncio.sleep(READY_LOOK_S)
    parts.api.ready.set()
    gc.collect()
    gc.freeze()  # what is here now lives as long as the process: the collector need not look at it again
    parts.emitter.emit(Lifecycle(phase="ready", detail=None))
    _LOG.info("ready", extra={"after_s": round(monotonic() - began, 3)})
