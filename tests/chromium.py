"""A real Chromium without a screen, driven over its DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/ ; Debian's package `chromium`.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)
START_S = 20.0
ANSWER_S = 120.0


class PageError(Exception):
    """The browser refused a command, or a script on the page threw."""


class Page:
    """One tab. `problems` collects what the page wrote as an error, a refused request included."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.problems: list[str] = []
        self.requested: list[str] = []

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        found = await asyncio.wait_for(answer, ANSWER_S)
        if "error" in found:
            raise PageError(f"{method}: {found['error']}")
        return dict(found["result"])

    async def listen(self) -> None:
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event)
            else:
                self._hear(event["method"], event["params"])

    def _hear(self, method: str, event: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(event["exceptionDetails"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.problems.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requested.append(event["request"]["url"])

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.command(f"{domain}.enable")
        await self.command("Page.navigate", url=url)

    async def look(self, *, width: int, height: int, scheme: str = "light", phone: bool = False) -> None:
        """Sets the size of the window and the reader's preferred colours (`light` or `dark`)."""
        await self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.command("Emulation.setEmulatedMedia", features=features)

    async def run(self, script: str) -> Any:
        """The value of an expression on the page; a promise is awaited."""
        found = await self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise PageError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    async def wait(self, script: str, deadline_s: float = 120.0) -> None:
        """Waits until an expression is true.

        Raises:
            PageError: it was never true in time.
        """
        end = asyncio.get_running_loop().time() + deadline_s
        while not await self.run(f"Boolean({script})"):
            if asyncio.get_running_loop().time() > end:
                raise PageError(f"never true: {script}; problems: {self.problems}")
            await asyncio.sleep(0.05)

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            text = {"Enter": "\r", "Space": " "}.get(key, "")
            extra = {"text": text} if text and kind == "keyDown" else {}
            codes = {"Tab": 9, "Enter": 13, "Space": 32}
            await self.command(
                "Input.dispatchKeyEvent",
                type=kind,
                key=" " if key == "Space" else key,
                code=key,
                windowsVirtualKeyCode=codes[key],
                **extra,
            )

    async def screenshot(self, path: Path, *, whole: bool = True) -> None:
        found = await self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    async def close(self) -> None:
        await self._socket.close()


@asynccontextmanager
async def chromium_page(program: str = "chromium") -> AsyncIterator[Page]:
    """A tab of a browser of its own; both end with the block."""
    profile = Path(tempfile.mkdtemp(prefix="chromium-"))
    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = await _port(profile)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                target = next(item for item in await answer.json() if item["type"] == "page")
            async with (
                session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket,
                asyncio.TaskGroup() as tasks,
            ):
                page = Page(socket)
                listening = tasks.create_task(page.listen())
                yield page
                listening.cancel()
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)
        await _remove(profile)


async def _remove(profile: Path) -> None:
    """The browser's children write into its profile until they have noticed its end."""
    for _ in range(50):
        shutil.rmtree(profile, ignore_errors=True)
        if not profile.exists():
            return
        await asyncio.sleep(0.1)


async def _port(profile: Path) -> int:
    """The port that Chromium writes into its profile once it listens."""
    file = profile / "DevToolsActivePort"
    end = asyncio.get_running_loop().time() + START_S
    while asyncio.get_running_loop().time() < end:
        if file.exists() and (text := file.read_text()).count("\n"):
            return int(text.splitlines()[0])
        await asyncio.sleep(0.05)
    raise PageError("chromium did not start")
