"""Runs the broker: starts its components inside out and drains them outside in.

    telemetry  >  credentials, history  >  orders  >  API

Each layer outlives those inside it: the stream to the sidecar is the first to start and the last to end, since its
goodbye lets the sidecar go; an order in flight still needs its token, and ends in the history; the API still answers
while the last orders are settled.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from broker.account_wiring import AccountComponents
from broker.api.http.server import advertised_address
from broker.config import BrokerConfig, read_config
from broker.events.process import Lifecycle
from broker.history.backfill import Backfill
from broker.history.recall import Recall
from broker.orders.conditions import BrokerCondition
from broker.orders.errors import HedgingAccountError
from broker.orders.ownership.leadership import place_limit_s
from broker.watchdog import Watchdog, watch_places
from broker.wiring import BrokerComponents, build
from pod_runtime import log as logs
from pod_runtime.cancellation import PersistentTaskGroup, dump_and_exit
from pod_runtime.config import ConfigError, open_file_warning
from pod_runtime.config_text import schema, to_toml
from pod_runtime.listener.ports import AddressError, listen, name_of
from pod_runtime.run import complain, leaves, persist, raise_descriptor_limit, run
from producer.trace import trace_fields

_LOG = logging.getLogger(__name__)
READY_POLL_S = 0.02
START_S = 5.0
RESERVED_DESCRIPTORS = 200
"""Descriptors that are not a listener's: journals, databases, connections outwards, secrets, telemetry."""


class SpoolDirectoryError(Exception):
    """The directory for events cannot be used."""


def print_schema() -> int:
    """Print the JSON Schema of the configuration; return the exit code."""
    sys.stdout.write(json.dumps(schema(BrokerConfig, title="Configuration of the broker"), indent=2) + "\n")
    return os.EX_OK


def start(path: Path | None, *, check_config: bool) -> int:
    """Run the process, or with `check_config` print its configuration; return the exit code."""
    try:
        config = read_config(path, os.environ)
    except ConfigError as error:
        complain("\n".join(error.faults))
        return os.EX_CONFIG
    if warning := open_file_warning(path):
        complain(warning)
    if check_config:
        sys.stdout.write(to_toml(config))
        return os.EX_OK
    limit = raise_descriptor_limit()
    if config.api.connections > limit - RESERVED_DESCRIPTORS:
        complain(
            f"api.connections: must be at most {limit - RESERVED_DESCRIPTORS}, is {config.api.connections}: this "
            f"process may have {limit} file descriptors, and needs {RESERVED_DESCRIPTORS} for other things; lower it, "
            "or raise that limit (ulimit)"
        )
        return os.EX_CONFIG
    logs.configure("broker", config.log.level, context=trace_fields)
    for name in ("alembic", "watchfiles", "aiosqlite", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return run(lambda stop: serve(config, stop))


async def serve(config: BrokerConfig, stop: asyncio.Event) -> int:
    """Run until `stop` and the drain that follows; the exit code (sysexits.h)."""
    code = os.EX_OK
    try:
        await _serve(config, stop)
    except* (AddressError, SpoolDirectoryError) as group:
        code = os.EX_UNAVAILABLE
        complain(f"broker: {next(leaves(group))}")
    except* HedgingAccountError as group:
        code = os.EX_CONFIG
        complain(f"broker: {next(leaves(group))}")
    except* Exception:  # noqa: BLE001 - logged in full, and reported by the exit code
        code = os.EX_SOFTWARE
        _LOG.exception("broker failed")
    return code


async def _serve(config: BrokerConfig, stop: asyncio.Event) -> None:
    # The port first: a second process on it must end before it opens spools and journals.
    listening = listen(config.api.host, config.api.port)
    try:
        broker = build(config, advertised_address(listening, config.api.address))
    except OSError as error:
        listening.close()
        place = config.telemetry.spool_directory
        raise SpoolDirectoryError(
            f"telemetry.spool_directory {place}: {error.strerror}; give one to write to"
        ) from error
    try:
        await _with_telemetry(broker, listening, stop)
    finally:
        broker.close()


async def _with_telemetry(broker: BrokerComponents, listening: socket.socket, stop: asyncio.Event) -> None:
    over = asyncio.Event()
    async with PersistentTaskGroup() as tasks:
        config = broker.shared.config
        watching = watch_places(
            {account.account: account.orders.leadership.has_place for account in broker.accounts},
            place_limit_s(config.orders.lease_s),
            report=partial(_report_place, broker),
            end=dump_and_exit if config.watchdog.stall_s else _LOG.error,
        )
        watchdogs = [tasks.create_task(part) for part in (Watchdog(config.watchdog.stall_s).run(), watching)]
        own = [account.stream for account in broker.accounts if account.stream is not None]
        streams = [tasks.create_task(stream.run(over)) for stream in (*own, broker.stream)]
        broker.shared.emitter.emit(Lifecycle(phase="started", detail=None))
        await _with_history(broker, listening, stop)
        broker.shared.emitter.emit(Lifecycle(phase="drained", detail=None))
        over.set()
        await asyncio.wait(streams)
        # Last: a drain that blocks the loop is a stall as well.
        for task in watchdogs:
            task.cancel()


def _report_place(broker: BrokerComponents, fault: str | None) -> None:
    reason = "Ready" if fault is None else "NoPlace"
    broker.shared.conditions.set(BrokerCondition.ALIVE, ok=fault is None, reason=reason, message=fault or "")


async def _with_history(broker: BrokerComponents, listening: socket.socket, stop: asyncio.Event) -> None:
    async with broker.shared.connections, PersistentTaskGroup() as tasks:
        running: list[asyncio.Task[Any]] = [tasks.create_task(persist("credentials", broker.credentials.run))]
        for account in broker.accounts:
            running.append(tasks.create_task(persist("history", account.writer.run)))
            running += [tasks.create_task(_after_start(broker, part)) for part in (account.recall, account.backfill)]
        await _with_orders(broker, listening, stop)
        # The orders have ended: their last changes are in the journal, and the history may catch up.
        await asyncio.gather(*(_flush(account, broker.shared.config.history.drain_s) for account in broker.accounts))
        for task in running:
            task.cancel()
    await broker.shared.database.close()


async def _after_start(broker: BrokerComponents, part: Recall | Backfill) -> None:
    """Run a reader of the whole history, but not before the process is ready, unless that takes long."""
    # It reads for seconds where there are a million rows, and until then the start has the core for itself. A standby
    # that waits for its turn reads all the same: it must know the ids when its turn comes.
    with suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            await broker.api.ready.wait()
    await persist(type(part).__name__.lower(), part.run)


async def _flush(account: AccountComponents, deadline_s: float) -> None:
    if not await account.writer.flush(deadline_s):
        shown = {"account": account.account, "backlog": account.writer.backlog()}
        _LOG.warning("history not complete at the end", extra=shown)


async def _with_orders(broker: BrokerComponents, listening: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop`, then answer 503 to new orders until the last one in flight is settled."""
    api, done = broker.api, asyncio.Event()
    async with api.peer, api.in_flight, PersistentTaskGroup() as tasks:
        server = tasks.create_task(broker.server.listen(listening))
        tasks.create_task(_announce(broker, stop))
        _LOG.info("listening", extra={"api": name_of(listening), "tls": broker.shared.config.api.tls})
        orders = [tasks.create_task(account.orders.run(done)) for account in broker.accounts]
        await stop.wait()
        _LOG.info("draining")
        api.drain.set()
        broker.shared.conditions.set(BrokerCondition.SERVING, ok=False, reason="Draining")
        broker.shared.emitter.emit(Lifecycle(phase="draining", detail=None))
        done.set()
        await asyncio.wait(orders)
        await api.in_flight.wait_idle(broker.shared.config.orders.drain_s)
        # Behind the last answer: from here on no connection is accepted.
        broker.server.should_exit = True
        await server


async def _announce(broker: BrokerComponents, stop: asyncio.Event) -> None:
    """Report once that everything is ready."""
    broker.shared.conditions.set(BrokerCondition.SERVING, ok=True, reason="Ready")
    began = monotonic()
    while not all(item.ok or item.advisory for item in broker.health()):
        if stop.is_set():
            return
        await asyncio.sleep(READY_POLL_S)
    broker.api.ready.set()
    gc.collect()
    gc.freeze()  # these objects live as long as the process: the collector need not look at them again
    broker.shared.emitter.emit(Lifecycle(phase="ready", detail=None))
    _LOG.info("ready", extra={"after_s": round(monotonic() - began, 3)})
