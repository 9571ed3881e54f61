"""Random HTTP requests, as bytes: paths, headers and methods that a browser may send, and that none would."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections import Counter
from collections.abc import Sequence

# What waits for the rest of a request, or streams, is not waited for.
_SECONDS = 0.5
_METHODS = (
    b"GET",
    b"GET",
    b"GET",
    b"POST",
    b"HEAD",
    b"OPTIONS",
    b"PUT",
    b"DELETE",
    b"TRACE",
    b"CONNECT",
    b"PRI",
    b"g\x01t",
)
_PARTS = (
    b"",
    b".",
    b"..",
    b"%2e%2e",
    b"%2f",
    b"%00",
    b"%",
    b"%zz",
    b"%c0%af",
    b"clusters",
    b"status",
    b"ws",
    b"dashboards",
    b"sitemap.json",
    b"metrics",
    b"headrace.v1.ClusterService",
    b"headrace.v1.AuthService",
    b"headrace.internal.v1.AgentService",
    b"envoy.service.auth.v3.Authorization",
    b"Login",
    b"ListClusters",
    b"Check",
    b"link",
    b"session",
    b"static",
    b"*",
    b"~mine",
    b"\\",
    b";a=b",
    b"a" * 3000,
    "é".encode(),
)
_HEADERS = (
    b"authorization: Bearer x",
    b"authorization: Bearer eyJhbGciOiJub25lIn0.e30.",
    b"authorization: " + b"x" * 9000,
    b"cookie: a=b; headrace=x",
    b"cookie: " + b"a=b; " * 500,
    b"content-type: application/grpc",
    b"content-type: application/grpc-web+proto",
    b"content-type: application/json",
    b"te: trailers",
    b"upgrade: websocket",
    b"connection: upgrade",
    b"connection: keep-alive, x-headrace-user",
    b"upgrade: h2c",
    b"http2-settings: AAMAAABkAARAAAAAAAIAAAAA",
    b"sec-websocket-key: x3JJHMbDL1EzLkh9GBhXDw==",
    b"sec-websocket-version: 13",
    b"origin: https://evil.example",
    b"origin: null",
    b"host: evil.example",
    b"host: ",
    b"x-forwarded-for: 10.0.0.1, ::1",
    b"x-forwarded-proto: http",
    b"x-envoy-original-path: /",
    b"x-envoy-retry-on: 5xx",
    b"x-envoy-max-retries: 99",
    b"x-envoy-upstream-rq-timeout-ms: 0",
    b"x-headrace-user: bob",
    b"grpc-timeout: 99999999H",
    b"grpc-timeout: -1S",
    b"grpc-encoding: gzip",
    b"expect: 100-continue",
    b"transfer-encoding: chunked",
    b"transfer-encoding: gzip, chunked",
    b"content-length: 5",
    b"content-length: -1",
    b"content-length: 99999999999999999999",
    b"range: bytes=0-0,-1,5-1",
    b"accept-encoding: br;q=x",
    b": nothing",
    b"no colon",
    b"a\x00b: c",
    "ü: é".encode(),
)


class Requests:
    """Sends requests over connections of their own; `statuses` counts the answers, "none" where there was none."""

    def __init__(self, seed: int, port: int, tls: ssl.SSLContext, parts: Sequence[str], headers: Sequence[str]) -> None:
        self._chance = random.Random(seed)
        self._port, self._tls = port, tls
        self._parts = [part.encode() for part in parts]
        self._headers = [header.encode() for header in headers]
        self.statuses: Counter[str] = Counter()
        self.faults: list[str] = []

    async def rage(self, calls: int, at_once: int = 8) -> None:
        numbers = iter(range(calls))

        async def work() -> None:
            for _ in numbers:
                request = self._request()
                status = await self._answer(request)
                self.statuses[status] += 1
                # 501 answers an upgrade or method that Envoy does not know, 505 another version of HTTP.
                if status.startswith("5") and status not in {"501", "505"}:
                    self.faults.append(f"{status} for {request!r:.600}")

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())

    def _request(self) -> bytes:
        chance = self._chance
        if chance.random() < 0.05:
            return chance.randbytes(chance.randrange(1, 400)) + b"\r\n\r\n"
        parts = [chance.choice([*_PARTS, *self._parts, *self._parts]) for _ in range(chance.randrange(1, 6))]
        path = (
            b"/" + b"/".join(parts) + chance.choice((b"", b"", b"", b"?token=x", b"?" + b"a=b&" * 500, b"#x", b"?\x7f"))
        )
        headers = chance.sample([*_HEADERS, *self._headers, *self._headers], chance.randrange(4))
        version = chance.choice((b"HTTP/1.1",) * 12 + (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9"))
        lines = [chance.choice(_METHODS) + b" " + path + b" " + version]
        if chance.random() < 0.9:
            lines.append(b"host: 127.0.0.1")
        body = chance.choice((b"", b"", b"5\r\nhello\r\n0\r\n\r\n", b"\x00\x00\x00\x00\x05hello", b"\x00" * 100_000))
        return b"\r\n".join([*lines, *headers, b"", b""]) + body

    async def _answer(self, request: bytes) -> str:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._tls, server_hostname="127.0.0.1"
        )
        try:
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                writer.write(request)
                async with asyncio.timeout(_SECONDS):
                    line = await reader.readline()
                    return line.split(b" ")[1].decode() if line.startswith(b"HTTP/") else "none"
            return "none"
        finally:
            writer.transport.abort()  # Envoy takes a second to close after a refusal
