"""The secrets as the console shows them: where each stands on its way, never what it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sidecar.secrets.acknowledge import Rejection
from sidecar.secrets.status import LastError, SecretsStatus, SecretStatus, TokenStatus

JsonObject = dict[str, Any]
SHOWN = 30
"""Deeds in the document: it goes to every page each second."""


def secrets_json(status: SecretsStatus | None, deeds: Sequence[JsonObject] = ()) -> JsonObject:
    """The part `secrets` of the status document; None where no secret is configured.

    `deeds` is what was done lately, the latest first.
    """
    if status is None:
        return {"configured": False, "secrets": []}
    return {
        "configured": True,
        "generation": status.generation_published,
        "acknowledged": status.generation_acknowledged,
        "published_at": _time(status.published_at),
        "stage": str(status.stage) if status.stage else None,
        "token": _token(status.token),
        "token_expires_in_s": status.token.expires_in_s,
        "secrets": [_secret(item) for item in status.secrets],
        "rejection": _rejection(status.rejection),
        "mishap": _last_error(status.last_error),
        "sessions": status.sessions,
        "leases": status.leases,
        "awaiting_retirement": status.awaiting_retirement,
        "requests": [
            {"operation": operation, "outcome": outcome, "count": count}
            for (operation, outcome), count in sorted(status.requests.items())
        ],
        "counters": dict(status.counters),
        "deeds": list(deeds[:SHOWN]),
    }


def _token(token: TokenStatus) -> JsonObject:
    return {
        "method": token.method,
        "state": token.state,
        "expires_in_s": token.expires_in_s,
        "ends_in_s": token.ends_in_s,
        "last_success": _time(token.last_success),
        "mishap": _last_error(token.last_error),
        "logins": dict(token.logins),
    }


def _secret(secret: SecretStatus) -> JsonObject:
    return {
        "name": secret.name,
        "source": secret.source,
        "state": secret.state,
        "version": secret.version,
        "files": list(secret.files),
        "read_at": _time(secret.read_at),
        "last_success": _time(secret.last_success),
        "expires_in_s": secret.expires_in_s,
        "ends_in_s": secret.ends_in_s,
        "next_step": secret.next_step,
        "next_in_s": secret.next_in_s,
        "failing_since": _time(secret.failing_since),
        "mishap": _last_error(secret.last_error),
        "reads": dict(secret.reads),
    }


def _rejection(rejection: Rejection | None) -> JsonObject | None:
    if rejection is None:
        return None
    return {
        "generation": rejection.generation,
        "producer": rejection.producer_id,
        "secret": rejection.secret,
        "reason": rejection.reason,
        "message": rejection.message,
        "time": _time(rejection.time),
    }


def _last_error(error: LastError | None) -> JsonObject | None:
    if error is None:
        return None
    return {"name": error.name, "message": error.message, "status": error.status, "time": _time(error.time)}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
