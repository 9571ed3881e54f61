"""Views of clusters: converted once for each version, and joined into lists."""

from __future__ import annotations

from dataclasses import replace

from tests.controller.builders import new_cluster

from headrace.v1 import cluster_service_pb2 as pb
from headrace_controller.api import convert
from headrace_controller.api.views import Views


async def test_a_list_of_joined_entries_is_the_list_of_the_messages() -> None:
    views, clusters = Views(), [new_cluster(options={"worker_cores": float(n)}) for n in range(1, 200)]
    for full in (True, False):
        joined = pb.ListClustersResponse.FromString(await views.join(clusters, "next", full=full))
        assert list(joined.clusters) == [convert.cluster(cluster, full=full) for cluster in clusters]
        assert joined.next_page_token == "next"
    assert pb.ListClustersResponse.FromString(await views.join([], "", full=True)) == pb.ListClustersResponse()


def test_a_view_is_of_the_very_version_that_is_asked_for() -> None:
    views, old = Views(), new_cluster(alias="old")
    new = replace(
        old, spec=replace(old.spec, alias="new")
    )  # of the same revision: a store that lost writes counts from there again
    assert [views.get(cluster).spec.alias for cluster in (old, new, old)] == ["old", "new", "old"]


def test_a_view_is_the_callers_own() -> None:
    views, cluster = Views(), new_cluster()
    views.get(cluster).spec.alias = "changed"
    assert views.get(cluster).spec.alias == ""


def test_a_discarded_view_is_converted_again() -> None:
    views, cluster = Views(), new_cluster()
    views.get(cluster)
    views.discard(cluster.id)
    views.discard(cluster.id)
    assert views.get(cluster) == convert.cluster(cluster)
