"""What the agent reads from a scheduler; `test_cluster` has more, from running ones."""

from __future__ import annotations

import pytest
from distributed import Scheduler
from distributed.metrics import time

from headrace.agent.scheduler_state import group_of, idle_timeout_passed


@pytest.mark.parametrize(("process", "group"), [("default-1-abc234", "default"), ("big-gpu-12-abc234", "big-gpu")])
def test_the_group_is_in_a_workers_id(process: str, group: str) -> None:
    assert group_of(process) == group


@pytest.mark.parametrize(
    ("timeout", "idle_seconds", "passed"), [(10, 11, True), (10, 9, False), (10, None, False), (None, 11, False)]
)
async def test_the_idle_timeout_has_passed_when_the_scheduler_was_idle_for_longer(
    timeout: float | None, idle_seconds: float | None, passed: bool
) -> None:
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0") as scheduler:
        scheduler.idle_timeout = timeout
        scheduler.idle_since = None if idle_seconds is None else time() - idle_seconds
        assert idle_timeout_passed(scheduler) is passed
        scheduler.idle_timeout = None
