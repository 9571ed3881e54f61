"""ClusterService of the fake headrace; `tests/contract/test_cluster_service.py` holds it to the real one."""

# ruff: noqa: N802 - the names of the contract

from __future__ import annotations

import asyncio
import re
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from distributed.utils import LoopRunner
from tests.client.fake_cluster import LIVING, FakeCluster
from tests.client.fake_options import OPTIONS, check_profile

from headrace import errors
from headrace.resource_names import is_cluster_id
from headrace.v1 import cluster_pb2, cluster_service_pb2_grpc
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.error_reason_pb2 import ERROR_REASON_CLUSTER_NOT_FOUND

MAX_WORKERS = 8  # they are real
PAGE = 3
PROCESSES = ("scheduler", "default-0-abcdef")


class FakeClusters(cluster_service_pb2_grpc.ClusterServiceServicer):
    """Clusters of real Dask; the attributes change how it behaves."""

    def __init__(self, caller: Callable[[Any], str]) -> None:
        self.clusters: dict[str, FakeCluster] = {}
        self.routes: dict[str, int] = {}
        self.direct = True
        self.starts = True
        self.rejects = False
        self.start_failure: errors.ClusterFailed | None = None
        self.certificate_seconds = 3600.0
        self.grace = 60.0
        self.admins = set[str]()
        self._caller = caller
        self._changed = threading.Condition()
        self._loop_runner = LoopRunner()
        self._loop_runner.start()

    # Control

    def add_event(
        self,
        cluster: FakeCluster,
        message: str,
        severity: cluster_pb2.Severity.ValueType = cluster_pb2.SEVERITY_INFO,
        type_: cluster_pb2.EventType.ValueType = cluster_pb2.EVENT_TYPE_SCHEDULER_STARTING,
    ) -> None:
        with self._changed:
            cluster.add_event(type_, message, severity)
            self._changed.notify_all()

    def run(self, cluster: FakeCluster) -> None:
        """Lets a starting cluster run."""
        self._spawn(self._run(cluster))

    def move(self, cluster: FakeCluster) -> None:
        """Has the scheduler at another port."""
        self._spawn(cluster.move()).result(10)
        self.routes[cluster.server_name] = cluster.port

    def set_phase(self, cluster: FakeCluster, phase: cluster_pb2.Phase.ValueType) -> None:
        with self._changed:
            cluster.record.status.phase = phase
            if phase == cluster_pb2.PHASE_RUNNING:
                cluster.record.status.dashboard_path = f"/clusters/{cluster.id}/status"
            if phase not in LIVING:
                cluster.record.end_time.GetCurrentTime()
            cluster.changed()
            self._changed.notify_all()

    def close(self) -> None:
        for cluster in self._all():
            self._stop(cluster).result(60)
        self._loop_runner.stop()

    # Create and read

    def CreateCluster(self, request: pb.CreateClusterRequest, context: Any) -> cluster_pb2.Cluster:
        owner = request.owner or self._caller(context)
        _check_spec(request.spec)
        with self._changed:
            for cluster in self._all():
                same_call = request.request_id and cluster.request_id == request.request_id
                if same_call and cluster.record.owner == owner:
                    return cluster.record
            for cluster in self._all():
                if request.spec.alias and self._has_alias(cluster, owner, request.spec.alias):
                    message = f"cluster {cluster.id} has the name {request.spec.alias!r}"
                    raise errors.AliasTaken(message, {"cluster": cluster.record.name})
            cluster = FakeCluster(_new_id(), owner, request.spec)
            cluster.record.shares.extend(request.shares)
            cluster.record.spec.profile = request.spec.profile or "standard"
            cluster.request_id = request.request_id
            cluster.grace = self.grace
            self.clusters[cluster.id] = cluster
        self.add_event(cluster, "the scheduler is being started")
        if self.start_failure is not None:
            self._fail_start(cluster, self.start_failure)
        elif self.starts:
            self.run(cluster)
        return cluster.record

    def GetCluster(self, request: pb.GetClusterRequest, context: Any) -> cluster_pb2.Cluster:
        return self._find(request.name, context).record

    def ListClusters(self, request: pb.ListClustersRequest, context: Any) -> pb.ListClustersResponse:
        self._check_filter(request.filter, context)
        found = [
            _view(cluster.record, request.view)
            for cluster in reversed(self._all())
            if self._matches(cluster, request.filter, context)
        ]
        page, more = _page(found, request)
        return pb.ListClustersResponse(clusters=page, next_page_token=more)

    def WatchClusters(self, request: pb.WatchClustersRequest, context: Any) -> Iterator[pb.WatchClustersResponse]:
        if request.WhichOneof("target") != "name":
            self._check_filter(request.filter, context)
            yield from self._watch_matching(request, context)
            return
        cluster = self._find(request.name, context)
        sent, version = (int(part) for part in (request.resume_token or "0.0").split("."))
        checkpoint = not request.resume_token
        while context.is_active():
            with self._changed:
                if cluster.version == version and len(cluster.events) == sent:
                    self._changed.wait(0.2)
                events, record, now = cluster.events[sent:], _view(cluster.record, request.view), cluster.version
            for event in events:
                sent += 1
                if request.include_events:
                    yield pb.WatchClustersResponse(event=event, resume_token=f"{sent}.{version}")
            if now != version:
                version = now
                yield pb.WatchClustersResponse(cluster=record, resume_token=f"{sent}.{version}")
            if checkpoint:
                checkpoint = False
                yield pb.WatchClustersResponse(checkpoint=pb.Checkpoint(), resume_token=f"{sent}.{version}")

    # Change

    def UpdateCluster(self, request: pb.UpdateClusterRequest, context: Any) -> cluster_pb2.Cluster:
        cluster = self.living(request.cluster.name, context)
        given, spec = request.cluster, cluster.record.spec
        _check_etag(cluster, given.etag)
        if not request.update_mask.paths:
            raise _wrong("update_mask", "must name what to change")
        for path in request.update_mask.paths:
            match path:
                case "spec.tags":
                    spec.tags.clear()
                    spec.tags.update(given.spec.tags)
                case "spec.lifetime" if given.spec.HasField("lifetime"):
                    spec.lifetime.CopyFrom(given.spec.lifetime)
                case "spec.lifetime":
                    spec.ClearField("lifetime")
                case "spec.worker_groups":
                    del spec.worker_groups[:]
                    spec.worker_groups.extend(given.spec.worker_groups)
                case "shares":
                    _share(cluster, given.shares)
                case _:
                    raise _wrong("update_mask", f"{path} cannot be changed")
        return self._respecified(cluster)

    def ScaleCluster(self, request: pb.ScaleClusterRequest, context: Any) -> cluster_pb2.Cluster:
        cluster = self.living(request.name, context)
        _check_etag(cluster, request.etag)
        if request.size < 0:
            raise _wrong("size", "must be 0 or more")
        if request.size > MAX_WORKERS and self.rejects:
            raise errors.QuotaExceeded.of(
                subject=cluster.record.owner, what="workers", limit=MAX_WORKERS, used=0, asked=request.size
            )
        group = self._group(cluster, request.group)
        group.size = min(request.size, MAX_WORKERS)
        group.ClearField("adapt")
        return self._respecified(cluster)

    def AdaptCluster(self, request: pb.AdaptClusterRequest, context: Any) -> cluster_pb2.Cluster:
        cluster = self.living(request.name, context)
        _check_etag(cluster, request.etag)
        group = self._group(cluster, request.group)
        if request.HasField("adapt"):
            if request.adapt.HasField("maximum") and request.adapt.maximum < request.adapt.minimum:
                raise _wrong("adapt.maximum", "must be at least the minimum")
            group.adapt.CopyFrom(request.adapt)
            group.adapt.minimum = min(request.adapt.minimum, MAX_WORKERS)
            if request.adapt.HasField("maximum"):
                group.adapt.maximum = min(request.adapt.maximum, MAX_WORKERS)
            maximum = group.adapt.maximum if group.adapt.HasField("maximum") else MAX_WORKERS
            group.size = max(group.size, group.adapt.minimum, min(1, maximum))  # as under some load
        else:
            group.ClearField("adapt")
        return self._respecified(cluster)

    def StopCluster(self, request: pb.StopClusterRequest, context: Any) -> cluster_pb2.Cluster:
        cluster = self._find(request.name, context)
        self._stop(cluster)
        return cluster.record

    def BatchStopClusters(self, request: pb.BatchStopClustersRequest, context: Any) -> pb.BatchStopClustersResponse:
        answer = pb.BatchStopClustersResponse()
        if not request.names and not request.HasField("filter"):
            raise _wrong("names", "must name clusters, or give a filter")
        self._check_filter(request.filter, context)
        if request.names:
            for name in request.names:
                try:
                    self._stop(self._find(name, context))
                except errors.ClusterNotFound as error:
                    answer.failures.add(name=name, reason=ERROR_REASON_CLUSTER_NOT_FOUND, message=error.message)
                else:
                    answer.stopped.append(name)
            return answer
        for cluster in self._all():
            if self._matches(cluster, request.filter, context):
                self._stop(cluster)
                answer.stopped.append(cluster.record.name)
        return answer

    def DeleteCluster(self, request: pb.DeleteClusterRequest, context: Any) -> pb.DeleteClusterResponse:
        cluster = self._find(request.name, context)
        if cluster.lives:
            raise errors.ClusterNotEnded(f"cluster {cluster.id} has not ended: stop it first")
        del self.clusters[cluster.id]
        return pb.DeleteClusterResponse()

    # Details

    def ConnectCluster(self, request: pb.ConnectClusterRequest, context: Any) -> pb.ConnectClusterResponse:
        cluster = self.living(request.name, context)
        leaf = cluster.issue(self.certificate_seconds)
        answer = pb.ConnectClusterResponse(
            server_name=cluster.server_name,
            ca_pem=cluster.authority.cert_pem.decode(),
            certificate_pem=leaf.cert_pem.decode(),
            private_key_pem=leaf.key_pem.decode(),
        )
        answer.expire_time.FromMilliseconds(int((time.time() + self.certificate_seconds) * 1000))
        if self.direct and cluster.record.status.phase == cluster_pb2.PHASE_RUNNING:
            answer.direct_address = f"tls://127.0.0.1:{cluster.port}"
        return answer

    def ListWorkers(self, request: pb.ListWorkersRequest, context: Any) -> pb.ListWorkersResponse:
        cluster = self._find(request.parent, context)
        running, pending = cluster_pb2.WORKER_STATE_RUNNING, cluster_pb2.WORKER_STATE_PENDING
        workers = [
            cluster_pb2.Worker(
                name=f"{cluster.record.name}/workers/{group.name}-{n}-abcdef",
                group=group.name,
                state=pending if cluster.waits_for else running,
                message=cluster.waits_for,
                host="node-1",
                resources=cluster_pb2.Resources(cores=2, memory_bytes=2 << 30),
            )
            for group in cluster.record.spec.worker_groups
            for n in range(group.size)
        ]
        page, more = _page(workers, request)
        return pb.ListWorkersResponse(workers=page, next_page_token=more)

    def ListClusterEvents(self, request: pb.ListClusterEventsRequest, context: Any) -> pb.ListClusterEventsResponse:
        page, more = _page(self._find(request.parent, context).events, request)
        return pb.ListClusterEventsResponse(cluster_events=page, next_page_token=more)

    def ReadLogs(self, request: pb.ReadLogsRequest, context: Any) -> Iterator[pb.ReadLogsResponse]:
        self._find(request.name, context)
        if request.tail_lines < 0:
            raise _wrong("tail_lines", "must be 0 or more")
        if request.process not in {"", *PROCESSES}:
            raise errors.WorkerNotFound(f"there is no process {request.process!r}")
        written = ["later"] if request.follow else []
        for process in PROCESSES:
            if request.process not in {"", process}:
                continue
            lines = [f"{process} line {n}" for n in range(3)][-request.tail_lines :] + written
            for n in range(int(request.resume_tokens.get(process, "0")), len(lines)):
                yield pb.ReadLogsResponse(process=process, lines=f"{lines[n]}\n".encode(), resume_token=str(n + 1))

    # Inside

    def _watch_matching(self, request: pb.WatchClustersRequest, context: Any) -> Iterator[pb.WatchClustersResponse]:
        """Without events. One that no longer matches is sent once more."""
        sent = {name: int(version) for name, _, version in (one.partition(".") for one in request.resume_token.split())}
        checkpoint = not sent
        while context.is_active():
            with self._changed:
                clusters = [
                    cluster
                    for cluster in self._all()
                    if cluster.id in sent or self._matches(cluster, request.filter, context)
                ]
                news = [cluster for cluster in clusters if sent.get(cluster.id) != cluster.version]
                removed = [name for name in sent if name not in self.clusters]
                if not news and not removed and not checkpoint:
                    self._changed.wait(0.2)
                    continue
                steps = [pb.WatchClustersResponse(cluster=_view(cluster.record, request.view)) for cluster in news]
                steps += [pb.WatchClustersResponse(removed=f"clusters/{name}") for name in removed]
                sent = {cluster.id: cluster.version for cluster in clusters}
            if checkpoint:
                checkpoint = False
                steps.append(pb.WatchClustersResponse(checkpoint=pb.Checkpoint()))
            for step in steps:
                step.resume_token = " ".join(f"{name}.{version}" for name, version in sent.items())
                yield step

    def _all(self) -> list[FakeCluster]:
        """As they are now: other calls may create and delete some meanwhile."""
        return list(self.clusters.values())

    def _find(self, name: str, context: Any) -> FakeCluster:
        collection, _, wanted = name.partition("/")
        owner = self._caller(context)
        if collection != "clusters" or not wanted:
            raise _wrong("name", f"{name!r} is not of the form clusters/{{cluster}}")
        for cluster in self._all():
            mine = (cluster.record.owner == owner or owner in self.admins) and cluster.id == wanted
            alias = wanted[1:].removeprefix(f"{owner.removeprefix('users/')}:")
            if mine or (wanted.startswith("~") and self._has_alias(cluster, owner, alias)):
                return cluster
        raise errors.ClusterNotFound(f"there is no cluster {wanted} that you may see")

    def find_running(self, name: str, context: Any) -> FakeCluster:
        cluster = self._find(name, context)
        if cluster.record.status.phase != cluster_pb2.PHASE_RUNNING:
            raise errors.ClusterNotFound(f"there is no running cluster {cluster.id} that you may open")
        return cluster

    def living(self, name: str, context: Any) -> FakeCluster:
        cluster = self._find(name, context)
        if not cluster.lives:
            raise errors.ClusterEnded(f"cluster {cluster.id} has ended")
        return cluster

    def _has_alias(self, cluster: FakeCluster, owner: str, alias: str) -> bool:
        return cluster.record.owner == owner and cluster.record.spec.alias == alias and cluster.lives

    def _matches(self, cluster: FakeCluster, filter_: pb.ClusterFilter, context: Any) -> bool:
        record = cluster.record
        return (
            filter_.owner in {"users/-", record.owner, *([""] if record.owner == self._caller(context) else [])}
            and record.status.phase in (set(filter_.phases) or LIVING)
            and filter_.profile in {"", record.spec.profile}
            and all(record.spec.tags.get(key) == value for key, value in filter_.tags.items())
        )

    def _check_filter(self, filter_: pb.ClusterFilter, context: Any) -> None:
        caller = self._caller(context)
        if filter_.owner not in {"", caller} and caller not in self.admins:
            raise errors.PermissionDenied("only admins see clusters of others")

    def _group(self, cluster: FakeCluster, name: str) -> cluster_pb2.WorkerGroup:
        for group in cluster.record.spec.worker_groups:
            if group.name == (name or "default"):
                return group
        raise errors.GroupNotFound(f"cluster {cluster.id} has no worker group {name!r}")

    def _respecified(self, cluster: FakeCluster) -> cluster_pb2.Cluster:
        with self._changed:
            cluster.changed(spec=True)
            self._changed.notify_all()
        self._spawn(cluster.follow())
        return cluster.record

    def _fail_start(self, cluster: FakeCluster, failure: errors.ClusterFailed) -> None:
        status = cluster.record.status
        status.reason = cluster_pb2.EndReason.Value(f"END_REASON_{failure.reason}")
        status.message, status.log_tail = failure.message, failure.log_tail
        self.set_phase(cluster, cluster_pb2.PHASE_FAILED)

    def _stop(self, cluster: FakeCluster) -> Future[None]:
        with self._changed:
            cluster.record.spec.stop = True
            if cluster.lives:
                cluster.record.status.reason = cluster_pb2.END_REASON_USER
                self.set_phase(cluster, cluster_pb2.PHASE_STOPPED)
        self.routes.pop(cluster.server_name, None)
        return self._spawn(cluster.stop())

    async def _run(self, cluster: FakeCluster) -> None:
        await cluster.start()
        await cluster.follow()
        with self._changed:
            if not cluster.record.spec.stop:
                self.routes[cluster.server_name] = cluster.port
                self.set_phase(cluster, cluster_pb2.PHASE_RUNNING)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        loop: Any = self._loop_runner.loop
        return asyncio.run_coroutine_threadsafe(coroutine, loop.asyncio_loop)


def _new_id() -> str:
    return "c" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(19))


def _view(record: cluster_pb2.Cluster, view: pb.ClusterView.ValueType) -> cluster_pb2.Cluster:
    copy = cluster_pb2.Cluster()
    copy.CopyFrom(record)
    if view != pb.CLUSTER_VIEW_FULL:
        copy.spec.options.clear()
        del copy.status.conditions[:]
        copy.status.log_tail = ""
    return copy


def _page(found: list[Any], request: Any) -> tuple[list[Any], str]:
    if request.page_size > 1000:
        raise _wrong("page_size", "must be 0 to 1000")
    if not re.fullmatch("[0-9]*", request.page_token):
        raise _wrong("page_token", "is of another request")
    first = int(request.page_token or 0)
    return found[first : first + PAGE], str(first + PAGE) if len(found) > first + PAGE else ""


def _check_spec(spec: cluster_pb2.ClusterSpec) -> None:
    check_profile(spec.profile, "spec.profile")
    if unknown := set(spec.options) - {key for key, *_ in OPTIONS}:
        raise _wrong(f"spec.options.{min(unknown)}", "there is no such option")
    if is_cluster_id(spec.alias):
        raise _wrong("spec.alias", f"{spec.alias} looks like the id of a cluster: choose another name")


def _share(cluster: FakeCluster, shares: Iterable[cluster_pb2.Share]) -> None:
    if cluster.record.owner in {share.member for share in shares}:
        raise _wrong("cluster.shares", "the owner has all rights already")
    del cluster.record.shares[:]
    cluster.record.shares.extend(shares)


def _check_etag(cluster: FakeCluster, etag: str) -> None:
    if etag and etag != cluster.record.etag:
        raise errors.StaleEtag(f"cluster {cluster.id} was changed")


def _wrong(field: str, description: str) -> errors.InvalidRequest:
    return errors.InvalidRequest.of(errors.Violation(field, description))
