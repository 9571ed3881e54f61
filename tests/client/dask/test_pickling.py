"""Address and security of a cluster, handed to another process."""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
from typing import Any

import pytest
from distributed import Client
from tests.client.conftest import AsyncGateway
from tests.client.fake_headrace import FakeHeadrace

from headrace import ClusterReport, ClusterStatus, Gateway, GatewaySecurity, errors

_PROGRAM = """
import pickle, sys
from distributed import Client
address, security = pickle.load(sys.stdin.buffer)
with Client(address, security=security) as client:
    print(client.submit(sum, [1, 2]).result(timeout=30))
"""


def _compute_elsewhere(address: str | None, security: GatewaySecurity | None) -> str:
    handed = pickle.dumps((address, security))
    assert b"ann-secret" not in handed
    command = [sys.executable, "-c", _PROGRAM]
    return subprocess.run(command, input=handed, capture_output=True, check=True, timeout=60).stdout.decode().strip()


def test_the_security_of_a_cluster_works_in_another_process(fake: FakeHeadrace, gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        cluster.scale(1)
        assert _compute_elsewhere(cluster.scheduler_address, cluster.security) == "3"


def test_a_report_works_in_another_process(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        cluster.scale(1)
        report: ClusterReport = pickle.loads(pickle.dumps(gateway.get_cluster(cluster.name)))
        assert (report.name, report.status) == (cluster.name, ClusterStatus.RUNNING)
        assert _compute_elsewhere(report.scheduler_address, report.security) == "3"


async def test_it_can_be_pickled_on_the_loop(agateway: AsyncGateway) -> None:
    async with agateway.new_cluster() as cluster:
        report = await agateway.get_cluster(cluster.name)
        address, security = pickle.loads(pickle.dumps((report.scheduler_address, report.security)))
        async with Client(address, security=security, asynchronous=True, set_as_default=False) as client:
            assert client.scheduler_info()["id"]


def test_it_says_when_its_certificate_has_expired(fake: FakeHeadrace, gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        security: Any = pickle.loads(pickle.dumps(cluster.security))
        security._access._expiry_age = security._access._renewal_age = 0.0
        with pytest.raises(errors.Unauthenticated, match=f"certificate for cluster {cluster.name} has expired"):
            asyncio.run(security._access.ready())


def test_a_report_without_a_gateway_says_so(gateway: Gateway) -> None:
    cluster = gateway.new_cluster()
    report = gateway.get_cluster(cluster.name)
    cluster.close()
    gateway.close()
    with pytest.raises(errors.GatewayServerError, match="is closed"):
        pickle.dumps(report)


def test_a_copy_is_renewed_like_the_original(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        assert copy.copy(cluster.security) is cluster.security
        assert copy.deepcopy(cluster.security) is cluster.security
