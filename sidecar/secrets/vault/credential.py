"""Credential files: read at every use, because the platform rotates them in place."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pod_runtime.secret import Secret
from sidecar.secrets.errors import LoginError


def read_credential(path: Path | None, key: str) -> Secret:
    """Read a credential's file, without the white space around it; the LoginError of a bad one names `key`."""
    try:
        text = Path(path or "").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise LoginError(f"{key}: {path} cannot be read ({reason})") from None
    if not text:
        raise LoginError(f"{key}: {path} is empty")
    return Secret(text)


def digest(secret: Secret) -> str:
    """Digest that tells two credentials apart without showing them."""
    return hashlib.sha256(secret.reveal().encode()).hexdigest()


def fingerprint(*paths: Path | None) -> str:
    """Digest of the files' contents; it changes when one of them does, also to or from an unreadable one."""
    found = hashlib.sha256()
    for path in paths:
        try:
            found.update(b"" if path is None else path.read_bytes())
        except OSError as error:
            found.update(str(error.errno).encode())
        found.update(b"\0")
    return found.hexdigest()
