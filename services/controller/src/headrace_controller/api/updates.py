"""UpdateCluster: which fields change, and their new values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from headrace.access import Share
from headrace.errors import Violation
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_controller.api.fields import (
    check_owner_shares,
    check_size,
    checked_shares,
    raise_violations,
    read_lifetime,
    shown,
    wrong_tags,
)
from headrace_controller.api.worker_groups import Checked, check_options, read_groups, with_groups
from headrace_controller.model import Cluster
from headrace_controller.options.catalogue import Options

_PATHS = {
    "spec.tags": "tags",
    "spec.lifetime": "lifetime",
    "spec.worker_groups": "worker groups",
    "shares": "shares",
}
_GROUPS = "cluster.spec.worker_groups"


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A checked UpdateClusterRequest; the groups are checked against the cluster.

    Attributes
    ----------
    options
        Those of the groups, once `check_groups` has checked them.
    wrong
        What is wrong with other fields, to be told together with what is wrong with the groups.
    """

    paths: frozenset[str]
    tags: Mapping[str, str]
    lifetime: float | None
    groups: Sequence[cluster_pb2.WorkerGroup]
    shares: tuple[Share, ...]
    options: Sequence[Checked] = ()
    wrong: Sequence[Violation] = ()

    @property
    def has_groups(self) -> bool:
        """Whether it changes the worker groups; then `check_groups` comes first."""
        return "spec.worker_groups" in self.paths

    def check_groups(self, options: Options, cluster: Cluster) -> Update:
        """Return it with the options of the groups checked."""
        checked = check_options(self.groups, options, _GROUPS, cluster.spec.options, cluster.spec.groups)
        return replace(self, options=checked)

    def apply(self, cluster: Cluster) -> Cluster:
        """Return the changed cluster; raise `InvalidRequest` if groups do not fit it or it gets too large."""
        spec = cluster.spec
        if "spec.tags" in self.paths:
            spec = replace(spec, tags=self.tags)
        if "spec.lifetime" in self.paths:
            spec = replace(spec, lifetime=self.lifetime)
        if "shares" in self.paths:
            check_owner_shares(self.shares, cluster.owner, "cluster.shares")
            spec = replace(spec, shares=self.shares)
        cluster = replace(cluster, spec=spec)
        if self.has_groups:
            groups, violations = read_groups(self.groups, self.options, _GROUPS, cluster.spec.groups)
            raise_violations([*self.wrong, *violations])
            cluster = with_groups(cluster, groups)
        check_size(cluster.spec, "cluster")
        return cluster

    def describe(self) -> str:
        """Name the changed fields, for people."""
        text = ", ".join(text for path, text in _PATHS.items() if path in self.paths)
        if "shares" not in self.paths:
            return text
        return f"{text} (now with {', '.join(map(_share, self.shares[:10])) or 'nobody'})"


def update(request: pb.UpdateClusterRequest) -> Update:
    """Check an UpdateClusterRequest."""
    message, paths = request.cluster, frozenset(request.update_mask.paths)
    violations = _wrong_paths(paths)
    if "spec.tags" in paths:
        violations += wrong_tags(message.spec.tags, "cluster.spec.tags")
    if "spec.worker_groups" in paths and not message.spec.worker_groups:
        violations.append(Violation(_GROUPS, "must not be empty; a group may have size 0"))
    lifetime = None
    if "spec.lifetime" in paths and message.spec.HasField("lifetime"):
        lifetime, wrong = read_lifetime(message.spec.lifetime, "cluster.spec.lifetime")
        violations += wrong
    shares, wrong = checked_shares(message.shares, "cluster.shares") if "shares" in paths else ((), [])
    violations += wrong
    if "spec.worker_groups" not in paths or not message.spec.worker_groups:
        raise_violations(violations)
    return Update(
        paths=paths,
        tags=dict(message.spec.tags),
        lifetime=lifetime,
        groups=message.spec.worker_groups,
        shares=shares,
        wrong=violations,
    )


def _wrong_paths(paths: frozenset[str]) -> list[Violation]:
    rule = f"must name fields that can be changed: {', '.join(_PATHS)}"
    if not paths:
        return [Violation("update_mask", rule)]
    return [Violation("update_mask", f"{rule}; not {shown(path)}") for path in sorted(paths - _PATHS.keys())[:10]]


def _share(share: Share) -> str:
    rights = ", ".join(sorted(right.removeprefix("CLUSTER_").lower() for right in share.rights))
    return f"{share.member}: {rights}"
