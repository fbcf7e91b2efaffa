"""One run of the sidecar as a process: from a configuration to an exit code (sysexits.h)."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
from collections.abc import Iterator, Mapping

from pod_runtime.ports import AddressError, parse_address
from pod_runtime.run import complain
from sidecar.app import Sidecar
from sidecar.config import Config
from sidecar.console.bundle.recent import RecentLog
from sidecar.console.status.audit_timeline import Deeds
from sidecar.secrets.producers import Agent

log = logging.getLogger(__name__)


async def serve(config: Config, environ: Mapping[str, str], recent: RecentLog, stop: asyncio.Event) -> int:
    """Runs a sidecar until `stop`; its exit code."""
    if environ.get("VAULT_TOKEN"):
        log.warning("config.vault_token_ignored", extra={"fix": "put the token into a file: secrets.auth.token_file"})
    if config.console.address and not _is_loopback(config.console.address):
        log.warning(
            "console.exposed", extra={"address": config.console.address, "fix": "it asks nobody who they are"}
        )
    code = os.EX_OK
    try:
        deeds = Deeds()
        sidecar = Sidecar(config, environ, recent, make_agent(config, deeds), deeds)
        sidecar.bind()
        await sidecar.run(stop)
    except* (AddressError, OSError) as group:
        code = _end(os.EX_UNAVAILABLE, group)
    except* Exception as group:
        log.exception("sidecar.failed")
        code = _end(os.EX_SOFTWARE, group)
    return code


def make_agent(config: Config, deeds: Deeds) -> Agent | None:
    """The secrets' agent, where a secret is configured; what it does goes to `deeds`."""
    if not config.secrets.secrets:
        return None
    from sidecar.secrets.agent import SecretsAgent  # noqa: PLC0415 - hvac takes its time, and may not be wanted

    return SecretsAgent(config.secrets, on_audit=deeds.add)


def _is_loopback(address: str) -> bool:
    host, _ = parse_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _end(code: int, group: BaseException) -> int:
    for error in _leaves(group):
        complain(f"sidecar: {type(error).__name__}: {error}")
    return code


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
