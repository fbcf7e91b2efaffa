"""Trading state of an account: active, reducing or halted, over restarts and from one owner to the next.

Trading is halted by one of four:

- an operator or a client with the right to, through the API (`OrderService.set_state`);
- the engine, when the venue's log shows an order with our mark that another owner sent (`OrderStore`): two trade;
- a handover note that cannot be read (`stricter`, below);
- the state that the journal or the handover note holds from before.

Only an operator resumes it. The state is in the journal and, for a successor on another volume, in the lease as a
handover note (JSON). A successor takes the stricter of the two: either can be the older one. The note, if the owner
died before its next renewal; the journal, if it lies on a volume that was not used last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from broker.venue.v20.transactions import decimal

UNREADABLE = "the trading state that the owner before left cannot be read"


class TradingState(StrEnum):
    """Orders that may be sent."""

    ACTIVE = "active"
    REDUCING = "reducing"
    """Only orders that make a position smaller, and cancels."""
    HALTED = "halted"
    """Cancels only."""


_SEVERITY = {TradingState.ACTIVE: 0, TradingState.REDUCING: 1, TradingState.HALTED: 2}


class AccountControl(Struct, frozen=True, kw_only=True):
    """State of an account, besides its orders, that survives a restart."""

    state: TradingState = TradingState.ACTIVE
    state_reason: str = "start"
    state_actor: str = "broker"
    applied: int | None = None
    """Last transaction of the venue's log that we applied; None before the first catch-up."""
    day: date | None = None
    """Trading day (UTC) that began with `day_nav`."""
    day_nav: Decimal | None = None
    day_at: int = 0
    """Last transaction that `day_nav` includes."""
    transfers: Decimal = Decimal(0)
    """Money that came in (or went out, negative) since then: it is no result of trading."""
    transfers_at: int = 0
    """Last transaction that `transfers` includes."""

    def after(self, raw: Mapping[str, Any]) -> AccountControl:
        """The state after the next transaction of the log. Raises ValueError, KeyError: it has no id."""
        number = int(raw["id"])
        found = replace(self, applied=number)
        if raw.get("type") != "TRANSFER_FUNDS" or number <= self.day_at:
            return found
        try:
            amount = decimal(raw.get("amount"), "amount")
        except ValueError:
            # It must not stop those behind it. The day's result is then off by what nobody can read.
            return found
        return replace(found, transfers=self.transfers + amount, transfers_at=number)


def handover_note(control: AccountControl) -> str:
    """The trading state as text for the next owner."""
    return json.dumps({"state": control.state, "reason": control.state_reason, "actor": control.state_actor})


def stricter(control: AccountControl, note: str) -> AccountControl:
    """The stricter of the journal's state and the note's. An empty note changes nothing, an unreadable one halts."""
    if not note:
        return control
    try:
        held: Any = json.loads(note)
        state, reason, actor = TradingState(held["state"]), str(held["reason"]), str(held["actor"])
    except (ValueError, KeyError, TypeError):
        # Anybody with access to the lease can have changed it. Trading on after a halt would be the worse error.
        state, reason, actor = TradingState.HALTED, UNREADABLE, "broker"
    if _SEVERITY[state] <= _SEVERITY[control.state]:
        return control
    return replace(control, state=state, state_reason=reason, state_actor=actor)
