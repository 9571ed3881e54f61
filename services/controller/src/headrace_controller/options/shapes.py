"""What follows from the checked options of a cluster: the shape of its workers, and what it is promised. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from headrace.option_types import OptionValue
from headrace_controller import resources
from headrace_controller.model import Cluster, Demand, Group, Resources, Spec
from headrace_controller.options.variables import ENVIRONMENT, PREFIX

NOTHING = Resources()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A worker of a group.

    Attributes
    ----------
    dask_resources
        Dask resources by name.
    lifetime_seconds
        Age at which it retires and is replaced. 0 means never.
    """

    resources: Resources
    threads: int
    dask_resources: Mapping[str, float]
    lifetime_seconds: float
    environment: Mapping[str, str]


def shape(spec: Spec, group: Group) -> Shape:
    """Return the shape of the group's workers."""
    values = _values(spec, group)
    cores = _number(values, "worker_cores", 1.0)
    return Shape(
        resources=Resources(
            cores=cores,
            memory_bytes=int(_number(values, "worker_memory")),
            gpus=int(_number(values, "worker_gpus")),
        ),
        threads=int(_number(values, "worker_threads")) or max(1, round(cores)),
        dask_resources=cast("Mapping[str, float]", _mapping(values, "worker_resources")),
        lifetime_seconds=_number(values, "worker_lifetime"),
        environment=environment(spec, group),
    )


def environment(spec: Spec, group: Group | None) -> Mapping[str, str]:
    """Return the environment variables of the group's workers, or of the scheduler if there is no group."""
    values = _values(spec, group)
    following = {key.removeprefix(PREFIX): value for key, value in values.items() if key.startswith(PREFIX)}
    return cast("Mapping[str, str]", {**_mapping(values, ENVIRONMENT), **following})


def backend_settings(spec: Spec, group: Group | None, keys: Iterable[str]) -> dict[str, OptionValue]:
    """Return the values of a backend's own options, and what is fixed, for the group's workers or the scheduler."""
    values, fixed = _values(spec, group), _fixed(spec, group)
    settings = {key: values[key] for key in keys if key in values}
    return settings | {key: value for key, value in fixed.items() if not settings.get(key)}


def demand(
    cluster: Cluster, scheduler: Resources = NOTHING, counts: Mapping[str, float | None] | None = None
) -> Demand:
    """Return what the cluster is promised with its scheduler and the numbers of workers that it is to have now.

    Parameters
    ----------
    counts
        Other resources that limits know, by name, and what a worker counts as; None: its Dask resource of that name.
    """
    demand = Demand({resources.CLUSTERS: 1, **_amounts(scheduler)})
    for group in cluster.spec.groups:
        size = cluster.desired(group)
        for resource, amount in per_worker(cluster.spec, group, counts).items():
            demand[resource] += size * amount
    return demand


def per_worker(spec: Spec, group: Group, counts: Mapping[str, float | None] | None = None) -> Demand:
    """Return what each worker of a group counts as."""
    worker = shape(spec, group)
    demand = Demand({resources.WORKERS: 1, **_amounts(worker.resources)})
    for name, amount in (counts or {}).items():
        demand[resources.named(name)] = resources.milli(
            worker.dask_resources.get(name, 0) if amount is None else amount
        )
    return demand


def _amounts(of: Resources) -> dict[str, int]:
    return {
        resources.CORES: resources.milli(of.cores),
        resources.MEMORY: of.memory_bytes,
        resources.GPUS: of.gpus,
    }


def _values(spec: Spec, group: Group | None) -> Mapping[str, OptionValue]:
    return {**spec.options, **group.options} if group else spec.options


def _fixed(spec: Spec, group: Group | None) -> Mapping[str, OptionValue]:
    if group is None:
        return spec.fixed.get("scheduler", {})
    return {**spec.fixed.get("worker", {}), **spec.fixed.get(f"worker/{group.name}", {})}


def _number(values: Mapping[str, OptionValue], key: str, default: float = 0.0) -> float:
    value = values.get(key, default)
    return value if isinstance(value, int | float) else default


def _mapping(values: Mapping[str, OptionValue], key: str) -> Mapping[str, str | float]:
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}
