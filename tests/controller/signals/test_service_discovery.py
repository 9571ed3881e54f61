"""The lists that Prometheus reads: which targets, and with which labels and keys."""

from __future__ import annotations

import json
from typing import Any

from tests.controller.builders import running_cluster, running_worker, worker
from tests.controller.signals.pages import key

from headrace_controller.signals.service_discovery import target_groups, worker_target_groups

ADDRESS = {"dashboard_address": "10.0.0.7:8787"}


def test_each_worker_that_has_joined_is_read_through_its_scheduler() -> None:
    joined = running_worker("w1"), running_worker("w2")
    busy = running_cluster(*joined, worker("w3"), name="c1", report=ADDRESS)
    empty = running_cluster(name="c2", report=ADDRESS)
    [scheduler, _] = json.loads(target_groups([busy, empty], key))
    groups: list[Any] = json.loads(worker_target_groups([busy, empty], key))
    assert [group["labels"]["worker"] for group in groups] == [record.id for record in joined]
    for group, record in zip(groups, joined, strict=True):
        assert group["targets"] == scheduler["targets"] == ["10.0.0.7:8787"]
        path = f"/metrics/headrace/workers/{record.id}"
        assert group["labels"] == scheduler["labels"] | {"__metrics_path__": path, "worker": record.id}
