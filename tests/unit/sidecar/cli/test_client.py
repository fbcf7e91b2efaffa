from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from sidecar.cli.client import RotationRefusedError, UnreachableError, read_status, rotate
from sidecar.console.control import control_application


class FakeRotator:
    """Agent with one secret."""

    async def rotate(self, name: str | None) -> None:
        if name not in {None, "venue"}:
            raise KeyError(name)


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[Path]:
    runner = web.AppRunner(control_application(FakeRotator()))
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "control.sock")).start()
    yield tmp_path / "control.sock"
    await runner.cleanup()


async def test_a_rotation_is_asked_for_over_the_socket(socket: Path) -> None:
    assert await rotate(socket, "venue") == "venue is read again"
    assert await rotate(socket, None) == "every secret is read again"


async def test_an_unknown_secret_is_refused_in_the_sidecars_words(socket: Path) -> None:
    with pytest.raises(RotationRefusedError, match="there is no secret 'absent'"):
        await rotate(socket, "absent")


async def test_nobody_on_the_socket_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="No such file or directory"):
        await rotate(tmp_path / "absent.sock", None)


async def test_nobody_at_the_console_is_no_answer() -> None:
    with pytest.raises(UnreachableError, match="Connection refused"):
        await read_status("http://127.0.0.1:1")
