"""Run of the sidecar as a process: from a configuration to an exit code (sysexits.h)."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pod_runtime import log as logs
from pod_runtime.config import ConfigError, effective, open_file_warning
from pod_runtime.config_text import schema, to_toml
from pod_runtime.ports import AddressError, parse_address
from pod_runtime.run import complain, leaves, run
from sidecar.app import Sidecar
from sidecar.config import SidecarConfig, read_config
from sidecar.console.bundle import RecentLog, redacted
from sidecar.console.status.sampler import AuditTimeline
from sidecar.export.settings import standard_settings

if TYPE_CHECKING:
    from sidecar.secrets.agent import SecretsAgent

log = logging.getLogger(__name__)


def print_schema() -> int:
    """Print the JSON Schema of the configuration; return the exit code."""
    sys.stdout.write(json.dumps(schema(SidecarConfig, title="Configuration of the sidecar"), indent=2) + "\n")
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
        for fault in standard_settings(os.environ)[1]:
            complain(f"ignored: {fault}")
        sys.stdout.write(to_toml(redacted(effective(config))))
        return os.EX_OK
    logs.configure("sidecar", config.log.level)
    recent = RecentLog("sidecar")
    logging.getLogger().addHandler(recent)
    return run(lambda stop: serve(config, os.environ, recent, stop))


async def serve(config: SidecarConfig, environ: Mapping[str, str], recent: RecentLog, stop: asyncio.Event) -> int:
    """Run a sidecar until `stop`; return the exit code."""
    if environ.get("VAULT_TOKEN"):
        log.warning("config.vault_token_ignored", extra={"fix": "put the token into a file: secrets.auth.token_file"})
    if config.console.address and not _is_loopback(config.console.address):
        extra = {"address": config.console.address, "fix": "it asks nobody who they are"}
        log.warning("console.exposed", extra=extra)
    for fault in standard_settings(environ)[1]:
        log.warning("environment.ignored", extra={"fault": fault})
    code = os.EX_OK
    try:
        timeline = AuditTimeline()
        sidecar = Sidecar(config, environ, recent, make_agent(config, timeline), timeline)
        sidecar.bind()
        await sidecar.run(stop)
    except* (AddressError, OSError) as group:  # somebody else holds a resource: a restart may help, a fix is outside
        code = _end(os.EX_UNAVAILABLE, group)
    except* Exception as group:
        log.exception("sidecar.failed")
        code = _end(os.EX_SOFTWARE, group)
    return code


def make_agent(config: SidecarConfig, timeline: AuditTimeline) -> SecretsAgent | None:
    """The secrets' agent, None where no secret is configured; it records its actions in `timeline`."""
    if not config.secrets.secrets:
        return None
    from sidecar.secrets.agent import SecretsAgent  # noqa: PLC0415 - hvac takes its time, and may not be wanted

    return SecretsAgent(config.secrets, audit=timeline)


def _is_loopback(address: str) -> bool:
    host, _ = parse_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _end(code: int, group: BaseException) -> int:
    for error in leaves(group):
        complain(f"sidecar: {type(error).__name__}: {error}")
    return code
