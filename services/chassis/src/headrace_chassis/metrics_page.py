"""The page that Prometheus reads, and others that a service has for it, over HTTP from a thread."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from http.server import HTTPServer
from pathlib import Path
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, socket
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore, Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from headrace_chassis import logs
from headrace_chassis.addresses import listening_address

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

log = logs.get_logger()

Page = Callable[[], bytes]
"""Returns JSON; called in a thread of its own. Raises `NotReady` while it cannot know."""

_Request = socket | tuple[bytes, socket]
_MOST_TOKEN_BYTES = 16 * 1024
_ANSWER_SECONDS = 30.0
MOST_READERS = 64
"""Connections that are served at a time. Each has a thread, and a stranger could open thousands."""


class NotReady(Exception):
    """A page has nothing true to say yet; whoever asks keeps what it knows."""


@contextmanager
def metrics_page(
    address: str, token_file: Path | None = None, pages: Mapping[str, Page] | None = None
) -> Generator[None]:
    """Serve on ``host:port``, as `listening_address` reads it. An empty address serves none.

    Parameters
    ----------
    token_file
        Has the bearer token that readers must send; read for each request. None: metrics are open to whoever reaches
        the address, and `pages` to nobody.
    pages
        Further pages, by path.
    """
    if not address:
        yield
        return
    host, port = listening_address(address)
    server_class = _Server6 if ":" in host else _Server
    server = make_server(host, port, _Application(token_file, pages or {}), server_class, _Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Application:
    def __init__(self, token_file: Path | None, pages: Mapping[str, Page]) -> None:
        self._token_file = token_file
        self._pages = pages
        self._metrics = make_wsgi_app()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        page = self._pages.get(environ.get("PATH_INFO", ""))
        if self._token_file is not None and not self._authorized(environ.get("HTTP_AUTHORIZATION", "")):
            return _text(start_response, "401 Unauthorized", "send the bearer token of metrics_token_file\n")
        if page is None:
            return self._metrics(environ, start_response)
        if self._token_file is None:
            return _text(start_response, "403 Forbidden", "this page needs the setting metrics_token_file\n")
        try:
            body = page()
        except NotReady as error:
            return _text(start_response, "503 Service Unavailable", f"{error}\n")
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _authorized(self, given: str) -> bool:
        assert self._token_file is not None
        try:
            with self._token_file.open("rb") as file:
                token = file.read(_MOST_TOKEN_BYTES).strip()
        except OSError as error:
            log.warning("metrics are shown to nobody: the token cannot be read", error=str(error))
            return False
        scheme, _, credentials = given.partition(" ")
        sent = credentials.strip().encode("latin-1", "replace")
        return bool(token) and scheme.lower() == "bearer" and hmac.compare_digest(sent, token)


def _text(start_response: StartResponse, status: str, text: str) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    if status.startswith("401"):
        headers.append(("WWW-Authenticate", "Bearer"))
    start_response(status, headers)
    return [text.encode()]


class _Server(ThreadingMixIn, WSGIServer):
    address_family = AF_INET
    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_READERS

    def process_request(self, request: _Request, client_address: object) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started, which would have released it
            self._free.release()
            raise

    def process_request_thread(self, request: _Request, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def server_bind(self) -> None:
        self._free = BoundedSemaphore(MOST_READERS)
        # HTTPServer would ask the resolver for the name of this host.
        super(HTTPServer, self).server_bind()
        self.server_name, self.server_port = "headrace", self.socket.getsockname()[1]
        self.setup_environ()


class _Server6(_Server):
    address_family = AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)
        super().server_bind()


class _Handler(WSGIRequestHandler):
    timeout = _ANSWER_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its name there
        """Write no line for each request."""
