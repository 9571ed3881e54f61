"""A scheduler as the proxy knows it: it speaks TLS with a certificate of its own. `tests/e2e` has real ones."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from headrace_chassis.tls.certificates import Authority


@dataclass(eq=False)
class FakeScheduler:
    """Answers each line with its name and the line."""

    name: str
    directory: Path
    port: int = 0
    connections: int = 0
    trust: ssl.SSLContext = field(default_factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    _writers: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        authority = Authority.create(f"CA of {self.name}", timedelta(hours=1))
        leaf = authority.issue(self.name, timedelta(hours=1), dns_names=("scheduler",))
        self.trust.check_hostname = False
        self.trust.load_verify_locations(cadata=authority.cert_pem.decode())
        pem = self.directory / f"{self.name}.pem"
        pem.write_bytes(leaf.cert_pem + leaf.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(self.name.encode() + b": " + line)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


@dataclass(eq=False)
class Connection:
    """A client's connection through the public port."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, line: str) -> str:
        self.writer.write(f"{line}\n".encode())
        return (await self.reader.readline()).decode().rstrip("\n")

    def close(self) -> None:
        self.writer.transport.abort()


async def connect(public: str, scheduler: FakeScheduler, sni: str) -> Connection:
    """Connects with TLS to the public port under an SNI, trusting the scheduler's own authority only."""
    host, _, port = public.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=scheduler.trust, server_hostname=sni)
    return Connection(reader, writer)
