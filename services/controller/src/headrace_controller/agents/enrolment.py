"""What a new process receives: its certificate and its settings."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct

from headrace.errors import ClusterEnded, StoreUnavailable, TokenInvalid, WorkerNotFound
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.caller import AgentCaller
from headrace_chassis.identity.dashboard_keys import DashboardKeys, MetricsKeys
from headrace_controller.agents.launch_claims import LaunchClaims
from headrace_controller.authorities import Authorities
from headrace_controller.backends.base import Backend, BackendError, Network
from headrace_controller.backends.process import SCHEDULER
from headrace_controller.model import Cluster, Group, WorkerId
from headrace_controller.options import shapes

_TICK_INTERVAL = "500ms"


class Enrolment:
    """Answers Enroll.

    Parameters
    ----------
    backend
        Knows where a process listens and under which names it is reached.
    credential_seconds
        How long the credential of a process is good. It is of no use once the process is not wanted any more, so it
        may be long: a process must be able to return after the longest absence of the controllers.
    heartbeat_seconds
        Time between two signs of life of a scheduler's event loop.
    session_grace_seconds
        Time for which a scheduler keeps a client whose connection is interrupted.
    tracing_endpoint
        Collector that schedulers' agents send spans to; empty for none.
    """

    def __init__(
        self,
        authorities: Authorities,
        backend: Backend,
        claims: LaunchClaims,
        tokens: AgentTokens,
        *,
        dashboard_keys: DashboardKeys,
        metrics_keys: MetricsKeys,
        credential_seconds: float,
        sni_suffix: str,
        adaptive_interval_seconds: float,
        heartbeat_seconds: float,
        session_grace_seconds: float,
        tracing_endpoint: str,
    ) -> None:
        self._authorities = authorities
        self._backend = backend
        self._claims = claims
        self._tokens = tokens
        self._dashboard_keys = dashboard_keys
        self._metrics_keys = metrics_keys
        self._credential_seconds = credential_seconds
        self._sni_suffix = sni_suffix
        self._adaptive_interval_seconds = adaptive_interval_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._tracing_endpoint = tracing_endpoint
        self._dask_config = _dask_config(session_grace_seconds)

    async def enrol(self, caller: AgentCaller, cluster: Cluster, request: pb.EnrollRequest) -> pb.EnrollResponse:
        """A certificate and settings for a process that the record names, and its credential for what follows."""
        if request.process != caller.process:
            raise TokenInvalid(f"the token is that of {caller.process}, and enrols no other process")
        if cluster.stopping:
            raise ClusterEnded(f"cluster {cluster.id} is ending; the process is not needed any more")
        response = pb.EnrollResponse(
            dashboard_prefix=f"/clusters/{cluster.id}",
            adaptive_interval_seconds=self._adaptive_interval_seconds,
            dask_config=self._dask_config,
        )
        _add_role(response, cluster, request)
        network = self._network(cluster, request.process)
        response.listen_host = network.listen_host
        if caller.process == SCHEDULER:
            response.dashboard_key = self._dashboard_keys.of(cluster.id)
            response.metrics_key = self._metrics_keys.of(cluster.id)
            response.heartbeat_seconds = self._heartbeat_seconds
            response.tracing_endpoint = self._tracing_endpoint
        if caller.launch:
            await self._claims.claim(caller, cluster, request.nonce)
            if caller.process == SCHEDULER:
                response.enrolment = await self._claims.number_scheduler(cluster)
        response.credential = self._tokens.credential(cluster.id, caller.process, self._credential_seconds)
        response.ca_pem, leaf = await self._authorities.issue_process(
            cluster.id,
            request.process,
            dns_names=[f"{cluster.id}.{self._sni_suffix}", *network.dns_names],
            ip_addresses=network.ip_addresses,
            takes_guests=caller.process == SCHEDULER,
        )
        response.certificate_pem = leaf.cert_pem.decode()
        response.private_key_pem = leaf.key_pem.decode()
        response.expire_time.FromDatetime(leaf.expire_time)
        return response

    def _network(self, cluster: Cluster, process: str) -> Network:
        try:
            return self._backend.network(cluster.id, process)
        except BackendError as error:
            raise StoreUnavailable(
                f"process {process} of cluster {cluster.id} cannot enrol: {error}; try again"
            ) from error


def _add_role(response: pb.EnrollResponse, cluster: Cluster, request: pb.EnrollRequest) -> None:
    if request.role == pb.PROCESS_ROLE_WORKER:
        _add_worker(response, cluster, request.process)
    elif request.process == SCHEDULER:
        response.environment.update(shapes.environment(cluster.spec, None))
    else:
        raise _unknown(cluster, request.process)


def _add_worker(response: pb.EnrollResponse, cluster: Cluster, process: str) -> None:
    record = cluster.workers.get(WorkerId(process))
    group = cluster.spec.group(record.group) if record and record.state.alive else None
    if group is None:
        raise _unknown(cluster, process)
    if not cluster.report.scheduler_address:
        raise StoreUnavailable(f"the scheduler of cluster {cluster.id} has not reported its address yet; try again")
    _add_shape(response, cluster, group)


def _add_shape(response: pb.EnrollResponse, cluster: Cluster, group: Group) -> None:
    shape = shapes.shape(cluster.spec, group)
    response.scheduler_address = cluster.report.scheduler_address
    response.worker_threads = shape.threads
    response.worker_memory_bytes = shape.resources.memory_bytes
    response.worker_lifetime_seconds = shape.lifetime_seconds
    response.worker_resources.update(shape.dask_resources)
    response.environment.update(shape.environment)


def _dask_config(session_grace_seconds: float) -> Struct:
    config = Struct()
    config.get_or_create_struct("headrace")["session-grace-seconds"] = session_grace_seconds
    distributed = config.get_or_create_struct("distributed")
    distributed.get_or_create_struct("comm")["require-encryption"] = True
    # Dask wakes fifty times a second to see whether its event loop is blocked: 1.8 % of a core for an idle process.
    distributed.get_or_create_struct("admin").get_or_create_struct("tick")["interval"] = _TICK_INTERVAL
    return config


def _unknown(cluster: Cluster, process: str) -> WorkerNotFound:
    return WorkerNotFound(f"cluster {cluster.id} has no process {process[:100]!r} that may enrol")
