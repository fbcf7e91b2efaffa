"""Command line of the simulated venue: `python -m broker.simulator`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import re
import shutil
import sys
import textwrap
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

from broker.simulator.faults import KINDS, FaultError, FaultRule, parse_rule
from broker.simulator.http.server import Simulator
from broker.simulator.market.instruments import LISTINGS
from broker.simulator.market.market import Scenario
from broker.simulator.venue import Options
from pod_runtime import log
from pod_runtime.listener.ports import AddressError
from pod_runtime.run import complain, run

# site-division-user-number (v20, AccountID).
_ACCOUNT = re.compile(r"\d{3}-\d{3}-\d+-\d{3}")
_SAME_NAMES = ("seed", "ticks_per_s", "speed", "heartbeat_s", "requests_per_s", "connections_per_s")
"""Options of the command line that are fields of `Options`."""
_logger = logging.getLogger("broker.simulator")


class _UsageError(Exception):
    """Faults of the command line, one a line."""


_EXAMPLES = """examples:
  python -m broker.simulator --port 8001 --token practice-token
  python -m broker.simulator --seed 7 --scenario news --speed 60 --faults faults.json
  curl -X POST localhost:8001/simulator/faults -d '{"kind": "error_after", "path": "/orders"}'

faults (with a request in X-Simulate-Fault, by command, or in the file of --faults):
"""


def _parser() -> argparse.ArgumentParser:
    shown = shutil.get_terminal_size().columns - 2  # argparse's own width
    parser = argparse.ArgumentParser(
        prog="python -m broker.simulator",
        description="A server that answers as OANDA's v20 does, surprises included. It prints a line of JSON with "
        "the addresses of its REST API and its streams when it listens, and ends on SIGINT or SIGTERM.",
        epilog=_EXAMPLES + "".join(f"  {kind:<15} {words}\n" for kind, words in KINDS.items()),
        formatter_class=lambda prog: _Help(prog, width=min(shown, 110)),
    )
    usual = Options()
    accounts, tokens = ", ".join(usual.accounts), ", ".join(usual.tokens)
    words = "calm; news: large steps and wide spreads; gap: jumps of half a percent; weekend: nothing is tradeable"

    add = parser.add_argument_group("where it listens").add_argument
    add("--host", default="127.0.0.1", help="address; the commands under /simulator need no token")
    add("--port", type=int, default=0, help="port of the REST API; 0 is a free one")
    add("--stream-port", type=int, default=0, help="port of the streams; 0 is a free one")

    add = parser.add_argument_group("accounts").add_argument
    add("--account", action="append", default=[], help=f"an account id; may be repeated (without it: {accounts})")
    add("--token", action="append", default=[], help=f"a token to accept; may be repeated (without any: {tokens})")
    add("--token-file", action="append", default=[], type=Path, help="a file that holds a token; may be repeated")
    add("--balance", default="100000", help="what each account starts with, in USD")

    add = parser.add_argument_group("market").add_argument
    add("--seed", type=int, default=1, help="the same seed gives the same prices")
    add("--scenario", choices=[item.value for item in Scenario], default=Scenario.CALM.value, help=words)
    add("--instruments", default="", help=f"instruments to list, with commas between; without it all {len(LISTINGS)}")
    add("--ticks-per-s", type=float, default=4.0, help="price steps a second; 0 moves nothing")
    add("--speed", type=float, default=1.0, help="seconds of the venue's clock in one of ours")
    add("--heartbeat-s", type=float, default=5.0, help="seconds between the heartbeats of a stream")

    add = parser.add_argument_group("limits and faults").add_argument
    add("--requests-per-s", type=float, default=120.0, help="more are answered 429; 0 is no limit")
    add("--connections-per-s", type=float, default=0.0, help="more new connections are cut; 0 is no limit")
    add("--latency-ms", type=float, default=0.0, help="how long an answer takes at least")
    add("--faults", type=Path, help="a JSON file with a list of faults, as POST /simulator/faults takes them")
    return parser


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Help with defaults, and examples that are not re-wrapped."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = [text] if text.startswith("examples:") else textwrap.wrap(text, width)
        return "\n".join(indent + line for line in lines)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, [], "", argparse.SUPPRESS):
            return action.help
        return super()._get_help_string(action)


def _options(given: argparse.Namespace) -> Options:
    # argparse ends at the first fault of a value, with its own exit code 2: a deployment wants all at once, and 78.
    form = "wanted the form 101-004-1234567-001"
    faults = [f"--account {name}: {form}" for name in given.account if not _ACCOUNT.fullmatch(name)]
    names = tuple(name for name in given.instruments.split(",") if name) or tuple(LISTINGS)
    faults += [f"--instruments: {name} is not listed here" for name in names if name not in LISTINGS]
    tokens = list(given.token)
    for path in given.token_file:
        try:
            tokens.append(path.read_text(encoding="utf-8").strip())
        except OSError as error:
            faults.append(f"--token-file {path}: cannot be read ({error.strerror})")
    balance = Decimal("NaN")
    with suppress(InvalidOperation):
        balance = Decimal(given.balance)
    if not balance.is_finite() or balance < 0:
        faults.append("--balance: wanted an amount, for example 100000")
    for name in ("ticks_per_s", "requests_per_s", "connections_per_s", "latency_ms", "speed", "heartbeat_s"):
        value, above = getattr(given, name), name in ("speed", "heartbeat_s")
        if value < 0 or (above and not value):
            faults.append(f"--{name.replace('_', '-')}: must {'be above 0' if above else 'not be negative'}")
    if faults:
        raise _UsageError("\n".join(faults))
    same = {name: getattr(given, name) for name in _SAME_NAMES}
    made = Options(instruments=names, balance=balance, scenario=Scenario(given.scenario), **same)
    accounts, accepted = tuple(given.account) or made.accounts, tuple(filter(None, tokens)) or made.tokens
    return replace(made, accounts=accounts, tokens=accepted, latency_s=given.latency_ms / 1000)


def _rules(path: Path | None) -> list[FaultRule]:
    if path is None:
        return []
    try:
        return [parse_rule(item) for item in json.loads(path.read_text(encoding="utf-8"))]
    except OSError as error:
        raise _UsageError(f"--faults {path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, FaultError) as error:
        raise _UsageError(f"--faults {path}: {error}") from error


async def _serve(given: argparse.Namespace, options: Options, rules: list[FaultRule], stop: asyncio.Event) -> int:
    simulator = Simulator(host=given.host, port=given.port, stream_port=given.stream_port, options=options)
    simulator.venue.faults.rules += rules
    try:
        async with simulator:
            _logger.info("listening", extra={"rest": simulator.rest_address, "stream": simulator.stream_address})
            await stop.wait()
    except AddressError as error:
        complain(str(error))
        return os.EX_UNAVAILABLE
    return os.EX_OK


def main() -> int:
    """Run the simulator. Returns 0 after a signal, 78 for a bad command line, 69 for an unusable address."""
    given = _parser().parse_args()
    try:
        options, rules = _options(given), _rules(given.faults)
    except _UsageError as error:
        complain(str(error))
        return os.EX_CONFIG
    # Only now: faults of the command line are for a person, and no JSON.
    log.configure("simulator")
    return run(lambda stop: _serve(given, options, rules, stop))


if __name__ == "__main__":
    sys.exit(main())
