"""The rules of a stream, as a table: in which state which message does what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto


class State(Enum):
    """Where a stream stands."""

    NEW = auto()
    OPEN = auto()
    LEFT = auto()


class Action(Enum):
    """What a message does."""

    WELCOME = auto()
    DEFINE = auto()
    BATCH = auto()
    HEARTBEAT = auto()
    APPLIED = auto()
    REJECTED = auto()
    LEAVE = auto()
    IGNORE = auto()


@dataclass(frozen=True, slots=True)
class Broken:
    """The rule that a message breaks; the stream ends with it."""

    rule: str
    message: str


_NO_HELLO = Broken("hello_first", "the first message must be Hello")
_SECOND_HELLO = Broken("one_hello", "a stream has one Hello: open another stream for another session")
_AFTER_GOODBYE = Broken("after_goodbye", "nothing follows Goodbye: close the stream")

UNKNOWN = "unknown"
"""A message of a kind that this version does not know: ignored and counted, in every state."""

KINDS = ("hello", "define", "batch", "heartbeat", "secrets_applied", "secrets_rejected", "goodbye")

TABLE: Mapping[tuple[State, str], tuple[Action, State] | Broken] = {
    **{(State.NEW, kind): _NO_HELLO for kind in KINDS},
    (State.NEW, "hello"): (Action.WELCOME, State.OPEN),
    (State.NEW, UNKNOWN): (Action.IGNORE, State.NEW),
    (State.OPEN, "hello"): _SECOND_HELLO,
    (State.OPEN, "define"): (Action.DEFINE, State.OPEN),
    (State.OPEN, "batch"): (Action.BATCH, State.OPEN),
    (State.OPEN, "heartbeat"): (Action.HEARTBEAT, State.OPEN),
    (State.OPEN, "secrets_applied"): (Action.APPLIED, State.OPEN),
    (State.OPEN, "secrets_rejected"): (Action.REJECTED, State.OPEN),
    (State.OPEN, "goodbye"): (Action.LEAVE, State.LEFT),
    (State.OPEN, UNKNOWN): (Action.IGNORE, State.OPEN),
    **{(State.LEFT, kind): _AFTER_GOODBYE for kind in KINDS},
    (State.LEFT, UNKNOWN): (Action.IGNORE, State.LEFT),
}


def step(state: State, kind: str) -> tuple[Action, State] | Broken:
    """What a message of `kind` does in `state`."""
    return TABLE[state, kind]
