"""Requests, counted by what they are for and how they ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pod_runtime.secret import Secret
from sidecar.secrets.vault.answer import Answer
from sidecar.secrets.vault.client import Caller
from sidecar.secrets.vault.fault import VaultError


class Counted:
    """A caller whose requests are counted in `counts` as (operation, ok or the fault)."""

    def __init__(self, caller: Caller, operation: str, counts: Counter[tuple[str, str]]) -> None:
        self._caller, self._operation, self._counts = caller, operation, counts

    async def call(
        self, method: str, path: str, *, token: Secret | None = None, body: Mapping[str, Any] | None = None
    ) -> Answer:
        """See `Caller`."""
        try:
            answer = await self._caller.call(method, path, token=token, body=body)
        except VaultError as error:
            self._counts[self._operation, error.fault.value] += 1
            raise
        self._counts[self._operation, "ok"] += 1
        return answer
