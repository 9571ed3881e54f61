"""Small files of a dashboard's pages are answered from memory, as Tornado answers them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from distributed import Scheduler
from distributed.http.routing import RoutingApplication
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, StaticFileHandler

from headrace.agent.dashboard import KEY_HEADER, protect
from headrace.agent.dashboard_files import MOST_BYTES, MOST_FILES

KEY = "1" * 64


@dataclass(frozen=True)
class _Answer:
    code: int
    headers: HTTPMessage
    body: bytes


Get = Callable[..., Awaitable[_Answer]]


class _Counting(StaticFileHandler):
    asked: list[str]

    def prepare(self) -> None:
        self.asked.append(self.request.path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that Tornado's handler has answered."""
    paths: list[str] = []
    monkeypatch.setattr(_Counting, "asked", paths, raising=False)
    return paths


@pytest.fixture
async def get(tmp_path: Path, asked: list[str]) -> AsyncIterator[Get]:
    """Asks a server with a key for files of a folder, below /early/ and, from an application added later, /late/."""
    (tmp_path / "base.css").write_text("html {}")
    (tmp_path / "empty").touch()
    (tmp_path / "large.js").write_bytes(b"x" * (MOST_BYTES + 1))
    folder = {"path": str(tmp_path)}
    application = RoutingApplication([("/early/(.*)", _Counting, folder)])
    protect(cast("Scheduler", SimpleNamespace(http_application=application)), KEY)
    application.add_application(Application([("/late/(.*)", _Counting, folder)]))
    server = HTTPServer(application)
    socket, port = bind_unused_port()
    server.add_socket(socket)

    client = HTTPConnection("127.0.0.1", port)  # one connection for all requests, as the gateway's

    def ask(path: str, method: str, headers: dict[str, str]) -> _Answer:
        client.request(method, path, headers=headers)
        answer = client.getresponse()
        return _Answer(answer.status, answer.headers, answer.read())

    async def get(path: str, method: str = "GET", key: str = KEY, **headers: str) -> _Answer:
        return await asyncio.to_thread(ask, path, method, {KEY_HEADER: key, **headers})

    yield get
    client.close()
    server.stop()
    await server.close_all_connections()


@pytest.mark.parametrize("path", ["/early/base.css", "/late/base.css", "/late/empty"])
async def test_the_second_answer_is_the_first_ones(get: Get, asked: list[str], path: str) -> None:
    first = await get(path)
    for _ in range(3):
        again = await get(path)
        assert (again.code, again.body) == (200, first.body)
        assert again.headers.items() == [each for each in first.headers.items() if each[0] != "Date"]
    assert asked == [path]


async def test_a_kept_file_needs_the_key_too(get: Get) -> None:
    await get("/early/base.css")
    for key in ("", "2" * 64):
        answer = await get("/early/base.css", key=key)
        assert answer.code == 403
        assert b"html" not in answer.body


async def test_a_changed_or_removed_file_is_read_again(get: Get, tmp_path: Path) -> None:
    file = tmp_path / "base.css"
    await get("/early/base.css")
    before = file.stat()
    file.write_text("body {}")  # as long as before
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert (await get("/early/base.css")).body == b"body {}"
    file.unlink()
    assert (await get("/early/base.css")).code == 404


async def test_a_request_for_something_else_than_the_whole_file_is_for_tornado(get: Get) -> None:
    whole = await get("/early/base.css")
    assert (await get("/early/base.css", "HEAD")).body == b""
    part = await get("/early/base.css", Range="bytes=0-3")
    assert (part.code, part.body) == (206, b"html")
    assert (await get("/early/base.css", **{"If-None-Match": whole.headers["Etag"]})).code == 304
    assert (await get("/early/base.css", **{"If-Modified-Since": whole.headers["Last-Modified"]})).code == 304
    assert "max-age" in (await get("/early/base.css?v=1")).headers["Cache-Control"]
    assert (await get("/early/base.css", "POST")).code == 405
    assert (await get("/early/base.css", Connection="close")).headers["Connection"] == "close"
    again = await get("/early/base.css")
    assert (again.body, again.headers["Connection"]) == (b"html {}", None)


async def test_large_files_and_refusals_are_not_kept(get: Get, asked: list[str]) -> None:
    for path in ("/early/large.js", "/early/none.css", "/early/../secret"):
        first, again = await get(path), await get(path)
        assert (first.code, first.body) == (again.code, again.body)
        assert asked.count(path) == 2


async def test_any_number_of_paths_is_served_and_some_are_kept(get: Get, asked: list[str]) -> None:
    paths = [f"/early/{'/' * n}base.css".replace("//", "/./") for n in range(MOST_FILES + 1)]
    for path in paths:
        assert (await get(path)).body == b"html {}"
    asked.clear()
    assert (await get(paths[-1])).code == (await get(paths[0])).code == 200
    assert asked == [paths[0]]
