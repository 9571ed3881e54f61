"""A headless Chromium, driven over its own protocol."""

from __future__ import annotations

import asyncio
import base64
import json
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

from tornado.websocket import WebSocketClientConnection, websocket_connect

# Root may run it in a container only without its own sandbox; the certificate of `headrace up` is its own.
# A page that Chromium takes for hidden is never drawn, and JupyterLab does not even load in it: there is no other tab
# that could come to the front, and nothing that slows down what is not seen.
_FLAGS = (
    "--headless=new", "--no-startup-window", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--ignore-certificate-errors",
    "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
    "--disable-background-timer-throttling",
)  # fmt: skip
_ANSWER_SECONDS = 30.0


class CallRefusedError(Exception):
    """Chromium could not do what it was asked for: a page that is opening has nothing yet that evaluates a script."""


@dataclass
class Page:
    """A tab. It keeps the cookies of what it opens."""

    _socket: WebSocketClientConnection
    session: str = ""
    _numbers: Iterator[int] = field(default_factory=count)

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return answer["result"].get("value")

    async def until(self, script: str, within: float = 60) -> Any:
        """The first value that is true."""
        try:
            async with asyncio.timeout(within):
                while not (value := await self._evaluate_if_it_can(script)):  # noqa: ASYNC110 another process's state
                    await asyncio.sleep(0.05)
        except TimeoutError:
            shown = await self._evaluate_if_it_can("document.body.innerText")
            raise AssertionError(f"not within {within:.0f} s: {script}; the page shows:\n{shown}") from None
        return value

    async def _evaluate_if_it_can(self, script: str) -> Any:
        try:
            return await self.evaluate(script)
        except CallRefusedError:
            return None

    async def resize(self, width: int, height: int) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def picture(self, file: Path) -> None:
        """A picture of what the window shows, for people who look at a test that failed."""
        shot = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(file.write_bytes, base64.b64decode(shot["data"]))

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        number = next(self._numbers)
        session = {"sessionId": self.session} if self.session else {}
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": params, **session}))
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._answer(number)
        except TimeoutError:
            raise AssertionError(f"Chromium has not answered {method} within {_ANSWER_SECONDS:.0f} s") from None

    async def _answer(self, number: int) -> dict[str, Any]:
        while (message := await self._socket.read_message()) is not None:
            answer = cast("dict[str, Any]", json.loads(message))
            if answer.get("id") == number:
                if "error" in answer:
                    raise CallRefusedError(answer["error"]["message"])
                return answer["result"]
        raise ConnectionError("Chromium has ended")


@asynccontextmanager
async def chromium(profile: Path, *flags: str) -> AsyncGenerator[Page]:
    """Starts Chromium with a new profile; ends it."""
    process = await asyncio.create_subprocess_exec(
        "chromium", *_FLAGS, *flags, f"--user-data-dir={profile}", "--remote-debugging-port=0",
        stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL,
    )  # fmt: skip
    try:
        file = profile / "DevToolsActivePort"
        async with asyncio.timeout(60):
            while not (file.exists() and len(file.read_text().split()) == 2):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        port, path = file.read_text().split()
        socket = await websocket_connect(f"ws://127.0.0.1:{port}{path}", max_message_size=1 << 26)
        with closing(socket):
            page = Page(socket)
            target = await page.call("Target.createTarget", url="about:blank")
            attached = await page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            page.session = attached["sessionId"]  # all calls are for this tab from now on
            yield page
    finally:
        await end(process)


async def end(process: Process) -> None:
    """Asks a process to end; kills it if it does not."""
    process.terminate()
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
