"""What a worker is and what a cluster is promised, from its checked options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace_controller.model import Demand, Group, OptionValue, Spec


@dataclass(frozen=True, slots=True)
class Shape:
    """What one worker is, from its options."""

    cores: float
    threads: int
    memory_bytes: int
    resources: Mapping[str, float]
    lifetime_seconds: float
    environment: Mapping[str, str]


def effective(spec: Spec, group: Group | None) -> dict[str, OptionValue]:
    """The options of a group's workers; of the scheduler without one."""
    return {**spec.options, **(group.options if group else {})}


def shape(spec: Spec, group: Group) -> Shape:
    """What one worker of the group is."""
    values = effective(spec, group)
    cores = _float(values.get("worker_cores", 1.0))
    return Shape(
        cores=cores,
        threads=int(_float(values.get("worker_threads", 0))) or max(1, round(cores)),
        memory_bytes=int(_float(values.get("worker_memory", 0))),
        resources={key: float(value) for key, value in _mapping(values.get("worker_resources")).items()},
        lifetime_seconds=_float(values.get("worker_lifetime", 0.0)),
        environment=_mapping(values.get("environment")),
    )


def environment(spec: Spec, group: Group | None) -> Mapping[str, str]:
    """The environment variables of a group's workers; of the scheduler without one."""
    return _mapping(effective(spec, group).get("environment"))


def demand(spec: Spec) -> Demand:
    """What a cluster of this spec is promised with the sizes that its groups have now."""
    shapes = [(group.wanted, shape(spec, group)) for group in spec.groups]
    return Demand(
        clusters=1,
        workers=sum(size for size, _ in shapes),
        cores_milli=sum(size * round(worker.cores * 1000) for size, worker in shapes),
        memory_bytes=sum(size * worker.memory_bytes for size, worker in shapes),
    )


def _float(value: OptionValue) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _mapping(value: OptionValue | None) -> dict[str, str]:
    return value if isinstance(value, dict) else {}
