"""A Vault-compatible server and a database that it makes credentials for, shared by a module's tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.secrets.vault import Vault
from tests.openbao import OpenBao, running_openbao
from tests.postgres import Postgres, running_postgres


@pytest.fixture(scope="module")
def bao() -> Iterator[OpenBao]:
    with running_openbao() as server:
        yield server


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def vault(bao: OpenBao, postgres: Postgres, tmp_path: Path, request: pytest.FixtureRequest) -> Vault:
    """A policy, a role and a database role of this test's own, so that its leases and tokens can be counted."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    vault = Vault(bao=bao, postgres=postgres, place=tmp_path, name=name)
    vault.set_up()
    return vault
