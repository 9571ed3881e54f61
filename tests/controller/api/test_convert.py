"""What clients see of records, workers, events and options."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from tests.controller.builders import event, running_cluster, running_worker, worker

from headrace.access import Share
from headrace.option_types import Bool, Choice, Int, OptionType, OptionValue, Select, Text
from headrace.v1 import cluster_pb2 as pb
from headrace.v1 import right_pb2
from headrace.v1.enums import ConditionStatus, ConditionType, EventType, ExitCause, Right
from headrace_controller.api import convert
from headrace_controller.meter import Meter, Rates, Sums
from headrace_controller.model import (
    AdaptRange,
    ClusterId,
    Condition,
    EndReason,
    Exit,
    Group,
    Phase,
    Severity,
    WorkerState,
)
from headrace_controller.options.catalogue import Option

GROUPS = (
    Group(name="fixed", size=2, options={"worker_memory": 2**30}),
    Group(name="bounded", size=1, adapt=AdaptRange(minimum=1, maximum=4)),
    Group(name="open", size=3, adapt=AdaptRange(minimum=0)),
)
_RUNNING = running_cluster(
    running_worker("fixed-1"),
    worker("fixed-2"),
    worker("fixed-3", WorkerState.RETIRING),
    worker("fixed-4", WorkerState.CLOSED),
    name="c1",
    owner="ann",
    groups=GROUPS,
    spec={
        "alias": "lab",
        "profile": "small",
        "options": {"worker_cores": 2.0, "worker_threads": 3},
        "tags": {"team": "a"},
        "lifetime": 90.25,
        "shares": (Share("users/bob", frozenset({Right.CLUSTER_STOP, Right.CLUSTER_SCALE}), 2000.0),),
    },
    report={"dashboard_address": "127.0.0.1:8787", "versions": {"python": "3.11"}, "clients": 2, "idle_since": 900.5},
    status={
        "conditions": (
            Condition(
                type=ConditionType.WORKERS_READY,
                status=ConditionStatus.FALSE,
                reason="Scaling",
                message="1 of 2 workers run.",
                changed=950.5,
                observed_generation=6,
            ),
        ),
        "message": "All is well.",
        "log_tail": "last words",
    },
    generation=7,
    revision=42,
    targets={"open": 9},
)
CLUSTER = replace(_RUNNING, groups=("lab", "staff"))


def test_a_cluster_in_full() -> None:
    message = convert.cluster(CLUSTER)
    assert (message.name, message.owner, list(message.groups)) == (
        "clusters/c1",
        "users/ann",
        ["groups/lab", "groups/staff"],
    )
    assert (message.generation, message.etag, message.resource_version) == (7, "7", "42")
    assert message.create_time.ToSeconds() == 900
    assert not message.HasField("end_time")
    [share] = message.shares
    assert (share.member, set(share.rights)) == (
        "users/bob",
        {right_pb2.RIGHT_CLUSTER_SCALE, right_pb2.RIGHT_CLUSTER_STOP},
    )
    assert share.expire_time.ToSeconds() == 2000


def test_it_says_what_it_has_used_and_at_which_rates_it_goes_on() -> None:
    rates = Rates(clusters=1, workers=2, cores=1500, memory=2048, cost=3_000_000_000)
    meter = Meter(since=1_000_500, rates=rates, spent=Sums.of(rates, 3_600_000))
    usage = convert.cluster(replace(CLUSTER, meter=meter)).status.usage
    assert usage.as_of.ToMilliseconds() == 1_000_500
    assert (usage.core_seconds, usage.memory_gib_seconds, usage.cost) == (5400.0, 7200.0, 3.0)
    assert usage.cores == 1.5
    assert not convert.cluster(CLUSTER).status.HasField("usage")


def test_its_spec_has_typed_options_and_no_sentinels() -> None:
    spec = convert.cluster(CLUSTER).spec
    assert (spec.alias, spec.profile, dict(spec.tags), spec.stop) == ("lab", "small", {"team": "a"}, False)
    assert spec.options["worker_cores"].double_value == 2.0
    assert spec.options["worker_threads"].int_value == 3
    assert spec.lifetime.ToTimedelta().total_seconds() == 90.25
    fixed, bounded, unbounded = spec.worker_groups
    assert (fixed.name, fixed.size, fixed.HasField("adapt")) == ("fixed", 2, False)
    assert fixed.options["worker_memory"].int_value == 2**30
    assert (bounded.adapt.minimum, bounded.adapt.maximum) == (1, 4)
    assert not unbounded.adapt.HasField("maximum")


def test_its_status_counts_workers_by_group_and_tells_what_is_desired() -> None:
    status = convert.cluster(CLUSTER).status
    fixed, bounded, unbounded = status.worker_groups
    assert (fixed.desired, fixed.pending, fixed.running, fixed.retiring) == (2, 1, 1, 1)
    assert (bounded.desired, unbounded.desired) == (1, 9)
    assert (status.phase, status.message, status.log_tail) == (pb.PHASE_RUNNING, "All is well.", "last words")
    assert status.dashboard_path == "/clusters/c1/status"
    assert dict(status.versions) == {"python": "3.11"}
    assert (status.clients, status.idle_since.ToMilliseconds()) == (2, 900_500)
    assert (status.promised.cores, status.promised.memory_bytes) == (24, 2 * 2**30)
    [condition] = status.conditions
    assert condition.type == pb.CONDITION_TYPE_WORKERS_READY
    assert condition.status == pb.CONDITION_STATUS_FALSE
    assert (condition.reason, condition.message, condition.observed_generation) == ("Scaling", "1 of 2 workers run.", 6)
    assert condition.change_time.ToMilliseconds() == 950_500


def test_the_basic_view_leaves_out_what_is_long() -> None:
    full, basic = convert.cluster(CLUSTER), convert.cluster(CLUSTER, full=False)
    full.spec.options.clear()
    for group in full.spec.worker_groups:
        group.options.clear()
    for field in ("conditions", "log_tail", "versions"):
        full.status.ClearField(field)
    assert basic == full


def test_an_ended_cluster() -> None:
    status = replace(CLUSTER.status, phase=Phase.FAILED, reason=EndReason.OUT_OF_MEMORY, ended=1234.5, started=None)
    spec = replace(CLUSTER.spec, lifetime=None, stop=True)
    message = convert.cluster(
        replace(CLUSTER, spec=spec, status=status, report=replace(CLUSTER.report, dashboard_address=""))
    )
    assert (message.status.phase, message.status.reason) == (pb.PHASE_FAILED, pb.END_REASON_OUT_OF_MEMORY)
    assert message.end_time.ToMilliseconds() == 1_234_500
    assert not message.status.HasField("start_time")
    assert not message.status.HasField("promised")
    assert message.status.dashboard_path == ""
    assert message.spec.stop
    assert not message.spec.HasField("lifetime")


def test_a_worker_has_the_resources_of_its_group() -> None:
    message = convert.worker(CLUSTER, running_worker("fixed-1", host="node7"))
    assert (message.name, message.group, message.host) == ("clusters/c1/workers/fixed-1", "fixed", "node7")
    assert message.state == pb.WORKER_STATE_RUNNING
    assert (message.resources.cores, message.resources.memory_bytes) == (2.0, 2**30)
    assert not message.HasField("exit")


def test_a_worker_of_a_removed_group_has_none() -> None:
    assert not convert.worker(CLUSTER, worker("gone-1")).HasField("resources")


@pytest.mark.parametrize("code", [None, -9, 0])
def test_an_exited_worker_tells_how(code: int | None) -> None:
    exit_ = Exit(cause=ExitCause.OUT_OF_MEMORY, code=code, time=1000.0)
    message = convert.worker(CLUSTER, worker("fixed-1", WorkerState.FAILED, exit=exit_)).exit
    assert message.cause == pb.EXIT_CAUSE_OUT_OF_MEMORY
    assert message.HasField("exit_code") is (code is not None)
    assert message.exit_code == (code or 0)
    assert message.time.ToSeconds() == 1000


def test_an_event_has_a_name() -> None:
    happened = event("1 worker was lost.", type=EventType.WORKERS_LOST, severity=Severity.WARNING, id="5-0")
    message = convert.event(ClusterId("c1"), happened)
    assert message.name == "clusters/c1/events/5-0"
    assert (message.type, message.severity) == (pb.EVENT_TYPE_WORKERS_LOST, pb.SEVERITY_WARNING)
    assert (message.message, message.time.ToSeconds()) == ("1 worker was lost.", 900)


@pytest.mark.parametrize(
    ("type_", "default"),
    [
        (Text(9), "x"),
        (Bool(), False),
        (Int(0, 9), 0),
        (Select((Choice(1, "one"),)), 1),
    ],
)
def test_an_option_has_its_type_and_default(type_: object, default: object) -> None:
    made = Option(
        key="k",
        label="L",
        description="D.",
        type=cast("OptionType", type_),
        default=cast("OptionValue", default),
        per_group=True,
    )
    message = convert.option(made)
    assert (message.key, message.label, message.description, message.per_group) == ("k", "L", "D.", True)
    assert message.default_value.WhichOneof("value") is not None
    assert message.WhichOneof("type") is not None


@pytest.mark.parametrize("seconds", [0.0, 0.9999999, 1_700_000_000.123456, -1.5])
def test_timestamps_are_valid_to_the_microsecond(seconds: float) -> None:
    message = convert.timestamp(seconds)
    assert 0 <= message.nanos < 1_000_000_000
    assert message.seconds + message.nanos / 1e9 == pytest.approx(seconds, abs=1e-6)
