"""Settings that clients may change in their account: its alias and its margin rate."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from broker.simulator.account.account import CLOSEOUT_SHARE
from broker.simulator.account.matching import Matching
from broker.simulator.account.payloads import read_body
from broker.simulator.v20.answers import RefusalError, invalid
from broker.simulator.v20.order_requests import RejectError, number, text


def configure(rules: Matching, body: Any) -> dict[str, Any]:
    """`PATCH configuration`.

    Raises:
        RefusalError: 400, with a reject transaction where the request could be read.
    """
    if not isinstance(body, Mapping):
        raise invalid("configureAccountBody")
    asked = {name: str(body[name]) for name in ("alias", "marginRate") if body.get(name) is not None}
    try:
        # Both are read and checked before either is set.
        alias = text(body, "alias", rules.book.alias, where="")
        rate = rules.book.margin_rate
        if "marginRate" in asked:
            rate = number(body, "marginRate", "MARGIN_RATE", where="")
        _check(rules, asked, rate)
    except RejectError as error:
        rejected = rules.fills.write("CLIENT_CONFIGURE_REJECT", **asked, rejectReason=error.reason)
        words = {"errorCode": error.reason, "errorMessage": error.reason.replace("_", " ").capitalize()}
        raise RefusalError(400, read_body(rules.book, clientConfigureRejectTransaction=rejected) | words) from None
    rules.book.alias, rules.book.margin_rate = alias, rate
    written = rules.fills.write("CLIENT_CONFIGURE", **asked)
    return read_body(rules.book, clientConfigureTransaction=written)


def _check(rules: Matching, asked: Mapping[str, str], rate: Decimal) -> None:
    """Refuse a rate that would close open positions."""
    if not asked:
        raise RejectError("CLIENT_CONFIGURE_DATA_MISSING")
    if not 0 < rate <= 1:
        raise RejectError("MARGIN_RATE_INVALID")
    # A lower rate frees margin, and cannot hurt.
    if rate <= rules.book.margin_rate:
        return
    used, equity = rules.book.margin_used(rules.prices, rate), rules.book.equity(rules.prices)
    if used * CLOSEOUT_SHARE >= equity:
        raise RejectError("MARGIN_RATE_WOULD_TRIGGER_CLOSEOUT")
    if used > equity:
        raise RejectError("MARGIN_RATE_WOULD_TRIGGER_MARGIN_CALL")
