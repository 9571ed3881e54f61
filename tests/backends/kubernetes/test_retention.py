"""Which pods are deleted, and by how many requests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.backends.kubernetes.pods import decoded, recorded
from tests.backends.kubernetes.small_server import small_server
from tests.conftest import Eventually

from headrace.v1.enums import ExitCause
from headrace_backend_kubernetes import retention
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_backend_kubernetes.retention import Retention, batches, surplus


def pod(name: str, cluster: str, *, state: str = "exit-3") -> Pod:
    made: dict[str, Any] = recorded(state)
    made["metadata"] |= {"name": name, "uid": name, "namespace": "ns"}
    made["metadata"]["annotations"] |= {"headrace.dev/cluster": cluster, "headrace.dev/process": name}
    return decoded(made)


def test_the_last_ended_pods_of_each_cluster_and_of_all_are_kept() -> None:
    ended = [pod(f"{cluster}{n}", cluster) for n in range(4) for cluster in "ab"]
    assert [each.name for each in surplus(ended, per_cluster=3, in_all=100)] == ["b0", "a0"]
    assert [each.name for each in surplus(ended, per_cluster=3, in_all=4)] == ["b1", "a1", "b0", "a0"]
    assert surplus(ended, per_cluster=4, in_all=8) == []
    assert len(surplus(ended, per_cluster=0, in_all=8)) == 8


def test_one_request_deletes_a_hundred_pods_of_one_cluster() -> None:
    ended = [pod(f"{cluster}{n}", cluster) for n in range(150) for cluster in "ab"]
    found = list(batches(ended))
    assert [len(together) for together in found] == [100, 50, 100, 50]
    assert all(len({each.cluster for each in together}) == 1 for together in found)
    assert sorted(each.name for together in found for each in together) == sorted(each.name for each in ended)


async def test_ended_pods_are_deleted_together_and_hopeless_ones_singly(tmp_path: Path) -> None:
    async with small_server(tmp_path) as (server, api):
        table = PodTable(remembered=100)
        for name in ("w-1", "w-2", "w-3"):
            table.accept(pod(name, "c1"))
        hopeless = pod("w-9", "c2", state="invalid-image")
        server.pods["w-9"] = {}
        table.accept(hopeless)
        await Retention(api, table, "d", per_cluster=1, in_all=10).delete_all()
        assert server.selected == [
            (
                "headrace.dev/deployment=d,headrace.dev/cluster=c1,headrace.dev/process in (w-2,w-1)",
                "status.phase!=Pending,status.phase!=Running,status.phase!=Unknown",
            )
        ]
        assert ("DELETE", "w-9") in server.requests
        assert len(server.requests) == 2


def beside(other: str, cluster: str = "c1", *, version: int = 1) -> dict[str, Any]:
    """A pod whose Dask process has ended, beside a container of somebody else in a state."""
    made: dict[str, Any] = recorded("exit-3")
    made["metadata"] |= {"name": "w-1", "uid": "w-1", "namespace": "ns", "resourceVersion": str(version)}
    made["metadata"]["annotations"] |= {"headrace.dev/cluster": cluster, "headrace.dev/process": "w-1"}
    made["status"]["phase"] = "Running"
    made["status"]["containerStatuses"].append({"name": "proxy", "state": {other: {}}})
    return made


@pytest.mark.parametrize("other", ["running", "waiting"])
async def test_a_pod_in_which_a_container_of_others_outlives_dask_is_ended_once_and_kept(
    tmp_path: Path, other: str
) -> None:
    async with small_server(tmp_path) as (server, api):
        table = PodTable(remembered=100)
        server.pods["w-1"] = beside(other)
        table.accept(decoded(beside(other, version=0)))
        retention = Retention(api, table, "d", per_cluster=1, in_all=10)
        for _ in range(2):
            await retention.delete_all()
        assert server.requests == [("PATCH", "w-1")]
        assert server.pods["w-1"]["spec"]["activeDeadlineSeconds"] == 1
        [status] = table.statuses()
        assert (status.exit_cause, status.exit_code) == (ExitCause.EXITED, 3)


async def test_a_pod_whose_containers_have_all_ended_is_left_to_its_kubelet(tmp_path: Path) -> None:
    async with small_server(tmp_path) as (server, api):
        table = PodTable(remembered=100)
        table.accept(decoded(beside("terminated")))
        await Retention(api, table, "d", per_cluster=1, in_all=10).delete_all()
        assert server.requests == []


async def test_what_cannot_be_deleted_is_tried_again(tmp_path: Path) -> None:
    async with small_server(tmp_path) as (server, api):
        table = PodTable(remembered=100)
        table.accept(pod("w-1", "c1"))
        table.changed.clear()
        server.refuses["DELETE"] = "not now"
        await Retention(api, table, "d", per_cluster=0, in_all=10).delete_all()
        await asyncio.wait_for(table.changed.wait(), 60)


async def test_a_fault_of_ours_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(retention, "_PAUSE_SECONDS", (0.0, 0.0))
    async with small_server(tmp_path) as (server, api):
        faults = [RuntimeError("the token's file is empty")]
        delete_pods = api.delete_pods

        async def delete(*arguments: Any, **further: Any) -> None:
            if faults:
                raise faults.pop()
            await delete_pods(*arguments, **further)

        monkeypatch.setattr(api, "delete_pods", delete)
        table = PodTable(remembered=100)
        table.accept(pod("w-1", "c1"))
        running = asyncio.create_task(Retention(api, table, "d", per_cluster=0, in_all=10).run())
        await eventually(lambda: server.selected)
        running.cancel()
