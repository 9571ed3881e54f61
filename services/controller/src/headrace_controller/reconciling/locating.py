"""Tells backends where the processes of clusters are, which may be elsewhere than profiles say now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from headrace.option_types import OptionValue
from headrace_controller.model import Cluster


class Locates(Protocol):
    """What is needed of backends."""

    def locate(self, cluster: str, fixed: Mapping[str, Mapping[str, OptionValue]]) -> None: ...


class Locating:
    """Passes on what was fixed for each cluster that has a record; ended ones still have logs."""

    def __init__(self, backend: Locates) -> None:
        self._backend = backend

    def added(self, cluster: Cluster) -> None:
        self._backend.locate(cluster.id, cluster.spec.fixed)

    def updated(self, old: Cluster, new: Cluster) -> None:
        """Nothing to do: what is fixed never changes."""

    def removed(self, cluster: Cluster) -> None:
        self._backend.locate(cluster.id, {})
