"""The proxy as a process of its own, as it runs in production, with an Envoy of its own."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from headrace_chassis.tls.certificates import Authority
from headrace_proxy import envoy_process

SOCKETS = ("listen", "route_address", "xds_listen", "auth_target", "authz_target", "controller_target")


def write_settings(directory: Path, authority: Authority) -> dict[str, str]:
    """Settings of a proxy on a free port, with its certificate and key written."""
    leaf = authority.issue("gateway", timedelta(hours=1), dns_names=("localhost",), ip_addresses=("127.0.0.1",))
    (directory / "tls").mkdir()
    (directory / "tls" / "public.pem").write_bytes(leaf.cert_pem)
    (directory / "tls" / "public.key").write_bytes(leaf.key_pem)
    (directory / "deployment.key").write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {name: f"unix:{directory}/{name}" for name in SOCKETS} | {
        "state_directory": str(directory / "state"),
        "deployment_key_file": str(directory / "deployment.key"),
        "public_listen": f"127.0.0.1:{port}",
        "public_certificate_file": str(directory / "tls" / "public.pem"),
        "public_key_file": str(directory / "tls" / "public.key"),
        "hello_timeout_seconds": "0.5",
        "handshake_timeout_seconds": "1",
        "drain_seconds": "0",
    }


@dataclass(eq=False)
class RunningProxy:
    """`python -m headrace_proxy serve` with settings in its environment."""

    settings: dict[str, str]
    state_directory: Path
    log: list[str] = field(default_factory=list[str])
    _process: Process | None = None
    _reading: asyncio.Task[None] | None = None

    @property
    def public(self) -> str:
        return self.settings["public_listen"]

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def said(self) -> str:
        """Its log, without line breaks."""
        return " ".join("".join(self.log).split())

    async def start(self, **changes: str) -> None:
        """Starts it and waits until it says that it is ready."""
        read, write = os.pipe()
        try:
            await self.spawn(ready_fd=write, **changes)
        finally:
            os.close(write)
        async with asyncio.timeout(20):
            said = await asyncio.to_thread(_read_all, read)
        assert said == b"ready\n", "".join(self.log)

    async def spawn(self, ready_fd: int | None = None, **changes: str) -> None:
        """Starts it."""
        self.settings |= changes
        environment = dict(os.environ) | {f"HEADRACE_PROXY_{k.upper()}": v for k, v in self.settings.items()}
        if ready_fd is not None:
            environment["HEADRACE_READY_FD"] = str(ready_fd)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace_proxy", "serve",
            env=environment, pass_fds=[ready_fd] if ready_fd else [], stdout=PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read_log(self._process))

    async def wait(self) -> int:
        """Waits for its end; returns the exit code."""
        assert self._process
        assert self._reading
        code = await self._process.wait()
        await self._reading
        return code

    async def stop(self) -> int:
        """SIGTERM."""
        assert self._process
        self._process.terminate()
        return await self.wait()

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process
        self._process.kill()
        await self.wait()

    async def end(self) -> None:
        """Leaves nothing behind, whatever the test did."""
        if self._process and self._process.returncode is None:
            await self.kill()
        for pid in self.envoys():
            os.kill(pid, signal.SIGKILL)

    def envoys(self) -> list[int]:
        """Process ids of the Envoys that run for it."""
        return envoy_process.pids(self.state_directory)

    def envoy_memory(self, field: str) -> int:
        """Bytes that its Envoy holds: VmRSS now, VmHWM at most so far."""
        (envoy,) = self.envoys()
        lines = Path(f"/proc/{envoy}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))

    async def statistic(self, name: str) -> int:
        """One of Envoy's counters, from its admin socket."""
        reader, writer = await asyncio.open_unix_connection(self.state_directory / "envoy-admin.sock")
        writer.write(f"GET /stats?filter=^{name}$ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        return int(answer.rpartition(f"{name}: ")[2].split()[0])

    async def _read_log(self, process: Process) -> None:
        assert process.stdout
        async for line in process.stdout:
            self.log.append(line.decode())


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as pipe:
        return pipe.read()
