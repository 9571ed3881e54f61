"""The link to a cluster's dashboard."""

from __future__ import annotations

import pytest
from tests.client.fake_headrace import FakeHeadrace

from headrace import Gateway, errors
from headrace._dask import dashboard_link


def test_the_dashboard_link_is_signed_when_looked_at(fake: FakeHeadrace, gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        assert "CreateDashboardLink" not in fake.calls
        link = f"{fake.address}/clusters/{cluster.name}/status?link=signed"
        assert cluster.dashboard_link == link
        assert cluster.get_client().dashboard_link == link
        assert fake.calls.count("CreateDashboardLink") == 1


def test_a_later_reader_gets_a_new_link_and_views_ask_for_none(
    fake: FakeHeadrace, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard_link, "_NEW_SECONDS", 0.0)
    with gateway.new_cluster() as cluster:
        for _ in range(3):
            assert "link=signed" in cluster._repr_html_()  # pyright: ignore[reportPrivateUsage] - as IPython does
        assert fake.calls.count("CreateDashboardLink") == 1
        for made in (2, 3):
            assert cluster.dashboard_link
            assert fake.calls.count("CreateDashboardLink") == made


def test_a_closed_cluster_has_the_link_that_it_had(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        pass
    assert cluster.dashboard_link.endswith(f"/clusters/{cluster.name}/status")
    assert "link=" not in cluster._repr_html_()  # pyright: ignore[reportPrivateUsage]


def test_without_a_signature_the_link_is_still_there(fake: FakeHeadrace, gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        fake.fail("CreateDashboardLink", errors.ClusterNotFound("routes not known"))
        assert cluster.dashboard_link == f"{fake.address}/clusters/{cluster.name}/status"
