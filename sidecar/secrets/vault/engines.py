"""Secrets engines: the request that reads each kind of secret, and the parser of its answer."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sidecar.secrets.errors import DeletedError, SourceError
from sidecar.secrets.settings import SecretSettings
from sidecar.secrets.vault.certificate import order_chain, read_certificate
from sidecar.secrets.vault.client import VaultAnswer
from sidecar.secrets.vault.credential import read_credential
from sidecar.secrets.vault.version import VersionMark

# Added to the server's time to the next rotation, which it rounds down; 0 left means that the rotation is late.
STATIC_ROLE_MARGIN_S = 1.0


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A request to an engine."""

    method: str
    path: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReading:
    """A secret as its engine gave it.

    `ttl_s` is its life in seconds (0: none known). `refresh_s` is the wait before the next read of a secret that the
    server changes by itself (0: it does not).
    """

    data: Mapping[str, Any] = field(repr=False)
    version: str = ""
    made_at: datetime | None = None
    """Time at which the server made this version; None if its engine tells none."""
    lease_id: str = field(default="", repr=False)
    ttl_s: float = 0.0
    renewable: bool = False
    refresh_s: float = 0.0
    request_id: str = ""


def read_request(secret: SecretSettings) -> EngineRequest:
    """Return the request that reads a secret. Raises LoginError if the ciphertext's file cannot be read."""
    mount = secret.mount_path
    match secret.source:
        case "kv":
            return EngineRequest("GET", f"{mount}/data/{secret.path}")
        case "kv1":
            return EngineRequest("GET", f"{mount}/{secret.path}")
        case "static_role":
            return EngineRequest("GET", f"{mount}/static-creds/{secret.role}")
        case "pki":
            return EngineRequest("POST", f"{mount}/issue/{secret.role}", dict(secret.parameters))
        case "transit":
            ciphertext = read_credential(secret.ciphertext_file, f"secret {secret.name!r}: ciphertext_file")
            return EngineRequest("POST", f"{mount}/decrypt/{secret.role}", {"ciphertext": ciphertext.reveal()})
        case _:
            body = dict(secret.parameters) or None
            return EngineRequest("POST" if body else "GET", secret.path, body)


def version_path(secret: SecretSettings) -> str:
    """Return the path of a kv secret's metadata, which tells its version."""
    # The metadata has no value: polls, the most frequent requests of all, carry no secret.
    return f"{secret.mount_path}/metadata/{secret.path}"


def certificate_path(secret: SecretSettings, serial: str) -> str:
    """Return the path of an issued certificate, which everybody may read, and which tells that it was revoked."""
    return f"{secret.mount_path}/cert/{serial}"


def read_version(secret: SecretSettings, answer: VaultAnswer, now: datetime) -> VersionMark:
    """Read the current version from a secret's metadata; SourceError if there is none that can be read."""
    current = str(answer.data.get("current_version", ""))
    versions = answer.data.get("versions") or {}
    entry = versions.get(current)
    if not current or entry is None:
        raise SourceError(f"secret {secret.name!r}: the metadata of {secret.path} names no current version")
    deleted_at = str(entry.get("deletion_time") or "")
    deleted = bool(deleted_at) and datetime.fromisoformat(deleted_at) <= (answer.server_time or now)
    if entry.get("destroyed") or deleted:
        raise DeletedError(f"secret {secret.name!r}: version {current} of {secret.path} is deleted")
    return VersionMark(version=current, made_at=_moment(entry.get("created_time")))


def _moment(text: object) -> datetime | None:
    """Return the time in an answer (RFC 3339, up to nanoseconds), to microseconds; None if it is no time."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None


def read_secret(secret: SecretSettings, answer: VaultAnswer, now: datetime) -> SecretReading:
    """Parse the answer to a read, or raise SourceError; `now` dates certificates if the server tells no time."""
    match secret.source:
        case "kv":
            return _kv(secret, answer)
        case "kv1":
            return SecretReading(data=answer.data, request_id=answer.request_id)
        case "static_role":
            return _static_role(secret, answer)
        case "pki":
            return _pki(secret, answer, answer.server_time or now)
        case "transit":
            return _transit(secret, answer)
        case _:
            return _leased(secret, answer)


def _kv(secret: SecretSettings, answer: VaultAnswer) -> SecretReading:
    data = answer.data.get("data")
    metadata = answer.data.get("metadata") or {}
    if not isinstance(data, dict) or "version" not in metadata:
        raise SourceError(f"secret {secret.name!r}: {secret.path} is deleted, or its engine is not kv version 2")
    made_at = _moment(metadata.get("created_time"))
    return SecretReading(data=data, version=str(metadata["version"]), made_at=made_at, request_id=answer.request_id)


def _leased(secret: SecretSettings, answer: VaultAnswer) -> SecretReading:
    # Without a lease there would be nothing to renew, and nothing to revoke after a rotation.
    if not answer.lease_id:
        raise SourceError(f"secret {secret.name!r}: {secret.path} gave no lease; its source is kv, kv1 or static_role")
    return SecretReading(
        data=answer.data,
        lease_id=answer.lease_id,
        ttl_s=float(answer.lease_duration),
        renewable=answer.renewable,
        request_id=answer.request_id,
    )


def _static_role(secret: SecretSettings, answer: VaultAnswer) -> SecretReading:
    if "password" not in answer.data:
        raise SourceError(f"secret {secret.name!r}: role {secret.role} gave no password")
    ttl = float(answer.data.get("ttl") or 0)
    return SecretReading(
        data=answer.data,
        version=str(answer.data.get("last_vault_rotation", "")),
        made_at=_moment(answer.data.get("last_vault_rotation")),
        refresh_s=max(ttl, STATIC_ROLE_MARGIN_S) + STATIC_ROLE_MARGIN_S,
        request_id=answer.request_id,
    )


def _pki(secret: SecretSettings, answer: VaultAnswer, now: datetime) -> SecretReading:
    if absent := [name for name in ("certificate", "private_key", "expiration") if name not in answer.data]:
        raise SourceError(f"secret {secret.name!r}: the certificate's answer has no {', '.join(absent)}")
    # By the server's clock, which signed it: ours may be off by more than a short certificate lives.
    left = float(answer.data["expiration"]) - now.timestamp()
    if left <= 0:
        raise SourceError(f"secret {secret.name!r}: the certificate had expired when it came; compare the clocks")
    leaf = str(answer.data["certificate"])
    facts = read_certificate(leaf)
    if facts and facts.not_before > now:
        raise SourceError(
            f"secret {secret.name!r}: the certificate is not valid before {facts.not_before:%Y-%m-%dT%H:%M:%SZ}; "
            f"see not_before_duration of the role {secret.role}"
        )
    # Readers verify up to a self-signed authority: an intermediate alone would not do.
    given = [str(item) for item in (answer.data.get("ca_chain") or [answer.data.get("issuing_ca")]) if item]
    if facts and (issuers := [item for item in map(read_certificate, given) if item and item.subject == facts.issuer]):
        valid = [item.not_after for item in issuers if item.holds_at(now)]
        if not valid:
            issuer = issuers[0]
            raise SourceError(
                f"secret {secret.name!r}: the authority that issued the certificate is valid from "
                f"{issuer.not_before:%Y-%m-%dT%H:%M:%SZ} to {issuer.not_after:%Y-%m-%dT%H:%M:%SZ} only; "
                f"give the mount {secret.mount_path} another issuer"
            )
        # A certificate may outlive its authority (leaf_not_after_behavior), and is of no use then.
        left = min(left, max(valid).timestamp() - now.timestamp())
    ca = "\n".join(order_chain(leaf, given, now))
    data = {**answer.data, "ca": ca, "chain": "\n".join(item for item in (leaf, ca) if item) + "\n"}
    version = str(answer.data.get("serial_number", ""))
    return SecretReading(data=data, version=version, lease_id=answer.lease_id, ttl_s=left, request_id=answer.request_id)


def _transit(secret: SecretSettings, answer: VaultAnswer) -> SecretReading:
    """`plaintext` stays base64, as the engine gives it; render with format raw and key `text` for its text."""
    if "plaintext" not in answer.data:
        raise SourceError(f"secret {secret.name!r}: key {secret.role} gave no plaintext")
    plaintext = str(answer.data["plaintext"])
    data = {"plaintext": plaintext}
    with contextlib.suppress(ValueError):
        data["text"] = base64.b64decode(plaintext, validate=True).decode("utf-8")
    return SecretReading(data=data, request_id=answer.request_id)
