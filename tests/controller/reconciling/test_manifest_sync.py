"""When manifests are written again, and when not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine
from tests.conftest import Eventually
from tests.controller.builders import new_cluster

from headrace_chassis.identity.seal import Seal
from headrace_controller.backends.base import BackendError
from headrace_controller.model import AdaptRange, Cluster, ClusterId, EndReason, Group, Phase, Queued, Status
from headrace_controller.reconciling.manifest_sync import ManifestSync
from headrace_controller.reconciling.manifests import ManifestSealer
from headrace_controller.store.records import Records


class Secrets:
    async def secrets(self, cluster: ClusterId) -> bytes:
        return b"of " + cluster.encode()


class Backend(FakeBackend):
    """Notes what is written; may fail."""

    def __init__(self) -> None:
        super().__init__(FakeMachine())
        self.written: list[bytes] = []
        self.fails = False

    async def update_manifest(self, cluster: str, manifest: bytes) -> None:
        _ = cluster
        self.written.append(manifest)
        if self.fails:
            raise BackendError("no room")


SEALER = ManifestSealer(Seal([bytes(32)]))
ADAPTIVE = Group(name="a", adapt=AdaptRange(minimum=0, maximum=9))


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def manifests(backend: Backend) -> ManifestSync:
    return ManifestSync(cast("Records", Secrets()), backend, SEALER)


def cluster(*groups: Group, name: str = "c1", **facts: Any) -> Cluster:
    return replace(new_cluster(name, groups=groups), **facts)


async def test_a_launch_and_what_adaptive_scaling_asks_for_are_no_news(
    backend: Backend, manifests: ManifestSync
) -> None:
    assert SEALER.open(await manifests.initial(cluster(ADAPTIVE))).secrets == b"of c1"
    manifests.sync(cluster(ADAPTIVE))
    manifests.sync(cluster(ADAPTIVE, targets={"a": 4}), changed=True)
    await manifests.written(ClusterId("c1"))
    assert backend.written == []


async def test_workers_that_wait_for_room_are_not_in_it(backend: Backend, manifests: ManifestSync) -> None:
    queued = Queued(
        since=1, turn=1, subject="users/ann", resource="workers", most=4, used=4, asked=9, granted={"default": 3}
    )
    waiting = cluster(Group(size=8), ADAPTIVE, queued=queued)
    await manifests.initial(waiting)
    manifests.sync(replace(waiting, queued=replace(queued, granted={"default": 5})))
    await manifests.written(ClusterId("c1"))
    assert [SEALER.open(sealed).spec.groups for sealed in backend.written] == [(Group(size=5), ADAPTIVE)]


async def test_of_many_changes_the_last_is_written(
    backend: Backend, manifests: ManifestSync, eventually: Eventually
) -> None:
    await manifests.initial(cluster(Group()))
    for size in range(5):
        manifests.sync(cluster(Group(size=size)))
    await eventually(lambda: backend.written)
    assert [SEALER.open(written).spec.groups[0].size for written in backend.written] == [4]


async def test_a_replica_that_takes_over_assumes_that_manifests_are_kept_until_it_repairs_them(
    backend: Backend, manifests: ManifestSync
) -> None:
    never_changed, changed = cluster(Group()), cluster(Group(size=2), name="c2", generation=3)
    for _ in range(2):
        for one in (never_changed, changed):
            manifests.sync(one)
            await manifests.written(one.id)
    assert backend.written == []
    for _ in range(2):
        for one in (never_changed, changed):
            manifests.repair(one)
            await manifests.written(one.id)
    assert [SEALER.open(written).cluster for written in backend.written] == ["c2"]


async def test_changes_that_nobody_has_carried_out_are_written_by_a_replica_that_takes_over(
    backend: Backend, manifests: ManifestSync
) -> None:
    manifests.sync(cluster(Group(size=2), generation=3), changed=True)
    await manifests.written(ClusterId("c1"))
    manifests.sync(replace(cluster(Group(), name="c2"), status=failing(cluster(Group())).status))
    await manifests.written(ClusterId("c2"))
    assert [SEALER.open(written).cluster for written in backend.written] == ["c1", "c2"]


async def test_after_a_failure_the_next_step_writes(backend: Backend, manifests: ManifestSync) -> None:
    backend.fails = True
    await manifests.initial(cluster(Group()))
    for fails in (True, False, False):
        backend.fails = fails
        manifests.sync(cluster(Group(size=1)))
        await manifests.written(ClusterId("c1"))
    assert len(backend.written) == 2


async def test_what_a_failed_launch_may_not_have_written_the_next_step_writes(
    backend: Backend, manifests: ManifestSync
) -> None:
    """A backend may have launched the scheduler, and failed to keep a manifest that is large."""
    sealed = await manifests.initial(cluster(Group()))
    manifests.launch_failed(ClusterId("c1"))
    for _ in range(2):
        manifests.sync(cluster(Group()))
        await manifests.written(ClusterId("c1"))
    assert [SEALER.open(written) for written in backend.written] == [SEALER.open(sealed)]


async def test_after_a_lost_shard_nothing_is_known(backend: Backend, manifests: ManifestSync) -> None:
    await manifests.initial(cluster(Group()))
    manifests.discard_all(0)
    manifests.sync(cluster(Group()), changed=True)
    await manifests.written(ClusterId("c1"))
    assert len(backend.written) == 1


async def test_that_it_is_to_end_is_written_and_after_its_end_nothing(
    backend: Backend, manifests: ManifestSync
) -> None:
    for one in (asked_to_stop(cluster(Group())), failing(cluster(Group(), name="c2"))):
        await manifests.initial(cluster(Group(), name=one.id))
        manifests.sync(one)
        await manifests.written(one.id)
        manifests.sync(replace(one, status=Status(phase=Phase.STOPPED)))
        manifests.repair(replace(one, status=Status(phase=Phase.STOPPED)))
        await manifests.written(one.id)
    written = [SEALER.open(written) for written in backend.written]
    assert [(manifest.cluster, manifest.spec.stop, manifest.ending, manifest.message) for manifest in written] == [
        ("c1", True, None, ""),
        ("c2", False, EndReason.SCHEDULER_LOST, "gone"),
    ]


async def test_what_cannot_be_written_is_not_waited_for(backend: Backend, manifests: ManifestSync) -> None:
    backend.fails = True
    manifests.sync(asked_to_stop(cluster(Group())))
    await manifests.written(ClusterId("c1"))
    assert len(backend.written) == 1
    await manifests.written(ClusterId("c1"))


def asked_to_stop(one: Cluster) -> Cluster:
    return replace(one, spec=replace(one.spec, stop=True))


def failing(one: Cluster) -> Cluster:
    return replace(one, status=Status(phase=Phase.STOPPING, reason=EndReason.SCHEDULER_LOST, message="gone"))
