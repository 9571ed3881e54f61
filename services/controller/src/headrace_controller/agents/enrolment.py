"""What a new process is told: its certificate and its settings."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct

from headrace.errors import ClusterEnded, StoreUnavailable, WorkerNotFound
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_controller.backends.base import SCHEDULER
from headrace_controller.authorities import Authorities
from headrace_controller.config import Settings
from headrace_controller.model import Cluster, Group, WorkerId
from headrace_controller.options import shapes

_LOOPBACK = ["127.0.0.1", "::1"]


class Enrolment:
    """Answers Enroll."""

    def __init__(self, authorities: Authorities, settings: Settings) -> None:
        self._authorities = authorities
        self._settings = settings

    async def enrol(self, cluster: Cluster, request: pb.EnrollRequest) -> pb.EnrollResponse:
        """A certificate and settings for a process that the record names."""
        if cluster.spec.stop or cluster.status.phase.ended:
            raise ClusterEnded(f"cluster {cluster.id} is ending; the process is not needed any more")
        response = self._response(cluster)
        if request.role == pb.PROCESS_ROLE_WORKER:
            self._add_worker(response, cluster, request.process)
        elif request.process != SCHEDULER:
            raise _unknown(cluster, request.process)
        authority, leaf = await self._authorities.issue_process(
            cluster.id,
            request.process,
            dns_names=[f"{cluster.id}.{self._settings.sni_suffix}", "localhost"],
            ip_addresses=_LOOPBACK,
        )
        response.ca_pem = authority.cert_pem.decode()
        response.certificate_pem = leaf.cert_pem.decode()
        response.private_key_pem = leaf.key_pem.decode()
        response.expire_time.FromDatetime(leaf.expire_time)
        return response

    def _response(self, cluster: Cluster) -> pb.EnrollResponse:
        return pb.EnrollResponse(
            listen_host=self._settings.listen_host,
            dashboard_prefix=f"/clusters/{cluster.id}",
            adaptive_interval_seconds=self._settings.adaptive_interval_seconds,
            environment=shapes.environment(cluster.spec, None),
            dask_config=_dask_config(self._settings),
        )

    def _add_worker(self, response: pb.EnrollResponse, cluster: Cluster, process: str) -> None:
        record = cluster.status.workers.get(WorkerId(process))
        group = cluster.spec.group(record.group) if record and record.state.alive else None
        if group is None:
            raise _unknown(cluster, process)
        if not cluster.report.scheduler_address:
            raise StoreUnavailable(f"the scheduler of cluster {cluster.id} has not told its address yet; repeat")
        self._add_shape(response, cluster, group)

    def _add_shape(self, response: pb.EnrollResponse, cluster: Cluster, group: Group) -> None:
        shape = shapes.shape(cluster.spec, group)
        response.scheduler_address = cluster.report.scheduler_address
        response.worker_group = group.name
        response.worker_threads = shape.threads
        response.worker_memory_bytes = shape.memory_bytes
        response.worker_lifetime_seconds = shape.lifetime_seconds
        response.worker_resources.update(shape.resources)
        response.environment.clear()
        response.environment.update(shape.environment)


def _dask_config(settings: Settings) -> Struct:
    config = Struct()
    distributed = config.get_or_create_struct("distributed")
    distributed.get_or_create_struct("comm")["require-encryption"] = True
    if settings.idle_timeout_seconds:
        distributed.get_or_create_struct("scheduler")["idle-timeout"] = f"{settings.idle_timeout_seconds} s"
    return config


def _unknown(cluster: Cluster, process: str) -> WorkerNotFound:
    return WorkerNotFound(f"cluster {cluster.id} has no process {process[:100]!r} that is wanted")
