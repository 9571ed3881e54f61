"""Enrolment: who receives a certificate, for which names, and with which settings."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import cast

import pytest
from cryptography import x509
from google.protobuf.json_format import MessageToDict
from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine
from tests.controller.builders import SCHEDULER_ADDRESS, running_cluster, running_worker, worker

from headrace.errors import ClusterEnded, StoreUnavailable, WorkerNotFound
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.caller import AgentCaller
from headrace_chassis.identity.dashboard_keys import DashboardKeys, MetricsKeys
from headrace_chassis.identity.seal import Seal
from headrace_controller.agents.enrolment import Enrolment
from headrace_controller.agents.launch_claims import LaunchClaims
from headrace_controller.authorities import Authorities
from headrace_controller.backends.base import BackendError, Network
from headrace_controller.model import Cluster, ClusterId, Group, WorkerState

OPTIONS = {
    "worker_threads": 3,
    "worker_memory": 2**30,
    "worker_lifetime": 60,
    "worker_resources": {"GPU": 1.0},
    "environment": {"A": "b"},
}
GPU = Group(name="gpu", size=1, options={"environment": {"A": "c"}})
CLUSTER = running_cluster(running_worker("gpu-1"), groups=[GPU], spec={"options": OPTIONS})
SCHEDULER = pb.EnrollRequest(role=pb.PROCESS_ROLE_SCHEDULER, process="scheduler")
WORKER = pb.EnrollRequest(role=pb.PROCESS_ROLE_WORKER, process="gpu-1")


class BackendWithoutNetwork(FakeBackend):
    def network(self, cluster: str, process: str) -> Network:
        raise BackendError("its backend is unknown")


async def enrol(
    cluster: Cluster, request: pb.EnrollRequest, *, backend: FakeBackend | None = None
) -> pb.EnrollResponse:
    async def sealed(_cluster: ClusterId) -> bytes:
        return await authorities.create(cluster.id)

    hour = timedelta(hours=1)
    authorities = Authorities(sealed, Seal([bytes(32)]), lifetime=hour, certificate_lifetime=hour)
    enrolment = Enrolment(
        authorities,
        backend or FakeBackend(FakeMachine()),
        cast("LaunchClaims", None),  # credentials claim nothing
        AgentTokens([bytes(32)], "test"),
        dashboard_keys=DashboardKeys([bytes(32)], "test"),
        metrics_keys=MetricsKeys([bytes(32)], "test"),
        credential_seconds=60,
        sni_suffix="clusters.test",
        adaptive_interval_seconds=2.0,
        heartbeat_seconds=3.0,
        session_grace_seconds=60,
        tracing_endpoint="",
    )
    return await enrolment.enrol(AgentCaller(cluster.id, request.process), cluster, request)


async def test_a_scheduler_receives_what_all_processes_need() -> None:
    response = await enrol(CLUSTER, SCHEDULER)
    assert (response.listen_host, response.dashboard_prefix) == ("127.0.0.1", "/clusters/c1")
    assert (response.adaptive_interval_seconds, response.heartbeat_seconds) == (2.0, 3.0)
    assert response.dashboard_key == DashboardKeys([bytes(32)], "test").of("c1")
    assert response.metrics_key == MetricsKeys([bytes(32)], "test").of("c1") != response.dashboard_key
    assert dict(response.environment) == {"A": "b"}
    assert response.worker_threads == 0
    assert MessageToDict(response.dask_config) == {
        "distributed": {
            "admin": {"tick": {"interval": "500ms"}},
            "comm": {"require-encryption": True},
        },
        "headrace": {"session-grace-seconds": 60},
    }


async def test_a_worker_receives_the_shape_of_its_group() -> None:
    response = await enrol(CLUSTER, WORKER)
    assert response.scheduler_address == SCHEDULER_ADDRESS
    assert response.dashboard_key == ""
    assert (response.worker_threads, response.worker_memory_bytes, response.worker_lifetime_seconds) == (3, 2**30, 60)
    assert dict(response.worker_resources) == {"GPU": 1.0}
    assert dict(response.environment) == {"A": "c"}


async def test_a_certificate_has_the_names_under_which_the_backend_reaches_the_process() -> None:
    machine = FakeMachine()
    machine.network = Network(
        agent_endpoint="controller:1", listen_host="0.0.0.0", dns_names=("pod-7",), ip_addresses=("10.0.0.7",)
    )
    response = await enrol(CLUSTER, SCHEDULER, backend=FakeBackend(machine))
    assert response.listen_host == "0.0.0.0"
    certificate = x509.load_pem_x509_certificate(response.certificate_pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["c1.clusters.test", "pod-7"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.0.0.7")]
    assert response.expire_time.ToDatetime().timestamp() > 0
    assert response.ca_pem.startswith("-----BEGIN CERTIFICATE")
    assert "PRIVATE KEY" in response.private_key_pem


@pytest.mark.parametrize(
    ("cluster", "request_"),
    [
        (CLUSTER, pb.EnrollRequest(role=pb.PROCESS_ROLE_SCHEDULER, process="boss")),
        (CLUSTER, pb.EnrollRequest(role=pb.PROCESS_ROLE_WORKER, process="scheduler")),
        (CLUSTER, pb.EnrollRequest(role=pb.PROCESS_ROLE_WORKER, process="gpu-2")),
        (CLUSTER, pb.EnrollRequest(process="gpu-1")),
        (running_cluster(worker("gpu-1", WorkerState.CLOSED), groups=[GPU]), WORKER),
        (running_cluster(running_worker("gpu-1")), WORKER),  # its group was removed
    ],
)
async def test_processes_that_the_record_does_not_want_are_refused(
    cluster: Cluster, request_: pb.EnrollRequest
) -> None:
    with pytest.raises(WorkerNotFound):
        await enrol(cluster, request_)


async def test_a_worker_waits_until_its_scheduler_has_an_address() -> None:
    with pytest.raises(StoreUnavailable, match="try again"):
        await enrol(running_cluster(worker("gpu-1"), groups=[GPU], report={"scheduler_address": ""}), WORKER)


async def test_a_backend_that_is_not_known_yet_is_waited_for() -> None:
    with pytest.raises(StoreUnavailable, match="try again"):
        await enrol(CLUSTER, SCHEDULER, backend=BackendWithoutNetwork(FakeMachine()))


async def test_nobody_enrols_in_a_cluster_that_ends() -> None:
    with pytest.raises(ClusterEnded):
        await enrol(running_cluster(spec={"stop": True}), SCHEDULER)
