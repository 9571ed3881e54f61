"""The kernel kills a process because memory ran out: a real limit, of a control group that the process is moved to."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.running import wait_until

from headrace import Gateway, GatewayCluster

LIMIT = 256 << 20
ROOT = Path("/sys/fs/cgroup")
# Of both versions of control groups: where a new one is made, and what bounds its memory and its swap.
VERSIONS = (
    (ROOT / "memory", ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
    (ROOT, ("memory.max", "memory.swap.max")),
)


@pytest.fixture
def out_of_memory() -> Iterator[Callable[[int], None]]:
    """Bounds the memory of a process."""
    group = _make_group()
    if group is None:
        pytest.skip("NOT TESTED: a kill by the kernel, because no control group with a memory limit can be made here")

    def bound(process: int) -> None:
        (group / "cgroup.procs").write_text(str(process))

    yield bound
    wait_until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def _make_group() -> Path | None:
    for parent, (memory, swap) in VERSIONS:
        group = parent / f"headrace-test-{secrets.token_hex(4)}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / memory).write_text(str(LIMIT))
        except OSError:
            group.rmdir()
            continue
        if (group / swap).exists():
            (group / swap).write_text("0" if swap == "memory.swap.max" else str(LIMIT))
        return group
    return None


def _tasks() -> tuple[Callable[[], None], Callable[[], int]]:
    """Tasks that travel by value: the cluster does not have the tests."""

    def use_too_much() -> None:
        block = bytearray(512 << 20)
        block[:: 1 << 12] = b"x" * (len(block) >> 12)

    def pid() -> int:
        return os.getpid()

    return use_too_much, pid


use_too_much, pid = _tasks()


def test_a_worker_that_the_kernel_kills_is_replaced_and_the_event_says_why(
    gateway: Gateway, out_of_memory: Callable[[int], None]
) -> None:
    client: Any
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.scale(2)
        client.wait_for_workers(2, timeout=60)
        (victim, killed), (other, untouched) = client.run(pid).items()
        out_of_memory(killed)
        kept = client.submit(pid, workers=[other], pure=False)
        future = client.submit(use_too_much, workers=[victim])
        wait_until(lambda: _lost(cluster))
        future.release()
        [message] = _lost(cluster)
        assert "Its worker process was killed by signal 9 (SIGKILL): perhaps by the kernel, because memory" in message
        assert "This costs 1 task to run again." in message
        client.wait_for_workers(2, timeout=60)
        assert kept.result() == untouched
        assert untouched in client.run(pid).values()


def test_a_scheduler_that_the_kernel_kills_fails_its_own_cluster_with_the_reason(
    gateway: Gateway, out_of_memory: Callable[[int], None]
) -> None:
    client: Any
    theirs: Any
    with gateway.new_cluster() as other, other.get_client() as theirs:
        other.scale(1)
        with gateway.new_cluster() as cluster, cluster.get_client() as client:
            out_of_memory(client.run_on_scheduler(pid))
            future = theirs.submit(pid)
            with contextlib.suppress(OSError):
                client.run_on_scheduler(use_too_much)
            wait_until(lambda: gateway.get_cluster(cluster.name).status.name == "FAILED")
            [message] = [event.message for event in cluster.events() if event.type == "Failed"]
            assert "memory" in message
        assert future.result(timeout=60) in theirs.run(pid).values()


def _lost(cluster: GatewayCluster[Any]) -> list[str]:
    return [event.message for event in cluster.events() if event.type == "WorkersLost"]
