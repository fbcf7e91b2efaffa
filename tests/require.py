"""Needs of a test from the machine: skipped by name where it is missing, a failure where all is required."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess

import pytest


def is_all_required() -> bool:
    """True where no test may be skipped."""
    return os.environ.get("REQUIRE_ALL") == "1"


def missing(what: str, remedy: str) -> None:
    """Skips the test that asks, or fails it where REQUIRE_ALL=1 says that nothing may be skipped."""
    message = f"{what} is not on this machine: {remedy}"
    if is_all_required():
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def require_binary(name: str, *patterns: str, remedy: str = "make test-deps") -> str:
    """The path of a program, from PATH or else from the newest match of `patterns`."""
    matches = [path for pattern in patterns for path in sorted(glob.glob(pattern), reverse=True)]  # noqa: PTH207
    found = shutil.which(name) or next(iter(matches), None)
    if found is None:
        missing(name, remedy)
    return str(found)


def require_user_namespaces() -> str:
    """The path of unshare(1), where a user may have a mount namespace of its own."""
    unshare = require_binary("unshare", remedy="install util-linux")
    if subprocess.run([unshare, "-Urm", "true"], check=False, capture_output=True).returncode:
        missing("user namespaces", "set kernel.unprivileged_userns_clone = 1, or run as root")
    return unshare


def require_namespaces(*, available: bool) -> None:
    """Asks for a server that has namespaces."""
    if not available:
        missing("a Vault-compatible server with namespaces", "unset VAULT_BINARY")


def require_network_namespaces() -> None:
    """Asks for network namespaces that may be joined, and for dropping packets in them: for root, on most machines."""
    for name in ("ip", "iptables", "nsenter", "sysctl"):
        require_binary(name)
    unshare = require_binary("unshare", remedy="install util-linux")
    dropping = "iptables -A INPUT -m statistic --mode random --probability 1 -j DROP"
    program = f"ip link add net0 type veth peer name net1 && {dropping}"
    if subprocess.run([unshare, "--net", "--mount", "sh", "-c", program], check=False, capture_output=True).returncode:
        missing("network namespaces", "run as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN")
