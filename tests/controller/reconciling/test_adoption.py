"""The record of a cluster from its manifest and what runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.controller.builders import NOW, exited_process, new_cluster, process

from headrace_chassis.identity.seal import Seal
from headrace_controller.backends.process import ProcessStatus
from headrace_controller.meter import Meter, Rates, Sums
from headrace_controller.model import AdaptRange, Cluster, EndReason, Group, Phase, Report, Status
from headrace_controller.reconciling.adoption import restored
from headrace_controller.reconciling.manifests import Manifest, ManifestSealer

GROUPS = (Group(size=3), Group(name="adaptive", adapt=AdaptRange(minimum=1, maximum=4)))
SEALER = ManifestSealer(Seal([bytes(32)]))


def manifest_of(cluster: Cluster) -> Manifest:
    return SEALER.open(SEALER.make(cluster, b"secrets"))


def running(*names: str, **facts: Any) -> dict[str, ProcessStatus]:
    found = [process(), *(process(name, started=NOW - 5, **facts) for name in names)]
    return {status.key.process: status for status in found}


def test_a_record_is_restored_with_the_workers_that_run() -> None:
    meter = Meter(since=5, rates=Rates(clusters=1, cores=2000), spent=Sums(cores=2**60), currency="EUR")
    cluster = replace(new_cluster("c1", groups=GROUPS, alias="lab"), groups=("team",), generation=4, meter=meter)
    seen = running("default-1-aaaaaa", "default-12-bbbbbb", "adaptive-3-cccccc")
    seen["default-7-dddddd"] = exited_process("default-7-dddddd")
    seen["nothing"] = process("nothing")

    record = restored(manifest_of(cluster), seen, NOW)

    assert (record.id, record.owner, record.groups, record.created) == ("c1", "ann", ("team",), cluster.created)
    assert (record.spec, record.generation) == (cluster.spec, 4)
    assert list(record.workers) == ["default-1-aaaaaa", "default-12-bbbbbb", "adaptive-3-cccccc"]
    assert {worker.created for worker in record.workers.values()} == {NOW - 5}
    assert record.targets == {"adaptive": 1}
    assert record.meter == meter
    assert record.status == Status(workers_made=12, scheduler_created=NOW)
    assert record.report == Report()  # no address is believed that was not checked now


def test_an_adaptive_group_is_to_have_what_runs_within_its_range() -> None:
    cluster = new_cluster("c1", groups=GROUPS)
    for count, target in ((0, 1), (2, 2), (6, 4)):
        seen = running(*(f"adaptive-{n}-aaaaaa" for n in range(count)))
        assert restored(manifest_of(cluster), seen, NOW).targets == {"adaptive": target}


def test_workers_newer_than_the_manifest_are_kept() -> None:
    cluster = new_cluster("c1", groups=GROUPS)
    seen = running(*(f"default-{n}-aaaaaa" for n in range(5)), generation=6)
    record = restored(manifest_of(cluster), seen, NOW)
    assert record.spec.groups[0].size == 5
    assert record.generation == 6


def test_a_cluster_that_was_stopping_goes_on_stopping() -> None:
    failing = replace(
        new_cluster("c1"), status=Status(phase=Phase.STOPPING, reason=EndReason.OUT_OF_MEMORY, message="too much")
    )
    status = restored(manifest_of(failing), running(), NOW).status
    assert (status.phase, status.reason, status.message) == (Phase.STOPPING, EndReason.OUT_OF_MEMORY, "too much")
    stopped = replace(new_cluster("c1"), spec=replace(new_cluster("c1").spec, stop=True))
    assert restored(manifest_of(stopped), running(), NOW).spec.stop
