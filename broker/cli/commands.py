"""Questions and orders to a running broker, over its API."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn

import click

from broker.cli.client import AnswerError, Call, ask
from broker.cli.table import writer
from broker.orders.checks.dry_run import MARKET_CLOSED

ROUND_S = 1.0
WATCH_S = 1.0
EX_REFUSED = 1

_ORDERS = (
    "id",
    "instrument",
    "side",
    "type",
    "units",
    "price",
    "status",
    "filled_units",
    "client",
    "client_order_id",
    "created_at",
)
_POSITIONS = ("instrument", "units", "average_price", "unrealized_profit", "realized_profit")
_MISMATCHES = ("kind", "subject", "ours", "theirs")


def _options(command: Any) -> Any:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the answer's JSON."),
        click.option(
            "--key-file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            envvar="BROKER_API_KEY_FILE",
            required=True,
            help="File that holds an API key; a key is never an argument. Also BROKER_API_KEY_FILE.",
        ),
        click.option(
            "--ca-file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="Certificates to check an https broker with.",
        ),
        click.option(
            "--account", envvar="BROKER_ACCOUNT", help="Where the broker trades several. Also BROKER_ACCOUNT."
        ),
        click.option(
            "--url", envvar="BROKER_URL", default="http://127.0.0.1:8080", show_default=True, help="Also BROKER_URL."
        ),
    ):
        command = option(command)
    return command


def _ask(call: Call, **where: Any) -> dict[str, Any]:
    try:
        return _call(call, **where)
    except AnswerError as error:
        _fail(error)


def _call(
    call: Call, *, url: str, key_file: Path, ca_file: Path | None, account: str | None = None
) -> dict[str, Any]:
    if account is not None:
        call = replace(call, params={**call.params, "account": account})
    return asyncio.run(ask(call, url=url, key=key_file.read_text().strip(), ca_file=ca_file))


def _fail(error: AnswerError) -> NoReturn:
    click.echo(str(error), err=True)
    sys.exit(os.EX_NOPERM if error.status in {401, 403} else EX_REFUSED if error.status else os.EX_UNAVAILABLE)


_WATCH = click.option("--watch", is_flag=True, help="Again each second until Ctrl-C; on a terminal, in place.")


@dataclass(frozen=True, slots=True)
class _Listing:
    """A question whose answer is rows: under which key, and what to say where there are none."""

    call: Call
    key: str
    columns: tuple[str, ...]
    none: str


@click.command(help="Orders that are open.")
@_options
@_WATCH
@click.option("--instrument", help="Of this instrument only.")
def orders(*, as_json: bool, watch: bool, instrument: str | None, **where: Any) -> None:
    """Prints open orders."""
    params = {"instrument": instrument} if instrument else {}
    call = Call("GET", "/v1/orders", params=params)
    _show(_Listing(call, "orders", _ORDERS, "no open orders"), as_json=as_json, watch=watch, **where)


@click.command(help="Open positions.")
@_options
@_WATCH
def positions(*, as_json: bool, watch: bool, **where: Any) -> None:
    """Prints open positions."""
    listing = _Listing(Call("GET", "/v1/positions"), "positions", _POSITIONS, "no open positions")
    _show(listing, as_json=as_json, watch=watch, **where)


@click.command(help="Compare with the venue now, and adopt what it has.")
@_options
def reconcile(*, as_json: bool, **where: Any) -> None:
    """Prints what the comparison found."""
    call = Call("POST", "/v1/admin/reconcile")
    _show(_Listing(call, "mismatches", _MISMATCHES, "the venue and the broker agree"), as_json=as_json, **where)


def _show(listing: _Listing, *, as_json: bool, watch: bool = False, **where: Any) -> None:
    try:
        _repeat(listing, as_json=as_json, watch=watch, **where)
    except AnswerError as error:  # told after a live view has given the screen back
        _fail(error)


def _repeat(listing: _Listing, *, as_json: bool, watch: bool, **where: Any) -> None:
    with suppress(KeyboardInterrupt), writer(live=watch and not as_json) as write:
        while True:
            answer = _call(listing.call, **where)
            if as_json:
                click.echo(json.dumps(answer, indent=None if watch else 2))
            else:
                write(answer[listing.key], listing.columns, listing.none)
            if not watch:
                return
            time.sleep(WATCH_S)


def _state_command(name: str, state: str, text: str) -> click.Command:
    @click.command(name, help=text)
    @_options
    @click.option("--reason", required=True, help="Why; it goes into the log.")
    def change(*, as_json: bool, reason: str, **where: Any) -> None:
        answer = _ask(Call("PUT", "/v1/admin/state", body={"state": state, "reason": reason}), **where)
        click.echo(json.dumps(answer) if as_json else f"the broker is {answer['state']}")

    return change


@click.command(
    help="Place a small order and its opposite, or with --preview only try them; for a check before a promotion."
)
@_options
@click.option(
    "--preview", is_flag=True, help="Send nothing: a preview would pass orders on to who trades the account."
)
@click.option("--instrument", default="EUR_USD", show_default=True)
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(min=1), help="How often, a second apart.")
def smoke(*, as_json: bool, preview: bool, instrument: str, rounds: int, **where: Any) -> None:
    """Ends with 0 where the broker does what its role asks."""
    for number in range(rounds):
        if number:
            time.sleep(ROUND_S)
        try:
            answers = _try_orders(instrument, where) if preview else _place_orders(instrument, where)
        except AnswerError as error:
            _fail(error)
    if as_json:
        click.echo(json.dumps(answers))
    elif preview:
        click.echo("the preview answers, knows the key, reaches the venue and its owner, and would send the orders")
    else:
        click.echo("two orders of one unit were filled, and cancel each other out")


def _both_sides(instrument: str) -> list[dict[str, str]]:
    return [{"instrument": instrument, "side": side, "type": "market", "units": "1"} for side in ("buy", "sell")]


def _place_orders(instrument: str, where: dict[str, Any]) -> list[dict[str, Any]]:
    answers = [_call(Call("POST", "/v1/orders", body=body), **where) for body in _both_sides(instrument)]
    if any(answer["status"] != "filled" for answer in answers):
        raise AnswerError(HTTPStatus.CONFLICT, f"not as expected: {[answer['status'] for answer in answers]}")
    return answers


def _try_orders(instrument: str, where: dict[str, Any]) -> list[dict[str, Any]]:
    """Tries both, and reads what only the owner has: the way to it is the way that orders take."""
    answers = [_call(Call("POST", "/v1/orders/test", body=body), **where) for body in _both_sides(instrument)]
    for answer in answers:
        # A closed market is no fault of the preview.
        if not answer["would_be_sent"] and answer["check"] != MARKET_CLOSED:
            raise AnswerError(HTTPStatus.CONFLICT, f"would be denied: {answer['reason']} ({answer['message']})")
    _call(Call("GET", "/v1/orders"), **where)
    return answers


COMMANDS: dict[str, click.Command] = {
    "smoke": smoke,
    "orders": orders,
    "positions": positions,
    "reconcile": reconcile,
    "halt": _state_command("halt", "halted", "Take cancels only, from now on and over restarts."),
    "reduce": _state_command("reduce", "reducing", "Take only what makes positions smaller."),
    "resume": _state_command("resume", "active", "Trade again."),
}
