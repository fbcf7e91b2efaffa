from __future__ import annotations

from aiohttp.test_utils import TestClient, TestServer

from sidecar.console.control import control_application


class FakeRotator:
    """Agent with one secret."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def rotate(self, name: str | None) -> None:
        if name not in {None, "venue"}:
            raise KeyError(name)
        self.asked.append(name)


async def ask(rotator: FakeRotator | None, path: str) -> tuple[int, str]:
    async with TestClient(TestServer(control_application(rotator))) as client:
        answer = await client.post(path)
        return answer.status, await answer.text()


async def test_one_secret_is_read_again_or_all() -> None:
    rotator = FakeRotator()
    assert await ask(rotator, "/rotate/venue") == (202, "venue is read again\n")
    assert await ask(rotator, "/rotate") == (202, "every secret is read again\n")
    assert rotator.asked == ["venue", None]


async def test_an_unknown_secret_is_not_found() -> None:
    assert await ask(FakeRotator(), "/rotate/absent") == (404, "there is no secret 'absent'\n")


async def test_without_secrets_nothing_can_be_read_again() -> None:
    assert await ask(None, "/rotate") == (409, "no secret is configured\n")
