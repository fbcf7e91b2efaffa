"""What proves to Vault who we are: files, read whenever they are needed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pod_runtime.secret import Secret


class LoginError(Exception):
    """There is nothing to log in with; the text names the file and what is wrong with it."""


class SpentError(LoginError):
    """What there is to log in with has been used before, and works no more: only another one helps."""


def read_credential(path: Path | None, key: str) -> Secret:
    """The text of a credential's file, without the white space around it.

    Raises:
        LoginError: it cannot be read or is empty.
    """
    try:
        text = Path(path or "").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise LoginError(f"{key}: {path} cannot be read ({reason})") from None
    if not text:
        raise LoginError(f"{key}: {path} is empty")
    return Secret(text)


def digest(secret: Secret) -> str:
    """What tells a credential from another without showing it."""
    return hashlib.sha256(secret.reveal().encode()).hexdigest()


def fingerprint(*paths: Path | None) -> str:
    """What changes when one of the files does."""
    found = hashlib.sha256()
    for path in paths:
        try:
            found.update(b"" if path is None else path.read_bytes())
        except OSError as error:
            found.update(str(error.errno).encode())
        found.update(b"\0")
    return found.hexdigest()
