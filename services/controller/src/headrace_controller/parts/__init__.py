"""The parts of the controller, each with the others that it needs; `app.py` connects them. Nothing else makes them.

Each part is made when it is first needed. Parts use those of the groups before theirs, never those of later ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from redis.asyncio import Redis

from headrace_controller.backends.registry import LoadedBackend
from headrace_controller.config import Settings
from headrace_controller.parts.base import BaseParts
from headrace_controller.parts.measurements import MeasurementParts
from headrace_controller.parts.reconciling import ReconcilingParts
from headrace_controller.parts.services import ServiceParts
from headrace_controller.parts.tenancy import TenancyParts


class Parts(NamedTuple):
    """All parts, in groups."""

    base: BaseParts
    measurements: MeasurementParts
    tenancy: TenancyParts
    reconciling: ReconcilingParts
    services: ServiceParts


def make_parts(settings: Settings, redis: Redis, waiting: Redis, backends: Mapping[str, LoadedBackend]) -> Parts:
    """Returns the parts; `waiting` is a connection to Redis for reads that block."""
    base = BaseParts(settings, redis, waiting, backends)
    measurements = MeasurementParts(base)
    tenancy = TenancyParts(base, measurements)
    reconciling = ReconcilingParts(base, tenancy)
    return Parts(base, measurements, tenancy, reconciling, ServiceParts(base, tenancy, reconciling))
