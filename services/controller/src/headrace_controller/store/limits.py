"""Limits as the scripts take them, and the error for the one that binds."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.errors import QuotaExceeded
from headrace_controller.model import Demand, Limits
from headrace_controller.store.codec import pack_demand

_CORES, _MILLI = "cores_milli", 1000


def packed_limits(limits: Mapping[str, Limits]) -> list[dict[str, object]]:
    """The limits in the order in which they are checked, as `refusal` in record.lua reads them."""
    return [{"subject": subject, "bounds": list(_bounds(limit).items())} for subject, limit in limits.items()]


def exceeded(limits: Mapping[str, Limits], demand: Demand, answer: list[bytes]) -> QuotaExceeded:
    """Makes the error from a script's answer {'limit', subject, resource, used, had}."""
    subject, resource = answer[1].decode(), answer[2].decode()
    used, had = int(answer[3]), int(answer[4])
    limit, asked = _bounds(limits[subject])[resource], pack_demand(demand).get(resource, 0) - had
    if resource == _CORES:  # people count whole cores
        resource, limit, used, asked = "cores", limit // _MILLI, -(-used // _MILLI), -(-asked // _MILLI)
    return QuotaExceeded.of(subject=subject, what=resource, limit=limit, used=used, asked=asked)


def _bounds(limits: Limits) -> dict[str, int]:
    bounds = {
        "clusters": limits.clusters,
        "workers": limits.workers,
        _CORES: limits.cores_milli,
        "memory_bytes": limits.memory_bytes,
        "gpus": limits.gpus,
    }
    return {resource: bound for resource, bound in bounds.items() if bound is not None}
