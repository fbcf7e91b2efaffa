"""Subcommands of `broker`: each asks a running broker over its API."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click

from broker.cli.table import table_writer
from broker.orders.checks.dry_run import MARKET_CLOSED

PAUSE_S = 1.0
DEADLINE_S = 35.0
"""Longer than the API's own deadline, so that its answer is seen."""
EX_REFUSED = 1  # sysexits.h has no number for it

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_CONNECTION = (
    click.Option(
        ["--url"], envvar="BROKER_URL", default="http://127.0.0.1:8080", show_default=True, help="Also BROKER_URL."
    ),
    click.Option(["--account"], envvar="BROKER_ACCOUNT", help="Where the broker trades several. Also BROKER_ACCOUNT."),
    click.Option(["--ca-file"], type=_FILE, help="Certificates to check an https broker with."),
    click.Option(
        ["--key-file"],
        type=_FILE,
        envvar="BROKER_API_KEY_FILE",
        required=True,
        help="File that holds an API key; a key is never an argument. Also BROKER_API_KEY_FILE.",
    ),
    click.Option(["--json", "as_json"], is_flag=True, help="Print the answer's JSON."),
)
_WATCH = click.option("--watch", is_flag=True, help="Again each second until Ctrl-C; on a terminal, in place.")


class ApiAnswerError(Exception):
    """The broker refused, or did not answer (`status` 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A request."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


async def ask(call: ApiCall, *, url: str, key: str, ca_file: Path | None) -> dict[str, Any]:
    """The answer's JSON; raises ApiAnswerError, with a text for people, if there is none or it is a problem."""
    import aiohttp  # noqa: PLC0415 - the process itself begins here, too, and needs none

    trust = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
    if isinstance(trust, ssl.SSLContext):
        trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as the broker does: an intermediate may be all there is
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout, headers={"X-API-Key": key}) as session:
            address = url.rstrip("/") + call.path
            given: dict[str, Any] = {"params": call.params, "json": call.body, "headers": call.headers}
            async with session.request(call.method, address, ssl=trust, **given) as answer:
                found: dict[str, Any] = await answer.json(content_type=None)
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    raise ApiAnswerError(answer.status, f"{answer.status} {found.get('detail', answer.reason)}")
                return found
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ApiAnswerError(0, f"no answer from {url}: {error or 'no answer in time'}") from error


class BrokerCommand(click.Command):
    """A command with the options to reach a broker, which ends with an exit code if the broker refuses."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params[:0] = _CONNECTION

    def invoke(self, context: click.Context) -> None:
        """Run the command. An error is printed here, that is after a live table has given the screen back."""
        try:
            super().invoke(context)
        except ApiAnswerError as error:
            click.echo(str(error), err=True)
            is_forbidden = error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
            context.exit(os.EX_NOPERM if is_forbidden else EX_REFUSED if error.status else os.EX_UNAVAILABLE)


def _ask(
    call: ApiCall, *, url: str, key_file: Path, ca_file: Path | None, account: str | None = None
) -> dict[str, Any]:
    if account is not None:
        call = replace(call, params={**call.params, "account": account})
    return asyncio.run(ask(call, url=url, key=key_file.read_text().strip(), ca_file=ca_file))


@dataclass(frozen=True, slots=True)
class _Listing:
    """A request whose answer has rows under `key`; `none` is printed if there are none."""

    call: ApiCall
    key: str
    columns: str
    """Their names with blanks between them."""
    none: str


_ORDER_COLUMNS = "id instrument side type units price status filled_units client client_order_id created_at"
_POSITION_COLUMNS = "instrument units average_price unrealized_profit realized_profit"
_TRADE_COLUMNS = "id instrument units price unrealized_profit realized_profit financing client opened_at"
_POSITIONS = _Listing(ApiCall("GET", "/v1/positions"), "positions", _POSITION_COLUMNS, "no open positions")
_OUTCOME_COLUMNS = "subject outcome reason message"
_ACCOUNT = ApiCall("GET", "/v1/account")
_COMPARE = ApiCall("POST", "/v1/admin/reconcile")
_MISMATCHES = _Listing(_COMPARE, "mismatches", "kind subject ours theirs", "the venue and the broker agree")


@click.command(cls=BrokerCommand)
@_WATCH
@click.option("--instrument", help="Of this instrument only.")
def orders(*, as_json: bool, watch: bool, instrument: str | None, **broker: Any) -> None:
    """Orders that are open."""
    call = ApiCall("GET", "/v1/orders", params={"instrument": instrument} if instrument else {})
    _show(_Listing(call, "orders", _ORDER_COLUMNS, "no open orders"), as_json=as_json, watch=watch, **broker)


@click.command(cls=BrokerCommand)
@_WATCH
def positions(*, as_json: bool, watch: bool, **broker: Any) -> None:
    """Open positions."""
    _show(_POSITIONS, as_json=as_json, watch=watch, **broker)


@click.command(cls=BrokerCommand)
@_WATCH
@click.option("--instrument", help="Of this instrument only.")
def trades(*, as_json: bool, watch: bool, instrument: str | None, **broker: Any) -> None:
    """Open trades."""
    call = ApiCall("GET", "/v1/trades", params={"instrument": instrument} if instrument else {})
    _show(_Listing(call, "trades", _TRADE_COLUMNS, "no open trades"), as_json=as_json, watch=watch, **broker)


@click.command(cls=BrokerCommand)
def reconcile(*, as_json: bool, **broker: Any) -> None:
    """Compare with the venue now, and adopt what it has."""
    _show(_MISMATCHES, as_json=as_json, **broker)


def _show(listing: _Listing, *, as_json: bool, watch: bool = False, **broker: Any) -> None:
    with suppress(KeyboardInterrupt), table_writer(live=watch and not as_json) as write:
        while True:
            answer = _ask(listing.call, **broker)
            if as_json:
                click.echo(json.dumps(answer, indent=None if watch else 2))
            else:
                write(answer[listing.key], listing.columns.split(), listing.none)
            if not watch:
                return
            time.sleep(PAUSE_S)


def _state_command(name: str, state: str, summary: str) -> click.Command:
    @click.command(name, cls=BrokerCommand, help=summary)
    @click.option("--reason", required=True, help="Why; it goes into the log.")
    def change(*, as_json: bool, reason: str, **broker: Any) -> None:
        answer = _ask(ApiCall("PUT", "/v1/admin/state", body={"state": state, "reason": reason}), **broker)
        click.echo(json.dumps(answer) if as_json else f"the broker is {answer['state']}")

    return change


@click.command(cls=BrokerCommand)
@click.option("--reason", required=True, help="Why; it goes into the log.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can answer.")
@click.option("--key", help="Idempotency key: with the same key the command goes on where it was interrupted.")
def kill(*, as_json: bool, reason: str, yes: bool, key: str | None, **broker: Any) -> None:
    """Halt trading, cancel every order that may open a position, and close every position.

    Asks once on a terminal. Trading stays halted: `broker resume` ends that.
    """
    account = _ask(_ACCOUNT, **broker)["id"]
    _confirm(f"Cancel all orders and close all positions of {account}?", yes=yes)
    headers = {"Idempotency-Key": key} if key else {}
    body = {"confirm": account, "reason": reason}
    answer = _ask(ApiCall("POST", "/v1/admin/kill", headers=headers, body=body), **broker)
    _show_outcomes(answer, "no orders and no positions", as_json=as_json, last=f"the broker is {answer['state']}")


def _mass_command(name: str, path: str, question: str, none: str, summary: str) -> click.Command:
    @click.command(name, cls=BrokerCommand, help=summary)
    @click.option("--instrument", help="Of this instrument only.")
    @click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can answer.")
    @click.option("--key", help="Idempotency key: with the same key the command goes on where it was interrupted.")
    def act(*, as_json: bool, instrument: str | None, yes: bool, key: str | None, **broker: Any) -> None:
        _confirm(question, yes=yes)
        headers = {"Idempotency-Key": key} if key else {}
        answer = _ask(ApiCall("POST", path, headers=headers, body={"instrument": instrument}), **broker)
        _show_outcomes(answer, none, as_json=as_json)

    return act


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here; give --yes")
    click.confirm(question, abort=True)


def _show_outcomes(answer: dict[str, Any], none: str, *, as_json: bool, last: str | None = None) -> None:
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        with table_writer() as write:
            write(answer["results"], _OUTCOME_COLUMNS.split(), none)
        if last is not None:
            click.echo(last)
    if not answer["complete"]:
        raise ApiAnswerError(HTTPStatus.MULTI_STATUS, "not everything is cancelled and closed; see the outcomes")


@click.command(cls=BrokerCommand)
@click.option("--preview", is_flag=True, help="Send nothing: a preview would pass orders on to who trades the account.")
@click.option("--instrument", default="EUR_USD", show_default=True)
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(min=1), help="How often, a second apart.")
def smoke(*, as_json: bool, preview: bool, instrument: str, rounds: int, **broker: Any) -> None:
    """Place a small order and its opposite, or with --preview only try them; for a check before a promotion."""
    for number in range(rounds):
        if number:
            time.sleep(PAUSE_S)
        answers = _try_orders(instrument, broker) if preview else _place_orders(instrument, broker)
    if as_json:
        click.echo(json.dumps(answers))
    elif preview:
        click.echo("the preview answers, knows the key, reaches the venue and its owner, and would send the orders")
    else:
        click.echo("two orders of one unit were filled, and cancel each other out")


def _send_both_sides(path: str, instrument: str, broker: dict[str, Any]) -> list[dict[str, Any]]:
    order = {"instrument": instrument, "type": "market", "units": "1"}
    return [_ask(ApiCall("POST", path, body={**order, "side": side}), **broker) for side in ("buy", "sell")]


def _place_orders(instrument: str, broker: dict[str, Any]) -> list[dict[str, Any]]:
    answers = _send_both_sides("/v1/orders", instrument, broker)
    if any(answer["status"] != "filled" for answer in answers):
        raise ApiAnswerError(HTTPStatus.CONFLICT, f"not as expected: {[answer['status'] for answer in answers]}")
    return answers


def _try_orders(instrument: str, broker: dict[str, Any]) -> list[dict[str, Any]]:
    answers = _send_both_sides("/v1/orders/test", instrument, broker)
    for answer in answers:
        # A closed market is no fault of the preview.
        if not answer["would_be_sent"] and answer["check"] != MARKET_CLOSED:
            raise ApiAnswerError(HTTPStatus.CONFLICT, f"would be denied: {answer['reason']} ({answer['message']})")
    # Only the owner has the open orders: the preview reaches it on the way that orders would take.
    _ask(ApiCall("GET", "/v1/orders"), **broker)
    return answers


COMMANDS: dict[str, click.Command] = {
    "kill": kill,
    "cancel-all": _mass_command(
        "cancel-all",
        "/v1/orders/cancel",
        "Cancel all open orders of this key (of everybody, if it may administer)?",
        "no open orders",
        "Cancel all open orders, take-profits and stops included.",
    ),
    "close-all": _mass_command(
        "close-all", "/v1/positions/close", "Close all positions?", "no open positions", "Close all positions."
    ),
    "smoke": smoke,
    "orders": orders,
    "positions": positions,
    "trades": trades,
    "reconcile": reconcile,
    "halt": _state_command("halt", "halted", "Take cancels only, from now on and over restarts."),
    "reduce": _state_command("reduce", "reducing", "Take only what makes positions smaller."),
    "resume": _state_command("resume", "active", "Trade again."),
}
