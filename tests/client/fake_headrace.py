"""A headrace in memory: our public protocol over real gRPC and TLS, with real Dask schedulers behind it."""

# ruff: noqa: N802 - the names of the contract

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
from distributed.utils import LoopRunner
from tests.client.fake_cluster import FakeCluster
from tests.client.sni_proxy import SniProxy

from headrace import __version__, errors
from headrace._wire import status as _status
from headrace.v1 import (
    auth_service_pb2,
    auth_service_pb2_grpc,
    cluster_pb2,
    cluster_service_pb2,
    cluster_service_pb2_grpc,
    options_service_pb2,
    options_service_pb2_grpc,
)
from headrace_chassis.tls.certificates import Authority

LIVING = {cluster_pb2.PHASE_QUEUED, cluster_pb2.PHASE_STARTING, cluster_pb2.PHASE_RUNNING, cluster_pb2.PHASE_STOPPING}
MOST_WORKERS = 100
TOKENS = {"ann-secret": "ann", "bob-secret": "bob"}


class FakeHeadrace(
    auth_service_pb2_grpc.AuthServiceServicer,
    cluster_service_pb2_grpc.ClusterServiceServicer,
    options_service_pb2_grpc.OptionsServiceServicer,
):
    """What the client's tests run against; the attributes below change how it behaves."""

    def __init__(self, directory: Path) -> None:
        self.calls: list[str] = []
        self.version = f"{__version__}.post1"
        self.clusters: dict[str, FakeCluster] = {}
        self.routes: dict[str, int] = {}
        self.token_seconds = 900.0
        self.direct = True
        self.starts = True
        self.start_failure: errors.ClusterFailed | None = None
        self.failures: dict[str, list[errors.HeadraceError]] = {}
        self.certificate_seconds = 3600.0
        self._tokens: dict[str, tuple[str, float]] = {}
        self._changed = threading.Condition()
        self._loop_runner = LoopRunner()
        self._loop_runner.start()
        self.ca_file = directory / "ca.pem"
        self._serve()
        self.proxy = SniProxy(self.routes)

    # Control

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def fail(self, method: str, *failures: errors.HeadraceError) -> None:
        """Lets the next calls of a method fail, one after the other."""
        self.failures[method] = list(failures)

    def forget_tokens(self) -> None:
        """As after a change of the signing keys."""
        self._tokens.clear()

    def tell(
        self, cluster: FakeCluster, message: str, severity: cluster_pb2.Severity.ValueType = cluster_pb2.SEVERITY_INFO
    ) -> None:
        """Adds an event."""
        with self._changed:
            event = cluster_pb2.ClusterEvent(
                id=str(len(cluster.events)),
                cluster=cluster.record.name,
                message=message,
            )
            event.type, event.severity = "Told", severity
            event.time.GetCurrentTime()
            cluster.events.append(event)
            self._changed.notify_all()

    def run(self, cluster: FakeCluster) -> None:
        """Lets a starting cluster run."""
        self._spawn(self._run(cluster))

    async def _run(self, cluster: FakeCluster) -> None:
        await cluster.start()
        await cluster.follow()
        if not cluster.record.spec.stop:
            self.routes[cluster.server_name] = cluster.port
            self._set_phase(cluster, cluster_pb2.PHASE_RUNNING)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        loop: Any = self._loop_runner.loop
        return asyncio.run_coroutine_threadsafe(coroutine, loop.asyncio_loop)

    def stop_server(self) -> None:
        self._server.stop(0).wait()

    def restart_server(self) -> None:
        """Comes back at the same port."""
        self._serve(self.port)

    def close(self) -> None:
        self.proxy.close()
        for cluster in self.clusters.values():
            self._end(cluster, cluster_pb2.PHASE_STOPPED).result(10)
        self.stop_server()
        self._loop_runner.stop()

    # AuthService

    def Login(self, request: auth_service_pb2.LoginRequest, context: Any) -> auth_service_pb2.LoginResponse:
        user = self._user_of(request)
        token = secrets.token_hex(8)
        self._tokens[token] = (user, time.time() + self.token_seconds)
        answer = auth_service_pb2.LoginResponse(access_token=token, user=auth_service_pb2.User(name=f"users/{user}"))
        answer.expire_time.FromMilliseconds(int((time.time() + self.token_seconds) * 1000))
        return answer

    def WhoAmI(self, request: object, context: Any) -> auth_service_pb2.User:
        roles = [auth_service_pb2.ROLE_OWNER]
        return auth_service_pb2.User(name=self._caller(context), groups=["people"], roles=roles, method="api-token")

    def CreateDashboardLink(self, request: Any, context: Any) -> auth_service_pb2.CreateDashboardLinkResponse:
        cluster = self._find(request.name, context)
        answer = auth_service_pb2.CreateDashboardLinkResponse(path=f"/clusters/{cluster.id}/status?link=signed")
        answer.expire_time.FromSeconds(int(time.time()) + 900)
        return answer

    def CreateApiToken(self, request: Any, context: Any) -> auth_service_pb2.CreateApiTokenResponse:
        raise errors.PermissionDenied("the fake makes no tokens")

    def ListApiTokens(self, request: Any, context: Any) -> auth_service_pb2.ListApiTokensResponse:
        return auth_service_pb2.ListApiTokensResponse()

    def DeleteApiToken(self, request: Any, context: Any) -> auth_service_pb2.DeleteApiTokenResponse:
        raise errors.ApiTokenNotFound("the fake has no tokens")

    def ListSigningKeys(self, request: Any, context: Any) -> auth_service_pb2.ListSigningKeysResponse:
        return auth_service_pb2.ListSigningKeysResponse()

    # OptionsService

    def ListOptions(self, request: object, context: Any) -> options_service_pb2.ListOptionsResponse:
        pb = options_service_pb2
        options = [
            pb.Option(key="worker_cores", label="Worker cores", int_type=pb.IntType(minimum=1, maximum=16)),
            pb.Option(key="worker_memory", description="Memory of a worker", bytes_type=pb.BytesType(minimum=1 << 20)),
            pb.Option(key="profile", select_type=pb.SelectType(choices=["small", "large"]), label="Profile"),
            pb.Option(key="environment", mapping_type=pb.MappingType(max_entries=8)),
            pb.Option(key="gpu", bool_type=pb.BoolType()),
            pb.Option(key="spot", float_type=pb.FloatType(minimum=0, maximum=1)),
            pb.Option(key="image", string_type=pb.StringType(max_bytes=64)),
            pb.Option(key="command", list_type=pb.ListType(max_items=4)),
            pb.Option(key="from_the_future"),
        ]
        defaults: list[object] = [2, "2 GiB", "small", {}, False, 0.5, "", [], "as it is"]
        for option, default in zip(options, defaults, strict=True):
            _fill(option.default_value, default)
        return pb.ListOptionsResponse(options=options)

    # ClusterService

    def CreateCluster(self, request: cluster_service_pb2.CreateClusterRequest, context: Any) -> cluster_pb2.Cluster:
        owner = self._caller(context)
        with self._changed:
            for cluster in self.clusters.values():
                same_call = request.request_id and cluster.request_id == request.request_id
                if same_call or (request.spec.alias and self._has_alias(cluster, owner, request.spec.alias)):
                    return cluster.record
            if any(not key.islower() for key in request.spec.options):
                raise errors.InvalidRequest.of(errors.Violation("spec.options", "there is no such option"))
            cluster = FakeCluster(_new_id(), owner, request.spec)
            cluster.request_id = request.request_id
            self.clusters[cluster.id] = cluster
        self.tell(cluster, "the scheduler is being started")
        if self.start_failure is not None:
            self._fail_start(cluster, self.start_failure)
        elif self.starts:
            self.run(cluster)
        return cluster.record

    def GetCluster(self, request: cluster_service_pb2.GetClusterRequest, context: Any) -> cluster_pb2.Cluster:
        return self._find(request.name, context).record

    def ListClusters(
        self, request: cluster_service_pb2.ListClustersRequest, context: Any
    ) -> cluster_service_pb2.ListClustersResponse:
        owner, phases = self._caller(context), set(request.phases) or LIVING
        mine = [c.record for c in self.clusters.values() if c.record.owner == owner and c.record.status.phase in phases]
        return cluster_service_pb2.ListClustersResponse(clusters=reversed(mine))

    def WatchClusters(
        self, request: cluster_service_pb2.WatchClustersRequest, context: Any
    ) -> Iterator[cluster_service_pb2.WatchClustersResponse]:
        cluster = self._find(request.name, context)
        told, phase = int(request.resume_token or 0), None
        while context.is_active():
            with self._changed:
                if len(cluster.events) == told and cluster.record.status.phase == phase:
                    self._changed.wait(0.2)
                events, record = cluster.events[told:], cluster_pb2.Cluster()
                record.CopyFrom(cluster.record)
            told += len(events)
            for event in events:
                yield cluster_service_pb2.WatchClustersResponse(event=event, resume_token=str(told))
            if record.status.phase != phase:
                phase = record.status.phase
                yield cluster_service_pb2.WatchClustersResponse(cluster=record, resume_token=str(told))

    def ScaleCluster(self, request: cluster_service_pb2.ScaleClusterRequest, context: Any) -> cluster_pb2.Cluster:
        cluster = self._living(request.name, context)
        if request.size > MOST_WORKERS:
            raise errors.QuotaExceeded.of(
                subject=cluster.record.owner, what="workers", limit=MOST_WORKERS, used=0, asked=request.size
            )
        group = self._group(cluster, request.group)
        group.size = request.size
        group.ClearField("adapt")
        self._spawn(cluster.follow())
        return cluster.record

    def AdaptCluster(self, request: cluster_service_pb2.AdaptClusterRequest, context: Any) -> cluster_pb2.Cluster:
        cluster = self._living(request.name, context)
        group = self._group(cluster, request.group)
        if request.HasField("adapt"):
            group.adapt.CopyFrom(request.adapt)
            group.size = max(group.size, request.adapt.minimum, min(1, request.adapt.maximum))  # as under some load
        else:
            group.ClearField("adapt")
        self._spawn(cluster.follow())
        return cluster.record

    def StopCluster(self, request: cluster_service_pb2.StopClusterRequest, context: Any) -> cluster_pb2.Cluster:
        cluster = self._find(request.name, context)
        if cluster.record.status.phase in LIVING:
            self._end(cluster, cluster_pb2.PHASE_STOPPED)
        return cluster.record

    def StopAllClusters(self, request: Any, context: Any) -> cluster_service_pb2.StopAllClustersResponse:
        owner = self._caller(context)
        mine = [c for c in self.clusters.values() if c.record.owner == owner and c.record.status.phase in LIVING]
        for cluster in mine:
            self._end(cluster, cluster_pb2.PHASE_STOPPED)
        return cluster_service_pb2.StopAllClustersResponse(names=[c.record.name for c in mine])

    def ConnectCluster(
        self, request: cluster_service_pb2.ConnectClusterRequest, context: Any
    ) -> cluster_service_pb2.ConnectClusterResponse:
        cluster = self._living(request.name, context)
        leaf = cluster.issue()
        answer = cluster_service_pb2.ConnectClusterResponse(
            server_name=cluster.server_name,
            ca_pem=cluster.authority.cert_pem.decode(),
            certificate_pem=leaf.cert_pem.decode(),
            private_key_pem=leaf.key_pem.decode(),
        )
        answer.expire_time.FromMilliseconds(int((time.time() + self.certificate_seconds) * 1000))
        if self.direct and cluster.record.status.phase == cluster_pb2.PHASE_RUNNING:
            answer.direct_address = f"tls://127.0.0.1:{cluster.port}"
        return answer

    def ListWorkers(self, request: Any, context: Any) -> cluster_service_pb2.ListWorkersResponse:
        cluster = self._find(request.parent, context)
        workers = [
            cluster_pb2.Worker(
                name=f"{cluster.record.name}/workers/{group.name}-{n}-abcdef",
                group=group.name,
                state=cluster_pb2.WORKER_STATE_RUNNING,
            )
            for group in cluster.record.spec.worker_groups
            for n in range(group.size)
        ]
        first = int(request.page_token or 0)
        page = workers[first : first + 3]
        more = str(first + 3) if len(workers) > first + 3 else ""
        return cluster_service_pb2.ListWorkersResponse(workers=page, next_page_token=more)

    def ListClusterEvents(self, request: Any, context: Any) -> cluster_service_pb2.ListClusterEventsResponse:
        return cluster_service_pb2.ListClusterEventsResponse(events=self._find(request.parent, context).events)

    def ReadLogs(self, request: Any, context: Any) -> Iterator[cluster_service_pb2.ReadLogsResponse]:
        self._find(request.parent, context)
        for process in ("scheduler", "default-0-abcdef"):
            if request.process in {"", process}:
                lines = [f"{process} line {n}\n" for n in range(request.tail_lines or 3)]
                yield cluster_service_pb2.ReadLogsResponse(process=process, lines="".join(lines).encode())
        if request.follow:
            yield cluster_service_pb2.ReadLogsResponse(process="scheduler", lines=b"later\n")

    # Inside

    def _serve(self, port: int = 0) -> None:
        if not self.ca_file.exists():
            authority = Authority.create("fake headrace", timedelta(days=1))
            self.ca_file.write_bytes(authority.cert_pem)
            self._leaf = authority.issue("gateway", timedelta(days=1), ["localhost"], ["127.0.0.1"])
        self._server = grpc.server(ThreadPoolExecutor(32), interceptors=[_Interceptor(self)])
        auth_service_pb2_grpc.add_AuthServiceServicer_to_server(self, self._server)
        cluster_service_pb2_grpc.add_ClusterServiceServicer_to_server(self, self._server)
        options_service_pb2_grpc.add_OptionsServiceServicer_to_server(self, self._server)
        credentials = grpc.ssl_server_credentials([(self._leaf.key_pem, self._leaf.cert_pem)])
        self.port = self._server.add_secure_port(f"127.0.0.1:{port}", credentials)
        self._server.start()

    def _user_of(self, request: auth_service_pb2.LoginRequest) -> str:
        if request.HasField("token") and request.token.token in TOKENS:
            return TOKENS[request.token.token]
        if request.HasField("password") and request.password.password == f"{request.password.username} sesame":
            return request.password.username
        raise errors.BadCredentials("the user name or the password is wrong")

    def _caller(self, context: Any) -> str:
        header = dict(context.invocation_metadata()).get("authorization", "")
        user, until = self._tokens.get(header.removeprefix("Bearer "), ("", 0.0))
        if not user:
            raise errors.TokenInvalid("no token that this deployment signed")
        if time.time() > until:
            raise errors.TokenExpired("the token has run out")
        return f"users/{user}"

    def _has_alias(self, cluster: FakeCluster, owner: str, alias: str) -> bool:
        record = cluster.record
        return record.owner == owner and record.spec.alias == alias and record.status.phase in LIVING

    def _find(self, name: str, context: Any) -> FakeCluster:
        owner, wanted = self._caller(context), name.partition("/")[2]
        for cluster in self.clusters.values():
            mine = cluster.record.owner == owner and cluster.id == wanted
            if mine or (wanted.startswith("~") and self._has_alias(cluster, owner, wanted[1:])):
                return cluster
        raise errors.ClusterNotFound(f"there is no cluster {wanted} that you may see")

    def _living(self, name: str, context: Any) -> FakeCluster:
        cluster = self._find(name, context)
        if cluster.record.status.phase not in LIVING:
            raise errors.ClusterEnded(f"cluster {cluster.id} has ended")
        return cluster

    def _group(self, cluster: FakeCluster, name: str) -> cluster_pb2.WorkerGroup:
        for group in cluster.record.spec.worker_groups:
            if group.name == (name or "default"):
                return group
        raise errors.GroupNotFound(f"cluster {cluster.id} has no worker group {name!r}")

    def _set_phase(self, cluster: FakeCluster, phase: Any) -> None:
        with self._changed:
            cluster.record.status.phase = phase
            if phase == cluster_pb2.PHASE_RUNNING:
                cluster.record.status.dashboard_path = f"/clusters/{cluster.id}/status"
            self._changed.notify_all()

    def _fail_start(self, cluster: FakeCluster, failure: errors.ClusterFailed) -> None:
        status = cluster.record.status
        status.reason = cluster_pb2.EndReason.Value(f"END_REASON_{failure.reason}")
        status.message, status.log_tail = failure.message, failure.log_tail
        self._set_phase(cluster, cluster_pb2.PHASE_FAILED)

    def _end(self, cluster: FakeCluster, phase: Any) -> Future[None]:
        cluster.record.spec.stop = True
        if cluster.record.status.phase in LIVING:
            cluster.record.status.reason = cluster_pb2.END_REASON_USER
            cluster.record.end_time.GetCurrentTime()
            self._set_phase(cluster, phase)
        self.routes.pop(cluster.server_name, None)
        return self._spawn(cluster.stop())


class _Interceptor(grpc.ServerInterceptor):
    """Notes each call, lets it fail where a test wants that, and turns our errors into statuses."""

    def __init__(self, fake: FakeHeadrace) -> None:
        self._fake = fake

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        handler = continuation(handler_call_details)
        method = handler_call_details.method.rpartition("/")[2]
        if handler is None:
            return None
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary), handler.request_deserializer, handler.response_serializer
        )

    def _unary(self, method: str, inner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def handle(request: Any, context: Any) -> Any:
            try:
                self._begin(method, context)
                return inner(request, context)
            except errors.HeadraceError as error:
                self._abort(context, error)

        return handle

    def _stream(self, method: str, inner: Callable[[Any, Any], Iterator[Any]]) -> Callable[[Any, Any], Iterator[Any]]:
        def handle(request: Any, context: Any) -> Iterator[Any]:
            try:
                self._begin(method, context)
                yield from inner(request, context)
            except errors.HeadraceError as error:
                self._abort(context, error)

        return handle

    def _abort(self, context: Any, error: errors.HeadraceError) -> None:
        status = _status.to_status(error)
        context.set_trailing_metadata((*self._told(), *status.trailing_metadata))
        context.abort(status.code, status.details)

    def _told(self) -> tuple[tuple[str, str], ...]:
        return (("headrace-version", self._fake.version),) if self._fake.version else ()

    def _begin(self, method: str, context: Any) -> None:
        self._fake.calls.append(method)
        context.set_trailing_metadata(self._told())
        if self._fake.failures.get(method):
            raise self._fake.failures[method].pop(0)


def _new_id() -> str:
    return "c" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(19))


def _fill(value: Any, default: object) -> None:
    match default:
        case bool():
            value.bool_value = default
        case str():
            value.string_value = default
        case dict():
            value.struct_value.update(default)
        case list():
            value.list_value.extend(default)
        case _:
            value.number_value = default
