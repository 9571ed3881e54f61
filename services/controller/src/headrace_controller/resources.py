"""Resources that limits count, as the store names them and as people do. The store counts in whole numbers. Pure."""

from __future__ import annotations

CLUSTERS = "clusters"
WORKERS = "workers"
CORES = "cores_milli"
MEMORY = "memory_bytes"
GPUS = "gpus"
QUEUED = "queued"

_NAMED = "r/"
_MILLI = 1000


def named(name: str) -> str:
    """Return the store's name of a resource that only a policy knows; it is counted in thousandths."""
    return _NAMED + name


def milli(amount: float) -> int:
    """Return thousandths."""
    return round(amount * _MILLI)


def shown(resource: str, amount: int) -> tuple[str, float]:
    """Return a resource and an amount of it as people write them."""
    if resource == CORES:
        return "cores", amount / _MILLI
    if resource.startswith(_NAMED):
        return resource.removeprefix(_NAMED), amount / _MILLI
    return resource, amount
