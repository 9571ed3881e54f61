"""What follows from the options of a cluster."""

from __future__ import annotations

from tests.controller.builders import new_cluster

from headrace.option_types import OptionValue
from headrace_controller.model import AdaptRange, Demand, Group, Resources, Spec
from headrace_controller.options.shapes import backend_settings, demand, environment, shape

SMALL = Group(name="small", size=3)
LARGE = Group(name="large", size=2, options={"worker_cores": 4.0, "worker_gpus": 1, "environment": {"A": "large"}})
OPTIONS: dict[str, OptionValue] = {
    "worker_cores": 0.5,
    "worker_memory": 2**30,
    "environment": {"A": "all"},
    "image": "lab",
}
SPEC = Spec(options=OPTIONS, groups=(SMALL, LARGE))


def test_a_groups_options_override_the_clusters() -> None:
    small, large = shape(SPEC, SMALL), shape(SPEC, LARGE)
    assert small.resources == Resources(cores=0.5, memory_bytes=2**30)
    assert large.resources == Resources(cores=4.0, memory_bytes=2**30, gpus=1)
    assert (small.threads, large.threads) == (1, 4)
    assert (small.environment, large.environment) == ({"A": "all"}, {"A": "large"})


def test_threads_follow_the_cores_unless_they_are_given() -> None:
    assert shape(Spec(options={"worker_cores": 2.6}), Group()).threads == 3
    assert shape(Spec(options={"worker_cores": 2.6, "worker_threads": 1}), Group()).threads == 1


def test_without_options_a_worker_is_one_core() -> None:
    made = shape(Spec(), Group())
    assert (made.resources, made.threads) == (Resources(cores=1.0), 1)
    assert (made.dask_resources, made.lifetime_seconds, made.environment) == ({}, 0.0, {})


def test_the_scheduler_has_the_clusters_options() -> None:
    assert environment(SPEC, None) == {"A": "all"}
    assert backend_settings(SPEC, None, ["image", "queue"]) == {"image": "lab"}
    assert backend_settings(SPEC, LARGE, ["worker_cores"]) == {"worker_cores": 4.0}


def test_what_a_stored_value_cannot_be_counts_as_its_default() -> None:
    made = shape(Spec(options={"worker_cores": "many", "environment": ["A"]}), Group())
    assert made.resources.cores == 1.0
    assert made.environment == {}


def test_demand_counts_the_workers_that_each_group_is_to_have() -> None:
    adaptive = Group(name="large", size=1, adapt=AdaptRange(minimum=0), options=LARGE.options)
    cluster = new_cluster(options=OPTIONS, groups=(SMALL, adaptive))
    assert demand(cluster) == Demand(clusters=1, workers=4, cores_milli=5500, memory_bytes=4 * 2**30, gpus=1)
