"""A Gateway whose address has a path, as behind a JupyterHub: calls by gRPC-Web, Dask through the proxy address."""

from __future__ import annotations

from collections.abc import Iterator

import dask.config
import pytest
from distributed.comm.core import FatalCommClosedError
from tests.client.envoy_before import EnvoyBefore
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually

from headrace import Gateway, GatewayCluster, JupyterHubAuth, errors
from headrace.v1 import auth_service_pb2


@pytest.fixture
def behind_hub(fake: FakeHeadrace, envoy: EnvoyBefore, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What users have on a hub: the address with its path, the proxy address, and the token of their server."""
    kind = auth_service_pb2.CREDENTIAL_KIND_TOKEN
    fake.auth.login_methods.append(auth_service_pb2.LoginMethod(method="jupyterhub", credential_kind=kind))
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "ann-secret")
    settings = {
        "headrace.address": envoy.address,
        "headrace.proxy-address": fake.proxy.port,
        "headrace.tls.ca-file": str(envoy.ca_file),
        "headrace.auth.type": "jupyterhub",
        "headrace.connect": "proxied",
    }
    with dask.config.set(settings):
        yield


def test_a_users_day(fake: FakeHeadrace, behind_hub: None, eventually: Eventually) -> None:
    with Gateway() as gateway, gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.scale(1)
        assert client.submit(sum, [1, 2]).result(timeout=30) == 3
        assert set(fake.proxy.passed) == {f"{cluster.name}.clusters.headrace.internal"}
        cluster.adapt(minimum=0, maximum=2)
        assert [report.name for report in gateway.list_clusters()] == [cluster.name]
        assert cluster.get_logs()
        with gateway.connect(cluster.name) as again:
            assert isinstance(again, GatewayCluster)
        assert gateway.public_address.endswith("/services/headrace")
        assert (cluster.dashboard_link or "").startswith(f"{gateway.public_address}/clusters/{cluster.name}/")


def test_the_token_of_the_hub_goes_along(fake: FakeHeadrace, behind_hub: None) -> None:
    with Gateway() as gateway:
        assert isinstance(gateway.auth, JupyterHubAuth)
        gateway.list_clusters()
    login = fake.requests_of(auth_service_pb2.LoginRequest)[0]
    assert (login.method, login.token.token) == ("jupyterhub", "ann-secret")


def test_without_a_proxy_address_the_error_says_what_to_set(fake: FakeHeadrace, behind_hub: None) -> None:
    fake.direct = False
    with (
        dask.config.set({"headrace.proxy-address": None, "headrace.connect": "auto"}),
        Gateway() as gateway,
        gateway.new_cluster() as cluster,
        pytest.raises((FatalCommClosedError, OSError), match=r"Dask's traffic is not HTTP.*headrace\.proxy-address"),
    ):
        cluster.get_client()


def test_without_a_proxy_address_a_direct_way_serves(fake: FakeHeadrace, behind_hub: None) -> None:
    settings = {"headrace.proxy-address": None, "headrace.connect": "auto", "headrace.timeouts.direct": "60s"}
    with (
        dask.config.set(settings),
        Gateway() as gateway,
        gateway.new_cluster() as cluster,
        cluster.get_client() as client,
    ):
        assert client.run_on_scheduler(lambda: 1) == 1


def test_gateways_with_different_proxy_addresses_share_no_connection(fake: FakeHeadrace, behind_hub: None) -> None:
    with Gateway(proxy_address="nowhere:1"), Gateway() as gateway, gateway.new_cluster() as cluster:
        assert cluster.scheduler_address.startswith(f"gateway://127.0.0.1:{fake.proxy.port}/")


def test_a_path_where_headrace_is_not(behind_hub: None, envoy: EnvoyBefore) -> None:
    with (
        Gateway(f"{envoy.address}2") as gateway,
        pytest.raises(errors.NotHeadrace, match=r"/services/headrace2 .*"),
    ):
        gateway.list_clusters()
