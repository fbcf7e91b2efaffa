"""The two questions that the reports ask of Prometheus's HTTP API."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

TIMEOUT_S = 120


class PrometheusError(Exception):
    """It did not answer, or refused the query; the text says which."""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A server, or what speaks its API: Thanos, Mimir."""

    url: str
    token_file: Path | None = None

    def at(self, expr: str, when: datetime) -> list[dict[str, Any]]:
        """Series of an instant query.

        Raises:
            PrometheusError: see there.
        """
        return self._ask("query", {"query": expr, "time": when.timestamp()})

    def over(self, expr: str, start: datetime, end: datetime, step_s: int) -> list[dict[str, Any]]:
        """Series of a range query.

        Raises:
            PrometheusError: see there.
        """
        span = {"start": start.timestamp(), "end": end.timestamp(), "step": step_s}
        return self._ask("query_range", {"query": expr, **span})

    def _ask(self, path: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        body = urllib.parse.urlencode(parameters).encode()
        address = f"{self.url.rstrip('/')}/api/v1/{path}"
        request = urllib.request.Request(address, data=body)  # noqa: S310 - the operator's own address
        if self.token_file is not None:
            request.add_header("Authorization", f"Bearer {self.token_file.read_text().strip()}")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - see above
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            raise PrometheusError(f"{address}: {error.code} {error.read(400).decode(errors='replace')}") from None
        except (OSError, ValueError) as error:
            raise PrometheusError(f"{address}: {error}") from None
        return list(found["data"]["result"])


def complain(error: PrometheusError) -> int:
    """Says it on standard error; the exit status."""
    sys.stderr.write(f"no report: {error}\n")
    return os.EX_UNAVAILABLE
