"""Which colour of a deployment may trade: the active one, as the pod's own labels say.

Argo Rollouts labels pods (`activeMetadata`, `previewMetadata`), and the kubelet writes the labels into a file
(downwardAPI) again when they change, within its sync period of about a minute. A preview never takes the account;
a colour that is no longer active releases it.
"""

from __future__ import annotations

import json
from pathlib import Path

from broker.orders.lease import Lease

LOOK_AGAIN_S = 0.5


def is_active(labels: str, label: str) -> bool:
    """Whether the lines `name="value"` of a downwardAPI file give `label` the value active."""
    return f"{label}={json.dumps('active')}" in labels.splitlines()


class ColouredLease:
    """A lease that only the active colour may take and keep; its other answers are the inner lease's."""

    def __init__(self, inner: Lease, labels_file: Path, label: str) -> None:
        self._inner = inner
        self._labels_file = labels_file
        self._label = label

    @property
    def epoch(self) -> int:
        """Of our taking; 0 is none."""
        return self._inner.epoch

    @property
    def look_every_s(self) -> float:
        """How often to look."""
        return self._inner.look_every_s

    @property
    def renew_every_s(self) -> float:
        """How often to renew."""
        return self._inner.renew_every_s

    def is_wanted(self) -> bool:
        """Whether we are the active colour. A file that cannot be read says nothing of being active."""
        try:
            return is_active(self._labels_file.read_text(encoding="utf-8"), self._label)
        except (OSError, UnicodeDecodeError):
            return False

    def holds(self) -> bool:
        """Whether we may send now."""
        return self._inner.holds()

    def is_in_time(self) -> bool:
        """Whether our time runs."""
        return self._inner.is_in_time()

    def is_free(self) -> bool:
        """Whether nobody has it, as far as we know."""
        return self._inner.is_free()

    def holder(self) -> str:
        """Who owns it."""
        return self._inner.holder()

    def address(self) -> str:
        """Where the order API of who owns it is."""
        return self._inner.address()

    async def look(self) -> None:
        """Learns who owns it."""
        await self._inner.look()

    def note(self) -> str:
        """What the owner before handed on."""
        return self._inner.note()

    def hand_on(self, note: str) -> None:
        """Keeps a text for whoever comes after us."""
        self._inner.hand_on(note)

    async def take(self) -> float:
        """Tries to become the owner where we are active: 0 where we are, else seconds until it is worth trying."""
        if self.is_wanted():
            return await self._inner.take()
        await self._inner.release()
        await self._inner.look()
        return max(LOOK_AGAIN_S, self._inner.look_every_s)

    async def renew(self) -> bool:
        """Goes on owning; False where it is too late or another has taken over."""
        return await self._inner.renew()

    async def release(self) -> None:
        """Gives it up."""
        await self._inner.release()
