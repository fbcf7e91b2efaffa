"""The record of refused logins on its volume."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.secrets.token.refusals import RefusedLogin, RefusedLogins

REFUSED = RefusedLogin(credentials="f", count=2, at_s=100.0, pause_s=900.0, name="invalid", message="no", status=400)


def test_what_is_kept_is_read_by_a_successor_and_can_be_forgotten(tmp_path: Path) -> None:
    RefusedLogins(tmp_path).keep(REFUSED)
    assert RefusedLogins(tmp_path).read() == REFUSED
    assert (tmp_path / "refused-login.json").stat().st_mode & 0o777 == 0o600
    RefusedLogins(tmp_path).forget()
    assert RefusedLogins(tmp_path).read() is None


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"version": 2}', '{"version": 1, "count": "x"}'])
def test_a_file_that_cannot_be_read_is_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "refused-login.json").write_text(content)
    assert RefusedLogins(tmp_path).read() is None


def test_a_volume_that_refuses_stops_nothing(tmp_path: Path) -> None:
    RefusedLogins(tmp_path / "absent").keep(REFUSED)
    RefusedLogins(tmp_path / "absent").forget()


@pytest.mark.parametrize(("now_s", "left_s"), [(100.0, 900.0), (600.0, 400.0), (1000.0, 0.0), (5.0, 900.0)])
def test_the_pause_goes_on_and_is_never_longer_than_it_was(now_s: float, left_s: float) -> None:
    assert REFUSED.left_s(now_s) == left_s
