"""Pods in standby that fail, and answers that are lost. Time is the test's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.backends.kubernetes.pods import decoded
from tests.backends.kubernetes.small_server import SmallServer, small_server
from tests.backends.processes import new_cluster
from tests.backends.standby_contract import pattern, process
from tests.conftest import Eventually

from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_backend_kubernetes.pod_templates import PodTemplates
from headrace_backend_kubernetes.process_pods import ProcessPods
from headrace_backend_kubernetes.profile_settings import PodDefaults
from headrace_backend_kubernetes.seals import PodSeals
from headrace_backend_kubernetes.standby import StandbyPool
from headrace_backend_kubernetes.standby_pods import is_ready, standby_pod
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import SCHEDULER, ProcessKey, Role

PODS = ProcessPods(deployment="d", endpoint="c:1", token_seconds=3600, seals=PodSeals([b"key"], "d"))
TEMPLATES = PodTemplates(PodDefaults.model_validate({"image": "dask:1"}), {}, "ns")
KEPT = pattern(Role.SCHEDULER)


class Pool:
    """A pool on a small API server, the watch that shows it what a test changes, and a clock."""

    def __init__(self, server: SmallServer, api: Api) -> None:
        self.server = server
        self.now = 1_000_000.0
        self.table = PodTable(remembered=10)
        self.standby = StandbyPool(
            api, self.table, PODS, lambda spec: standby_pod(spec, PODS, TEMPLATES), clock=lambda: self.now
        )

    @property
    def created(self) -> int:
        return sum(method == "POST" for method, _ in self.server.requests)

    def keep(self, number: int) -> None:
        self.standby.keep([(KEPT, number)])

    def show(self, name: str, status: dict[str, Any], **labels: str) -> None:
        """A pod changes, and the watch says so."""
        pod = self.server.pods[name]
        pod["status"] = status
        pod["metadata"]["labels"] |= {f"headrace.dev/{label}": value for label, value in labels.items()}
        pod["metadata"]["resourceVersion"] = str(int(pod["metadata"]["resourceVersion"]) + 1000)
        self.table.accept(decoded(pod))

    def fail(self) -> None:
        """All pods that are there end at once."""
        for name in list(self.server.pods):
            self.show(name, {"phase": "Failed", "message": "it has no Python"})

    async def wait_ready(self, name: str, eventually: Eventually) -> asyncio.Task[Any]:
        task = asyncio.create_task(self.standby.stand_by(f"uid-of-{name}"))
        await eventually(lambda: any(each.name == name and is_ready(each) for each in self.table.standby.values()))
        return task

    async def look(self, eventually: Eventually) -> None:
        """Returns when the pool has looked at all there is: it has withdrawn a pod of no kind that it keeps."""
        name = f"withdrawn-{len(self.server.requests)}"
        labels = {"headrace.dev/standby": "none"}
        self.server.pods[name] = {
            "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1", "labels": labels}
        }
        self.table.accept(decoded(self.server.pods[name]))
        await eventually(lambda: ("DELETE", name) in self.server.requests)
        self.table.delete(decoded({"metadata": {"name": name, "namespace": "ns", "uid": name}}))


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    async with small_server(tmp_path) as (server, api):
        pool = Pool(server, api)
        running = asyncio.create_task(pool.standby.run())
        yield pool
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_pods_that_end_at_once_are_tried_again_one_at_a_time(pool: Pool, eventually: Eventually) -> None:
    pool.keep(3)
    await eventually(lambda: pool.created == 3)
    pool.fail()
    await eventually(lambda: not pool.server.pods)
    await pool.look(eventually)
    assert pool.created == 3
    pool.now += 10
    await pool.look(eventually)
    await pool.look(eventually)  # the pod that it tries with is not ready yet
    assert pool.created == 4
    [name] = pool.server.pods
    waiting = await pool.wait_ready(name, eventually)
    await eventually(lambda: pool.created == 6)
    await pool.look(eventually)
    assert pool.created == 6
    waiting.cancel()


async def test_pauses_grow_to_five_minutes(pool: Pool, eventually: Eventually) -> None:
    pool.keep(1)
    await eventually(lambda: pool.created == 1)
    for number, pause in enumerate([2, 4, 8, 16, 32, 64, 128, 256, 300, 300], 1):
        pool.fail()
        await eventually(lambda: not pool.server.pods)
        pool.now += pause - 0.5
        await pool.look(eventually)
        assert pool.created == number
        pool.now += 1
        await pool.look(eventually)
        assert pool.created == number + 1


async def test_a_refusal_is_one_request_and_a_pause(pool: Pool, eventually: Eventually) -> None:
    pool.server.refuses["POST"] = "exceeded quota: small"
    pool.keep(3)
    await pool.look(eventually)
    await pool.look(eventually)
    assert pool.created == 1
    pool.now += 3
    pool.server.refuses.clear()
    await pool.look(eventually)
    assert pool.created == 2


async def test_a_pod_that_nobody_wants_is_deleted_although_that_was_refused_at_first(
    pool: Pool, eventually: Eventually
) -> None:
    pool.keep(1)
    await eventually(lambda: len(pool.table.standby) == 1)
    pool.server.refuses["PATCH"] = "not now"
    pool.standby.keep([])
    await eventually(lambda: "PATCH" in {method for method, _ in pool.server.requests})
    pool.server.refuses.clear()
    await eventually(lambda: not pool.server.pods)


@pytest.mark.parametrize("behind", [-3600, 0, 3600])
async def test_a_pod_that_runs_for_five_minutes_and_is_not_ready_is_replaced(
    pool: Pool, eventually: Eventually, behind: int
) -> None:
    """The clock of its node may differ from the controller's."""
    pool.keep(1)
    await eventually(lambda: pool.created == 1)
    [name] = pool.server.pods
    pool.now += 10_000  # it waits for a node, which is nobody's fault
    await pool.look(eventually)
    assert list(pool.server.pods) == [name]
    began = datetime.fromtimestamp(pool.now - behind, UTC).isoformat()
    container = pool.server.pods[name]["spec"]["containers"][0]["name"]
    running = {"name": container, "state": {"running": {"startedAt": began}}}
    pool.show(name, {"phase": "Running", "containerStatuses": [running]})
    await pool.look(eventually)
    pool.now += 299
    await pool.look(eventually)
    assert list(pool.server.pods) == [name]
    pool.now += 1
    await pool.look(eventually)
    assert not pool.server.pods
    pool.now += 3
    await pool.look(eventually)
    assert pool.created == 2


async def test_a_pod_whose_answer_was_lost_is_given_once(pool: Pool, eventually: Eventually) -> None:
    pool.keep(2)
    await eventually(lambda: len(pool.table.standby) == 2)
    waiting = [await pool.wait_ready(name, eventually) for name in list(pool.server.pods)]
    pool.server.lost_answers = 1
    cluster = new_cluster()
    assert await pool.standby.take([process(cluster)]) == []
    _is_given_once(pool, cluster)
    for task in waiting:
        task.cancel()


async def test_pauses_need_no_clock_that_may_be_set_and_others_read_when_a_pod_was_given(
    pool: Pool, eventually: Eventually
) -> None:
    """A clock that is set back would keep pods that failed once from being tried again until it is caught up with."""
    pool.keep(1)
    await eventually(lambda: len(pool.table.standby) == 1)
    [name] = pool.server.pods
    waiting = await pool.wait_ready(name, eventually)
    before = int(time.time())
    assert await pool.standby.take([process(new_cluster())]) == []
    assert before <= int(pool.server.pods[name]["metadata"]["annotations"]["headrace.dev/given"]) <= time.time()
    waiting.cancel()


async def test_a_process_is_not_launched_while_it_is_unknown_whether_it_got_a_pod(
    pool: Pool, eventually: Eventually
) -> None:
    pool.keep(2)
    await eventually(lambda: len(pool.table.standby) == 2)
    waiting = [await pool.wait_ready(name, eventually) for name in list(pool.server.pods)]
    pool.server.lost_answers = 1
    pool.server.refuses["GET"] = "not now"
    cluster = new_cluster()
    with pytest.raises(BackendError, match="it is not known whether pod dask-standby-"):
        await pool.standby.take([process(cluster)])
    pool.server.refuses.clear()
    assert await pool.standby.take([process(cluster)]) == []
    _is_given_once(pool, cluster)
    for task in waiting:
        task.cancel()


async def test_a_pod_is_asked_for_again_after_a_launch_that_was_cancelled(pool: Pool, eventually: Eventually) -> None:
    pool.keep(2)
    await eventually(lambda: len(pool.table.standby) == 2)
    waiting = [await pool.wait_ready(name, eventually) for name in list(pool.server.pods)]
    cluster, late = new_cluster(), asyncio.Event()
    pool.server.late.append(late)
    cancelled = asyncio.create_task(pool.standby.take([process(cluster)]))
    await eventually(lambda: not pool.server.late)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert await pool.standby.take([process(cluster)]) == []
    _is_given_once(pool, cluster)
    late.set()
    for task in waiting:
        task.cancel()


def _is_given_once(pool: Pool, cluster: str) -> None:
    given = [
        name
        for name, pod in pool.server.pods.items()
        if pod["metadata"]["annotations"].get("headrace.dev/cluster") == cluster
    ]
    pod = pool.table.pod(ProcessKey(cluster, SCHEDULER))
    assert pod
    assert given == [pod.name]
