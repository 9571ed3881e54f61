"""Where the usage of a cluster is added up, as `scripts/usage.lua` takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace.resource_names import group_name, user_name
from headrace_controller.meter import RowLabels
from headrace_controller.model import Cluster
from headrace_controller.policy.file import PolicyFile
from headrace_controller.store.codec import pack_same, text

MOST_GROUPS = 50
_MOST_TAG_BYTES = 1024
_NANO = 1e9
_MIB_PER_GIB = 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """For how many days sums and rows are kept, and how many rows of an owner each day."""

    days: int = 400
    row_days: int = 62
    rows: int = 200


class Accounts:
    """Makes accounts. `policy` returns the policy in force, for its prices."""

    def __init__(self, policy: Callable[[], PolicyFile] = PolicyFile, kept: Kept | None = None) -> None:
        self._policy = policy
        self._kept = kept or Kept()

    def packed(self, cluster: Cluster) -> dict[str, object]:
        """Return the account of a cluster as it is now."""
        profile, groups = cluster.spec.profile, cluster.groups[:MOST_GROUPS]
        labels = RowLabels(
            profile=profile,
            groups=groups,
            cluster=cluster.id,
            alias=cluster.spec.alias,
            tags=_bounded(cluster),
        )
        return {
            "subjects": subjects(cluster),
            "labels": text(pack_same(labels)),
            "others": text(pack_same(RowLabels(profile=profile, groups=groups))),
            "prices": self.prices(cluster),
            "currency": self.currency,
            "days": self._kept.days,
            "row_days": self._kept.row_days,
            "rows": self._kept.rows,
        }

    def prices(self, cluster: Cluster) -> Mapping[str, float] | None:
        """Return what a cluster's amounts cost an hour; None: as before, because the policy has no such profile."""
        found = self._policy().profiles.get(cluster.spec.profile)
        if found is None:
            return None
        return {
            "cores": found.prices.core_hour * _NANO / 1000,
            "memory": found.prices.memory_gib_hour * _NANO / _MIB_PER_GIB,
            "gpus": found.prices.gpu_hour * _NANO,
        }

    @property
    def currency(self) -> str:
        return self._policy().currency


def subjects(cluster: Cluster) -> list[str]:
    """Return whose sums a cluster adds to: its owner's, those of the groups, and its profile's."""
    groups = map(group_name, cluster.groups[:MOST_GROUPS])
    return [user_name(cluster.owner), *groups, f"profiles/{cluster.spec.profile}"]


def _bounded(cluster: Cluster) -> tuple[tuple[str, str], ...]:
    """The first tags by key that are not too long together: they are kept with each day's usage."""
    kept: list[tuple[str, str]] = []
    left = _MOST_TAG_BYTES
    for key, value in sorted(cluster.spec.tags.items()):
        left -= len(key.encode()) + len(value.encode())
        if left < 0:
            break
        kept.append((key, value))
    return tuple(kept)
