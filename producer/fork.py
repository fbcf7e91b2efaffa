"""Forks of a program that emits: the child lets go of all that is its parent's, and the parent notices nothing.

fork(2) copies the emitter and shares its files: the mapped segment, whose write position the child only believes to
know, the lock of the session, the connection to the sidecar. A child that wrote there, or closed in order, would
overwrite, cut or remove events of its parent. So each object that holds such things is told of the fork in the child,
before any other code of it runs, and gives them up: the child's events are refused with the reason `forked`, and the
ledgers of child and parent both count them. A child that is to emit makes a `Producer` of its own.

Locks are made anew: a thread that held one at the moment of the fork does not exist in the child.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class ForkHolder(Protocol):
    """An object that holds files, locks or threads which a child of fork(2) must not use."""

    def forked(self) -> None:
        """Give them up; called in the child, by its only thread. Must not raise."""


_HOLDERS: WeakSet[ForkHolder] = WeakSet()


def watch_forks(holder: ForkHolder) -> None:
    """Has `holder.forked` called in every child of a fork, for as long as the holder lives."""
    _HOLDERS.add(holder)


def _tell_holders() -> None:
    for holder in list(_HOLDERS):
        holder.forked()


os.register_at_fork(after_in_child=_tell_holders)
