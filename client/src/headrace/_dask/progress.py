"""Progress shown while a user waits for a cluster: nothing for half a second, then what it waits for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import html
import re
import sys
import time
from collections.abc import Awaitable
from typing import Any, Protocol, TextIO, TypeVar

from headrace._target import config

T = TypeVar("T")

_SILENT_SECONDS = 0.5
_TICK_SECONDS = 0.1


class _Display(Protocol):
    def show(self, lines: list[str], elapsed: float) -> None: ...
    def end(self, lines: list[str], elapsed: float) -> None: ...


class Progress:
    """The sentences reported so far, and the display that shows them."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._lines: list[str] = []
        self._display: _Display | None = None
        self._enabled = bool(config.get("progress"))

    def report(self, message: str) -> None:
        """Add a sentence, once; one that differs in its numbers only replaces the last. May be called in any thread."""
        text = "".join(c if c.isprintable() else " " for c in message).strip()
        if not text or text in self._lines:
            return
        if self._lines and _without_numbers(text) == _without_numbers(self._lines[-1]):
            self._lines[-1] = text
        else:
            self._lines.append(text)

    def wait_for(self, future: concurrent.futures.Future[T]) -> T:
        """Wait in this thread, and show the progress meanwhile."""
        try:
            while True:
                try:
                    return future.result(timeout=_TICK_SECONDS)
                except TimeoutError:
                    if future.done():
                        return future.result()  # its own error, or the result, which came just now
                    self._tick()
        finally:
            self._end()

    async def follow(self, awaitable: Awaitable[T]) -> T:
        """Await, and show the progress meanwhile."""
        ticker = asyncio.ensure_future(self._tick_until_cancelled())
        try:
            return await awaitable
        finally:
            ticker.cancel()
            self._end()

    async def _tick_until_cancelled(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._tick()

    def _tick(self) -> None:
        elapsed = time.monotonic() - self._started
        if not self._enabled or not self._lines or elapsed < _SILENT_SECONDS:
            return
        self._display = self._display or _choose_display()
        self._display.show(self._lines, elapsed)

    def _end(self) -> None:
        if self._display is not None:
            self._display.end(self._lines, time.monotonic() - self._started)


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+", "", text)


def _choose_display() -> _Display:
    if in_notebook():
        return NotebookDisplay()
    return TerminalDisplay(sys.stderr) if sys.stderr.isatty() else PlainDisplay(sys.stderr)


def in_notebook() -> bool:
    """Return whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


class TerminalDisplay:
    """One line that is overwritten, and removed at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, lines: list[str], elapsed: float) -> None:
        self._stream.write(f"\r{elapsed:4.1f} s  {lines[-1][:100]}\x1b[K")
        self._stream.flush()

    def end(self, lines: list[str], elapsed: float) -> None:
        del lines, elapsed
        self._stream.write("\r\x1b[K")
        self._stream.flush()


class PlainDisplay:
    """One line for each sentence, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = 0

    def show(self, lines: list[str], elapsed: float) -> None:
        for line in lines[self._shown :]:
            print(f"{elapsed:.1f} s  {line}", file=self._stream, flush=True)
        self._shown = len(lines)

    def end(self, lines: list[str], elapsed: float) -> None:
        self.show(lines, elapsed)


class NotebookDisplay:
    """A list below the cell, collapsed at the end."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, lines: list[str], elapsed: float) -> None:
        recent = lines[-5:]
        items = "".join(f"<li>{html.escape(line)}</li>" for line in recent)
        self._draw(f"<p>Waiting for the cluster, {elapsed:.0f} s</p><ul>{items}</ul>")

    def end(self, lines: list[str], elapsed: float) -> None:
        items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
        self._draw(f"<details><summary>Waited {elapsed:.1f} s for the cluster</summary><ul>{items}</ul></details>")

    def _draw(self, text: str) -> None:
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(text), display_id=True)
        else:
            self._handle.update(HTML(text))
