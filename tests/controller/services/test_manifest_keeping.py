"""When manifests are written again, and when not."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from msgspec import msgpack
from tests.conftest import Eventually
from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine

from headrace_chassis.identity.seal import Seal
from headrace_controller.backends.base import BackendError
from headrace_controller.model import AdaptRange, Cluster, ClusterId, EndReason, Group, Phase, Spec, Status, UserId
from headrace_controller.reconciling.manifest_keeping import ManifestKeeping
from headrace_controller.reconciling.manifests import Manifests
from headrace_controller.store import Store


class Secrets:
    async def secrets(self, cluster: ClusterId) -> bytes:
        return b"of " + cluster.encode()


class Backend(FakeBackend):
    """Notes what is written; may be in trouble."""

    def __init__(self) -> None:
        super().__init__(FakeMachine())
        self.written: list[bytes] = []
        self.trouble = False

    async def update_manifest(self, cluster: str, manifest: bytes) -> None:
        self.written.append(manifest)
        if self.trouble:
            raise BackendError("no room")


MANIFESTS = Manifests(Seal([bytes(32)]))
ADAPTIVE = Group(name="a", adapt=AdaptRange(minimum=0, maximum=9))


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def keeping(backend: Backend) -> ManifestKeeping:
    return ManifestKeeping(cast("Store", Secrets()), backend, MANIFESTS)


def cluster(*groups: Group, name: str = "c1") -> Cluster:
    return Cluster(id=ClusterId(name), owner=UserId("ann"), created=0, spec=Spec(groups=groups))


async def test_a_start_and_the_size_of_an_adaptive_group_are_no_news(
    backend: Backend, keeping: ManifestKeeping, eventually: Eventually
) -> None:
    assert MANIFESTS.open(await keeping.first(cluster(ADAPTIVE))).secrets == b"of c1"
    keeping.refresh(cluster(ADAPTIVE))
    keeping.refresh(cluster(replace(ADAPTIVE, size=4)))
    keeping.refresh(cluster(Group(), name="c2"))
    await eventually(lambda: backend.written)
    assert [MANIFESTS.open(written).cluster for written in backend.written] == ["c2"]


async def test_of_many_changes_the_last_is_written(
    backend: Backend, keeping: ManifestKeeping, eventually: Eventually
) -> None:
    for size in range(5):
        keeping.refresh(cluster(Group(size=size)))
    await eventually(lambda: backend.written)
    assert [MANIFESTS.open(written).spec.groups[0].size for written in backend.written] == [4]


async def test_after_trouble_or_doubt_the_next_step_writes(
    backend: Backend, keeping: ManifestKeeping, eventually: Eventually
) -> None:
    backend.trouble = True
    keeping.refresh(cluster(Group()))
    await eventually(lambda: len(backend.written) == 1)
    backend.trouble = False
    keeping.refresh(cluster(Group()))
    await eventually(lambda: len(backend.written) == 2)
    keeping.doubt(0)
    keeping.refresh(cluster(Group()))
    await eventually(lambda: len(backend.written) == 3)


async def test_that_it_is_to_end_is_written_and_after_its_end_nothing(
    backend: Backend, keeping: ManifestKeeping
) -> None:
    keeping.refresh(cluster(Group()))
    for ending in (asked_to_stop(cluster(Group())), failing(cluster(Group(), name="c2"))):
        keeping.refresh(ending)
        await keeping.written(ending.id)
        keeping.refresh(replace(ending, status=Status(phase=Phase.STOPPED)))
        await keeping.written(ending.id)
    manifests = [MANIFESTS.open(written) for written in backend.written]
    assert [(manifest.cluster, manifest.spec.stop) for manifest in manifests] == [
        ("c1", EndReason.USER),
        ("c2", EndReason.SCHEDULER_LOST),
    ]


async def test_what_cannot_be_written_is_not_waited_for(backend: Backend, keeping: ManifestKeeping) -> None:
    backend.trouble = True
    keeping.refresh(asked_to_stop(cluster(Group())))
    await keeping.written(ClusterId("c1"))
    assert len(backend.written) == 1
    await keeping.written(ClusterId("c1"))


def test_a_manifest_from_before_stops_were_kept_is_read() -> None:
    spec = {"alias": "lab", "groups": [{"name": "default", "size": 2}]}
    before = {"cluster": "c1", "owner": "ann", "created": 1.5, "generation": 3, "spec": spec, "secrets": b"s"}
    manifest = MANIFESTS.open(Seal([bytes(32)]).seal(msgpack.encode(before)))
    assert manifest.spec == Spec(alias="lab", groups=(Group(size=2),))
    assert manifest.spec.stop is None


def asked_to_stop(cluster: Cluster) -> Cluster:
    return replace(cluster, spec=replace(cluster.spec, stop=EndReason.USER))


def failing(cluster: Cluster) -> Cluster:
    return replace(cluster, status=Status(phase=Phase.STOPPING, reason=EndReason.SCHEDULER_LOST))
