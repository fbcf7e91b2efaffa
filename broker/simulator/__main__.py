"""`python -m broker.simulator`: a venue that answers as OANDA's v20 does, with prices that move."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

import click

from broker.simulator.faults import FaultError, rule
from broker.simulator.market import Scenario
from broker.simulator.server import Simulator
from runtime import log
from runtime.run import complain, run

EX_UNAVAILABLE = 69
EX_CONFIG = 78


@click.command()
@click.option("--host", default="127.0.0.1", help="Where it listens.")
@click.option("--port", default=0, help="0 takes a free one and says which.")
@click.option("--seed", default=1, help="The same seed gives the same prices.")
@click.option("--token-file", type=click.Path(path_type=Path), help="A file with the token that it accepts.")
@click.option("--account", "accounts", multiple=True, default=("101-004-1234567-001",), help="Again for several.")
@click.option("--scenario", default="calm", type=click.Choice([item.value for item in Scenario]))
@click.option("--ticks-per-s", default=4.0, help="Moves of each price a second.")
@click.option("--speed", default=1.0, help="Seconds of its clock in one of ours.")
@click.option("--latency-ms", default=0.0, help="How long an answer takes at least.")
@click.option("--requests-per-s", default=120.0, help="More are answered 429; 0 counts nothing.")
@click.option("--faults", type=click.Path(path_type=Path), help="A JSON file with fault rules.")
def main(
    *,
    host: str,
    port: int,
    token_file: Path | None,
    scenario: str,
    latency_ms: float,
    faults: Path | None,
    **options: Any,
) -> None:
    """Runs the venue until SIGTERM or Ctrl-C."""
    log.configure("simulator")
    if token_file is not None:
        options["tokens"] = frozenset({token_file.read_text().strip()})
    simulator = Simulator(host=host, port=port, latency_s=latency_ms / 1000, **options)
    simulator.venue.market.scenario = Scenario(scenario)
    if faults is not None:
        try:
            simulator.venue.faults.rules.extend(rule(item) for item in json.loads(faults.read_text()))
        except (FaultError, ValueError) as error:
            complain(f"{faults}: {error}")
            sys.exit(EX_CONFIG)
    try:
        sys.exit(run(lambda stop: _serve(simulator, stop)))
    except OSError as error:
        complain(f"cannot listen on {host}:{port}: {error.strerror}")
        sys.exit(EX_UNAVAILABLE)


async def _serve(simulator: Simulator, stop: asyncio.Event) -> int:
    async with simulator:
        where = {"rest": simulator.address, "stream": simulator.address}
        logging.getLogger("broker.simulator").info("listening", extra=where)
        await stop.wait()
    return 0


if __name__ == "__main__":
    main()
