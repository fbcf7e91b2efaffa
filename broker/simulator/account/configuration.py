"""What clients may set of their account: its alias and its margin rate. Pure: the log is the effect."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from broker.simulator.account.account import CLOSEOUT_SHARE
from broker.simulator.account.matching import Matching
from broker.simulator.http.answers import AnswerError, invalid, shown
from broker.simulator.v20.fields import InvalidRequestError, RejectError, number, text


def configure(rules: Matching, body: Any) -> dict[str, Any]:
    """`PATCH configuration`.

    Raises:
        AnswerError: 400, with a reject transaction where the request could be read.
    """
    if not isinstance(body, Mapping):
        raise invalid("configureAccountBody")
    asked = {name: str(body[name]) for name in ("alias", "marginRate") if body.get(name) is not None}
    try:
        alias = text(body, "alias", rules.book.alias)
        rate = number(body, "marginRate", "MARGIN_RATE") if "marginRate" in asked else rules.book.margin_rate
        _check(rules, asked, rate)
    except InvalidRequestError as error:
        raise invalid(error.field.removeprefix("order.")) from None
    except RejectError as error:
        rejected = rules.write("CLIENT_CONFIGURE_REJECT", **asked, rejectReason=error.reason)
        words = {"errorCode": error.reason, "errorMessage": error.reason.replace("_", " ").capitalize()}
        raise AnswerError(400, shown(rules.book, clientConfigureRejectTransaction=rejected) | words) from None
    rules.book.alias, rules.book.margin_rate = alias, rate
    written = rules.write("CLIENT_CONFIGURE", **asked)
    return shown(rules.book, clientConfigureTransaction=written)


def _check(rules: Matching, asked: Mapping[str, str], rate: Decimal) -> None:
    """The venue takes no rate that would end what is open."""
    if not asked:
        raise RejectError("CLIENT_CONFIGURE_DATA_MISSING")
    if not 0 < rate <= 1:
        raise RejectError("MARGIN_RATE_INVALID")
    if rate <= rules.book.margin_rate:
        return
    used, equity = rules.book.margin_used(rules.prices, rate), rules.book.equity(rules.prices)
    if used * CLOSEOUT_SHARE >= equity:
        raise RejectError("MARGIN_RATE_WOULD_TRIGGER_CLOSEOUT")
    if used > equity:
        raise RejectError("MARGIN_RATE_WOULD_TRIGGER_MARGIN_CALL")
