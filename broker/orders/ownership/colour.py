"""Which colour of a deployment may trade: the active one, as the pod's own labels say.

Argo Rollouts labels pods (`activeMetadata`, `previewMetadata`), and the kubelet writes the labels into a file
(downwardAPI) again when they change, within its sync period of about a minute. A preview never takes the account;
a colour that is no longer active releases it.
"""

from __future__ import annotations

import json
from pathlib import Path

from broker.orders.ownership.lease import Lease
from broker.orders.ownership.outer_lease import OuterLease

LOOK_AGAIN_S = 0.5


def is_active(labels: str, label: str) -> bool:
    """Whether the lines `name="value"` of a downwardAPI file give `label` the value active."""
    return f"{label}={json.dumps('active')}" in labels.splitlines()


class ColouredLease(OuterLease):
    """A lease that only the active colour may take and keep; its other answers are the inner lease's."""

    def __init__(self, inner: Lease, labels_file: Path, label: str) -> None:
        super().__init__(inner)
        self._labels_file = labels_file
        self._label = label

    def is_wanted(self) -> bool:
        """Whether we are the active colour. A file that cannot be read says nothing of being active."""
        try:
            return is_active(self._labels_file.read_text(encoding="utf-8"), self._label)
        except (OSError, UnicodeDecodeError):
            return False

    async def take(self) -> float:
        """Tries to become the owner where we are active: 0 where we are, else seconds until it is worth trying."""
        if self.is_wanted():
            return await self._inner.take()
        await self._inner.release()
        await self._inner.look()
        return max(LOOK_AGAIN_S, self._inner.look_every_s)
