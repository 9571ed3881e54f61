"""Small files of a dashboard's pages, answered from memory.

A page has dozens of style sheets, scripts and pictures. For each, Tornado finds the route, resolves the path, reads the
file and builds its headers. That takes three times as long as all else, and the scheduler's loop waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, ResponseStartLine
from tornado.web import StaticFileHandler

if TYPE_CHECKING:
    from tornado.web import _HandlerDelegate  # pyright: ignore[reportPrivateUsage]

FindHandler = Callable[..., HTTPMessageDelegate]

MOST_BYTES = 1 << 16
MOST_FILES = 100
_OK = ResponseStartLine("HTTP/1.1", 200, "OK")
# Requests with one of these want another answer than the whole file on a connection that stays open.
_CONDITIONS = ("Range", "If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "Connection")


def keep_files(find_handler: FindHandler) -> FindHandler:
    """Wraps the routing of an HTTP server: what Tornado has answered once with a small file comes from memory."""
    kept = _KeptFiles()

    def find(request: HTTPServerRequest, **kwargs: object) -> HTTPMessageDelegate:
        if not _wants_whole_file(request):
            return find_handler(request, **kwargs)
        if file := kept.get(request.path):
            return _Answer(request, file)
        handler = cast("_HandlerDelegate", find_handler(request, **kwargs))
        if issubclass(handler.handler_class, StaticFileHandler):
            handler.handler_class = kept.keeping(handler.handler_class)
        return handler

    return find


def _wants_whole_file(request: HTTPServerRequest) -> bool:
    is_plain = request.method == "GET" and request.version == "HTTP/1.1" and not request.query
    return is_plain and not any(name in request.headers for name in _CONDITIONS)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    state: tuple[int, int, int]
    headers: HTTPHeaders
    content: bytes


class _KeptFiles:
    """Files by the path of their request."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._handlers: dict[type[StaticFileHandler], type[StaticFileHandler]] = {}

    def get(self, path: str) -> _File | None:
        file = self._files.get(path)
        return file if file and file.state == _state(file.path) else None

    def keep(self, path: str, file: _File) -> None:
        if len(self._files) >= MOST_FILES:  # one file has any number of paths: "a//b", "a/./b"
            self._files.clear()
        self._files[path] = file

    def keeping(self, handler: type[StaticFileHandler]) -> type[StaticFileHandler]:
        """The same handler, which keeps here what it answers."""
        if handler not in self._handlers:
            self._handlers[handler] = type(handler.__name__, (_Keeping, handler), {"kept": self})
        return self._handlers[handler]


class _Keeping(StaticFileHandler):
    kept: _KeptFiles

    def on_finish(self) -> None:
        super().on_finish()
        if self.get_status() != 200 or self.absolute_path is None or self.get_content_size() > MOST_BYTES:
            return
        path, headers = Path(self.absolute_path), self._headers
        del headers["Date"]  # of this answer; the gateway adds one to the next
        if (state := _state(path)) and headers["Content-Length"] == str(len(content := path.read_bytes())):
            self.kept.keep(self.request.path, _File(path, state, headers, content))


def _state(path: Path) -> tuple[int, int, int] | None:
    """What changes with the file's content."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class _Answer(HTTPMessageDelegate):
    """Answers a request with a file once the request has been read."""

    def __init__(self, request: HTTPServerRequest, file: _File) -> None:
        self._connection, self._file = cast("HTTPConnection", request.connection), file

    def finish(self) -> None:
        self._connection.write_headers(_OK, self._file.headers, self._file.content)
        self._connection.finish()
