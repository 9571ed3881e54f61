"""What a round of measuring costs the controller, and what culling does with it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from statistics import median

from benchmarks.growth.schedulers import simulated_schedulers
from benchmarks.growth.tables import Row
from tests.controller.builders import new_cluster_id, running_cluster

from headrace_controller.culling.observed import first
from headrace_controller.culling.rules import findings
from headrace_controller.model import Cluster
from headrace_controller.policy.file import PolicyFile
from headrace_controller.signals.collection import Collection
from headrace_controller.signals.measured import Measured
from headrace_controller.signals.prometheus import Prometheus
from headrace_controller.signals.rounds import MeasuredSignals
from headrace_controller.signals.source import Source, Target

_ROUNDS = 3
_AGE_SECONDS = 10_000.0
_HOSTS = 250  # of a network of 127.0.0.0/8


async def measure(small: bool) -> AsyncIterator[list[Row]]:
    yield [await _row(count) for count in ((100, 1_000) if small else (1_000, 10_000))]


async def _row(count: int) -> Row:
    row = Row(count, "schedulers: CPU of a round, s")
    now = time.time()
    clusters = [replace(running_cluster(report={"idle_since": now}), id=new_cluster_id()) for _ in range(count)]
    async with simulated_schedulers(cluster.id for cluster in clusters) as port:
        targets = [Target(one.id, now - _AGE_SECONDS, now, _address(n, port)) for n, one in enumerate(clusters)]
        with ExitStack() as stack:
            measured = {
                name: MeasuredSignals(stack.enter_context(closing(source)), lambda: targets, interval=15, stale=90)
                for name, source in _sources(count, port).items()
            }
            for name, signals in measured.items():
                costs = [await _cost(signals.measure) for _ in range(_ROUNDS + 1)]
                assert all(isinstance(signals.of(target.cluster), Measured) for target in targets)
                row.figures[name] = median(costs[1:])
            row.figures["all culling rules, once for each"] = _cost_of_rules(measured["a Prometheus"], clusters)
    return row


def _sources(count: int, port: int) -> dict[str, Source]:
    def collection(kept: int) -> Collection:
        return Collection(lambda _: "k" * 43, at_once=100, most_kept=kept, timeout=60, longest=600)

    return {
        "own collection": collection(count),
        "own collection, connecting anew": collection(0),
        "a Prometheus": Prometheus(f"http://127.0.0.1:{port}", "headrace-schedulers", timeout=60),
    }


def _cost_of_rules(signals: MeasuredSignals, clusters: list[Cluster]) -> float:
    """Processor time of looking at all rules once for each cluster; none of them does so before something changes."""
    rules, before = PolicyFile().culling, time.process_time()
    for cluster in clusters:
        findings(cluster, rules, first(signals.of(cluster.id)), {}, time.time())
    return time.process_time() - before


async def _cost(work: Callable[[], Awaitable[None]]) -> float:
    before = time.process_time()
    await work()
    return time.process_time() - before


def _address(number: int, port: int) -> str:
    """Another one for each scheduler."""
    return f"127.{1 + number // _HOSTS**2}.{number // _HOSTS % _HOSTS}.{number % _HOSTS + 1}:{port}"
