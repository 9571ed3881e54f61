"""A whole headrace with two controllers, which share one store, one zygote and the load balancer before them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from redis import Redis
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
from headrace_up import marks
from headrace_up.child import ChildSpec
from headrace_up.deployment_secrets import ensure_bootstrap_token, ensure_deployment_key
from headrace_up.layout import Layout
from headrace_up.options import UpOptions
from headrace_up.port import free_port
from headrace_up.server_certificate import ensure_server_certificate
from headrace_up.services import Files, service_specs

DEPLOYMENT = "two"
USER = "ann"
CLUSTERS_LIMIT = 4


class Service:
    """A service that can be killed and started again."""

    def __init__(self, spec: ChildSpec, logs: Path) -> None:
        self.spec = spec
        self.log = logs / f"{spec.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it unless it runs, and waits for its word that it is ready."""
        if self._process and self._process.poll() is None:
            return
        ready, told = os.pipe()
        with os.fdopen(ready, "rb", buffering=0) as word, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.spec.command,
                env={**self.spec.environment, "HEADRACE_READY_FD": str(told)},
                pass_fds=(told,),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            os.close(told)
            assert word.read(64), self.log.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int | None:
        """Sends a signal and waits for the end; returns the exit code."""
        if self._process is None:
            return None
        self._process.send_signal(number)
        return self._process.wait(10)


@dataclass(frozen=True)
class Replica:
    """One of the controllers, and its own front door."""

    name: str
    service: Service
    stub: ClusterServiceStub
    metadata: tuple[tuple[str, str], ...]

    def call(self, method: str, request: Any) -> Any:
        return getattr(self.stub, method)(request, metadata=self.metadata, timeout=20, wait_for_ready=True)


@dataclass(frozen=True)
class TwoControllers:
    """What a test sees of it. Who asks through the balancer is answered by the first, as long as that lives."""

    layout: Layout
    first: Replica
    second: Replica
    redis: Redis

    def until_both_work(self) -> None:
        """Starts who was killed, and waits until each has its fair share of the leases."""
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
        # A holder is named by its replica, and after a "/" by which of the replica's lives it is.
        return [str(self.redis.hget(name, "holder")).partition("/")[0] for name in names]

    def processes(self, cluster: str) -> set[tuple[str, int]]:
        """What runs of a cluster: each process that was started for it, with its pid."""
        mine = site(DEPLOYMENT, self.layout.local)
        leaders = [(ProcessTag.of(p.pid), p.pid) for p in procfs.processes() if p.pid == p.group]
        return {(m.key.process, pid) for m, pid in leaders if m and m.site == mine and m.key.cluster == cluster}

    def ever_started(self, cluster: str) -> list[str]:
        """The names of all processes that were ever started for a cluster: each has a log of its own."""
        return sorted(path.stem for path in (self.layout.local / "logs" / cluster).iterdir())

    def kept(self) -> list[Path]:
        """What is kept of clusters in files."""
        return [path for name in ("logs", "manifests", "work") for path in (self.layout.local / name).iterdir()]


@contextmanager
def two_controllers(directory: Path, redis_url: str) -> Generator[TwoControllers]:
    """Starts everything; ends it, and fails if anything is left."""
    layout = _layout(directory)
    specs, gateway = _specs(layout, redis_url)
    services = {name: Service(spec, layout.logs) for name, spec in specs.items()}
    try:
        with ExitStack() as stack:
            for name in ("controller", "controller-internal"):
                targets = [layout.socket(f"{name}-{replica}") for replica in "ab"]
                stack.enter_context(balancer(layout.socket(name), targets))
            stack.callback(_end, list(services.values()))
            for service in services.values():
                service.start()
            gateway.write(layout.data)
            metadata = _log_in(layout, gateway)
            first, second = (
                Replica(name, services[name], ClusterServiceStub(stack.enter_context(channel)), metadata)
                for name, channel in (("a", _channel(layout, "controller-a")), ("b", _channel(layout, "controller-b")))
            )
            redis = stack.enter_context(Redis.from_url(redis_url, decode_responses=True))
            running = TwoControllers(layout, first, second, redis)
            running.until_both_work()
            yield running
            _end_gracefully(running, services)
    finally:
        shut_down(layout.local)
        left = _left(layout)
        marks.kill_all(lambda: _left(layout))
    assert left == []
    assert list(layout.sockets.iterdir()) == []


def _left(layout: Layout) -> list[int]:
    """What runs of it; Envoy outlives a proxy that was killed."""
    return marks.marked_processes(layout.data) + marks.envoys(layout.proxy)


def _end_gracefully(running: TwoControllers, services: dict[str, Service]) -> None:
    """Ends all services; before, the last controller has forgotten all that has ended."""
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


def _specs(layout: Layout, redis_url: str) -> tuple[dict[str, ChildSpec], LocalGateway]:
    """The services as `headrace up` runs them, but two controllers; and what `Gateway()` finds."""
    port = free_port(0)
    token_file, token = ensure_bootstrap_token(layout.secrets, USER)
    certificate = ensure_server_certificate(layout.tls)
    files = Files(ensure_deployment_key(layout.secrets), token_file, certificate)
    found = {spec.name: spec for spec in service_specs(layout, UpOptions(data=layout.data), port, files)}
    common = {"REDIS_URL": redis_url, "DEPLOYMENT": DEPLOYMENT}
    gateway = LocalGateway(
        address=f"https://127.0.0.1:{port}",
        ca_file=str(certificate.ca),
        token=token.secret,
        user=USER,
        pid=os.getpid(),
        version="0",
    )
    specs = {
        "auth": _with(found["auth"], common),
        "a": _with(found["controller"], common | _controller(layout, "a")),
        "b": _with(found["controller"], common | _controller(layout, "b")),
        "proxy": _with(found["proxy"], common),
    }
    return specs, gateway


def _controller(layout: Layout, name: str) -> dict[str, str]:
    return {
        "REPLICA": name,
        "LISTEN": layout.target(f"controller-{name}"),
        "INTERNAL_LISTEN": layout.target(f"controller-internal-{name}"),
        "LIMITS__USER__CLUSTERS": str(CLUSTERS_LIMIT),
        "RETENTION_SECONDS": "0",  # what has ended is forgotten at the next full pass
    }


def _with(spec: ChildSpec, settings: dict[str, str]) -> ChildSpec:
    changes = {f"HEADRACE_{spec.name.upper()}_{key}": value for key, value in settings.items()}
    name = settings.get("REPLICA", spec.name)
    return replace(spec, name=name, environment={**spec.environment, **changes})


def _log_in(layout: Layout, gateway: LocalGateway) -> tuple[tuple[str, str], ...]:
    request = auth_service_pb2.LoginRequest(token=auth_service_pb2.TokenCredential(token=gateway.token))
    with _channel(layout, "auth") as channel:
        login = AuthServiceStub(channel).Login(request, timeout=10)
    return (("authorization", f"Bearer {login.access_token}"),)


def _channel(layout: Layout, name: str) -> grpc.Channel:
    options = (("grpc.default_authority", "localhost"), ("grpc.enable_http_proxy", 0))
    return grpc.insecure_channel(layout.target(name), options=options)
