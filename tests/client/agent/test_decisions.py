"""What the agent decides, without any Dask: sizes, demand, outbox, identity, settings."""

from __future__ import annotations

import pytest

from headrace.agent.adaptive import Range, Steadied, divide
from headrace.agent.demand import Demand, Load
from headrace.agent.groups import group_of
from headrace.agent.identity import Identity, IdentityMissing
from headrace.agent.outbox import Outbox
from headrace.agent.settings import dask_config
from headrace.internal.v1 import agent_service_pb2 as pb

CPU, GPU = Range("cpu", 0, 8), Range("gpu", 1, 2)


@pytest.mark.parametrize(
    ("wanted", "ranges", "running", "sizes"),
    [
        (5, [CPU], {"cpu": 2}, {"cpu": 5}),
        (50, [CPU], {"cpu": 2}, {"cpu": 8}),
        (0, [GPU], {"gpu": 2}, {"gpu": 1}),
        (5, [CPU], {"cpu": 2, "fixed": 3}, {"cpu": 2}),
        (2, [CPU], {"fixed": 3}, {"cpu": 0}),
        (9, [CPU, GPU], {"cpu": 8}, {"cpu": 8, "gpu": 1}),
        (20, [CPU, GPU], {}, {"cpu": 8, "gpu": 2}),
        (3, [], {"fixed": 3}, {}),
    ],
)
def test_workers_are_divided_over_groups(
    wanted: int, ranges: list[Range], running: dict[str, int], sizes: dict[str, int]
) -> None:
    assert divide(wanted, ranges, running) == sizes


def test_a_size_rises_at_once_and_falls_after_some_samples() -> None:
    steadied = Steadied(3)
    assert [steadied.look(size) for size in (1, 5, 0, 0, 0, 2)] == [1, 5, 5, 5, 0, 2]


def test_a_look_between_regular_ones_only_raises() -> None:
    steadied = Steadied(3)
    steadied.look(2)
    assert steadied.raise_to(6) == 6
    assert steadied.raise_to(0) == 6
    assert [steadied.look(0) for _ in range(3)] == [6, 6, 0]


def _load(**changes: int) -> Load:
    return Load(**{"target": 1, "backlog": 1000, "finished": 0, "workers": 2, "threads": 4, **changes})


def test_many_short_tasks_ask_for_workers_by_the_rate_at_which_they_end() -> None:
    demand = Demand(target_duration=5)
    demand.wanted(_load(), now=0)
    assert demand.wanted(_load(finished=100), now=1) == 4  # 10 s of work left at this rate; at most twice as many


def test_a_backlog_that_is_soon_done_asks_for_nothing_more() -> None:
    demand = Demand(target_duration=5)
    demand.wanted(_load(), now=0)
    assert demand.wanted(_load(finished=900, backlog=100), now=1) == 1


def test_a_backlog_no_larger_than_the_threads_needs_no_more_workers() -> None:
    demand = Demand(target_duration=5)
    demand.wanted(_load(backlog=4), now=0)
    assert demand.wanted(_load(backlog=4, finished=1), now=1) == 1


def test_dasks_own_estimate_counts_where_it_asks_for_more() -> None:
    assert Demand(target_duration=5).wanted(_load(target=7), now=0) == 7


def test_two_looks_in_quick_succession_say_nothing_of_a_rate() -> None:
    demand = Demand(target_duration=5)
    demand.wanted(_load(), now=0)
    assert demand.wanted(_load(finished=1), now=0.1) == 1


@pytest.mark.parametrize(("process", "group"), [("default-1-abc234", "default"), ("big-gpu-12-abc234", "big-gpu")])
def test_the_group_is_in_a_workers_id(process: str, group: str) -> None:
    assert group_of(process) == group


def test_of_a_worker_that_left_and_came_back_only_its_return_is_told() -> None:
    outbox = Outbox()
    outbox.left("w")
    outbox.joined("w", "tls://b")
    [request] = outbox.take()
    assert not request.change.left
    assert [(w.process, w.address) for w in request.change.joined] == [("w", "tls://b")]


def test_a_hello_stands_for_all_changes_before_but_not_for_events() -> None:
    outbox = Outbox()
    outbox.joined("w", "tls://b")
    outbox.activity(pb.Activity(clients=1))
    outbox.event("SOMETHING", "happened")
    outbox.begin(pb.SchedulerHello)
    assert [request.WhichOneof("report") for request in outbox.take()] == ["event"]
    assert list(outbox.take()) == []


def _identity(**changes: str) -> dict[str, str]:
    identity = Identity(
        deployment="d", cluster="c", process="p", role="worker", generation=3, endpoint="unix:/s", ca_pem="", token="t"
    )
    return identity.to_environment() | changes


def test_an_identity_travels_through_the_environment() -> None:
    identity = Identity.from_environment(_identity())
    assert identity.generation == 3
    assert identity.to_environment() == _identity()
    assert "'t'" not in repr(identity)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"HEADRACE_ROLE": "boss"}, "not 'boss'"), ({"HEADRACE_GENERATION": "x"}, "not a number")],
)
def test_a_wrong_identity_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(IdentityMissing, match=message):
        Identity.from_environment(_identity(**changes))


def test_whole_numbers_of_a_configuration_stay_whole() -> None:
    response = pb.EnrollResponse()
    response.dask_config.update({"a": {"b": 3, "c": 0.5, "d": [1, "x", None, True]}})
    assert dask_config(response.dask_config) == {"a": {"b": 3, "c": 0.5, "d": [1, "x", None, True]}}
    assert isinstance(dask_config(response.dask_config)["a"]["b"], int)  # type: ignore[index]
