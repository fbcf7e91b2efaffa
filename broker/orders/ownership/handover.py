"""The trading state as owners of the account hand it on with the taking, so that it outlives a journal's volume."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from broker.orders.store.journal_format import Control, TradingState

UNREADABLE = "the trading state that the owner before left cannot be read"
_SEVERITY = {TradingState.ACTIVE: 0, TradingState.REDUCING: 1, TradingState.HALTED: 2}


def note_of(control: Control) -> str:
    """What the next owner is to know."""
    return json.dumps({"state": control.state, "reason": control.state_reason, "actor": control.state_actor})


def stricter(control: Control, note: str) -> Control:
    """The stricter of the journal's state and the note's; an empty note says nothing, an unreadable one halts."""
    if not note:
        return control
    handed = _read(control, note)
    return handed if _SEVERITY[handed.state] > _SEVERITY[control.state] else control


def _read(control: Control, note: str) -> Control:
    try:
        held: Any = json.loads(note)
        state, reason, actor = TradingState(held["state"]), str(held["reason"]), str(held["actor"])
    except (ValueError, KeyError, TypeError):
        return replace(control, state=TradingState.HALTED, state_reason=UNREADABLE, state_actor="broker")
    return replace(control, state=state, state_reason=reason, state_actor=actor)
