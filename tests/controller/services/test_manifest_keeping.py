"""When manifests are written again, and when not."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from tests.conftest import Eventually
from tests.controller.services.fake_backend import FakeBackend, FakeMachine

from headrace_chassis.seal import Seal
from headrace_controller.backends.base import BackendError
from headrace_controller.model import AdaptRange, Cluster, ClusterId, EndReason, Group, Spec, UserId
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


async def test_what_is_to_end_is_written_no_more(
    backend: Backend, keeping: ManifestKeeping, eventually: Eventually
) -> None:
    keeping.refresh(cluster(Group()))
    ending = cluster(Group())
    keeping.refresh(replace(ending, spec=replace(ending.spec, stop=EndReason.USER)))
    keeping.refresh(cluster(Group(), name="c2"))
    await eventually(lambda: backend.written)
    assert [MANIFESTS.open(written).cluster for written in backend.written] == ["c2"]
