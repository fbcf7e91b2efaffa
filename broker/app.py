"""Runs the broker's parts: starts them inside out, drains them outside in."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import socket
import sys
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from time import monotonic

from broker.account_wiring import Shard, run_desks
from broker.api.forwarding.address import address_of
from broker.config import Config, read_config
from broker.events.process import Lifecycle
from broker.orders.conditions import BrokerCondition, Conditions
from broker.watchdog import Watchdog
from broker.wiring import Parts, build
from pod_runtime import log as logs
from pod_runtime.config import ConfigError
from pod_runtime.config_text import schema, to_toml
from pod_runtime.ports import AddressError, listen, name_of
from pod_runtime.run import complain, leaves, run
from producer.trace import trace_fields

_LOG = logging.getLogger(__name__)
READY_LOOK_S = 0.02


def print_schema() -> int:
    """Print the JSON Schema of the configuration; return the exit code."""
    sys.stdout.write(json.dumps(schema(Config, title="Configuration of the broker"), indent=2) + "\n")
    return os.EX_OK


def start(path: Path | None, *, check_config: bool) -> int:
    """Run the process, or with `check_config` print its configuration; return the exit code."""
    try:
        config = read_config(path, os.environ)
    except ConfigError as error:
        complain("\n".join(error.faults))
        return os.EX_CONFIG
    if check_config:
        sys.stdout.write(to_toml(config))
        return os.EX_OK
    logs.configure("broker", config.log.level, context=trace_fields)
    for name in ("alembic", "watchfiles", "aiosqlite", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return run(lambda stop: serve(config, stop))


async def serve(config: Config, stop: asyncio.Event) -> int:
    """Runs until `stop` and the drain that follows; the exit code (sysexits.h)."""
    code = os.EX_OK
    try:
        await _serve(config, stop)
    except* (AddressError, SpoolError) as group:
        code = os.EX_UNAVAILABLE
        complain(f"broker: {next(leaves(group))}")
    except* Exception:  # noqa: BLE001 - logged in full, and told by the exit code
        code = os.EX_SOFTWARE
        _LOG.exception("broker failed")
    return code


async def _serve(config: Config, stop: asyncio.Event) -> None:
    listening = listen(config.api.host, config.api.port)
    try:
        parts = build(config, address_of(listening, config.api.address))
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
        await venues.enter_async_context(parts.connections)
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
    async with parts.surface.peer or nullcontext(), parts.surface.in_flight, asyncio.TaskGroup() as tasks:
        server = tasks.create_task(parts.server.serve(sockets=[listening]))
        tasks.create_task(_announce(parts, stop))
        _LOG.info("listening", extra={"api": name_of(listening), "tls": parts.config.api.tls})
        desks = tasks.create_task(run_desks(parts.shards, done))
        await stop.wait()
        _begin_drain(parts)
        done.set()
        await desks
        await parts.surface.in_flight.wait_idle(parts.config.orders.drain_s)
        parts.server.should_exit = True
        await server


def _begin_drain(parts: Parts) -> None:
    _LOG.info("draining")
    parts.surface.drain.set()
    _say_serving(parts.conditions, reason="Draining")
    parts.emitter.emit(Lifecycle(phase="draining", detail=None))


def _say_serving(conditions: Conditions, *, reason: str) -> None:
    conditions.set(BrokerCondition.SERVING, ok=reason == "Ready", reason=reason)


async def _announce(parts: Parts, stop: asyncio.Event) -> None:
    """Says once when everything is ready."""
    _say_serving(parts.conditions, reason="Ready")
    began = monotonic()
    while not all(item.ok or item.advisory for item in parts.health()):
        if stop.is_set():
            return
        await asyncio.sleep(READY_LOOK_S)
    for surface in parts.surfaces:
        surface.ready.set()
    gc.collect()
    gc.freeze()  # what is here now lives as long as the process: the collector need not look at it again
    parts.emitter.emit(Lifecycle(phase="ready", detail=None))
    _LOG.info("ready", extra={"after_s": round(monotonic() - began, 3)})
