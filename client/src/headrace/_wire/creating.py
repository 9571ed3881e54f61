"""Creating a cluster, or getting the living one that has its alias."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from headrace import errors
from headrace._target import config
from headrace._wire import calls
from headrace._wire.connection import Connection
from headrace.backoff import delays
from headrace.durations import format_duration
from headrace.option_protos import get_type, value_from_proto
from headrace.option_types import BadValue
from headrace.resource_names import group_name
from headrace.sizes import format_bytes
from headrace.v1 import cluster_pb2, cluster_service_pb2
from headrace.v1.option_value_pb2 import OptionValue
from headrace.v1.options_service_pb2 import Option

_UNDO_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A cluster to create.

    Attributes
    ----------
    spec
        What it is made of.
    given
        Keys of ``spec.options`` that the user gave explicitly, as opposed to configured defaults. A living cluster of
        the same alias must agree with these, and with the options of worker groups.
    shares
        Who else may use it.
    owner
        User id to create it for; "" is the caller.
    owner_groups
        Groups of that user; None means those that headrace knows.
    queue_timeout
        Seconds to wait for room. None: ``headrace.timeouts.queue``.
    """

    spec: cluster_pb2.ClusterSpec
    given: frozenset[str] = frozenset()
    shares: Sequence[cluster_pb2.Share] = ()
    owner: str = ""
    owner_groups: Sequence[str] | None = None
    queue_timeout: float | None = None


async def create(connection: Connection, wanted: Wanted, request_id: str) -> cluster_pb2.Cluster:
    """Create a cluster (CreateCluster). If this is cancelled, the cluster is stopped."""
    creating = asyncio.ensure_future(_create(connection, wanted, request_id))
    try:
        return await asyncio.shield(creating)
    except asyncio.CancelledError:
        with suppress(errors.HeadraceError, TimeoutError, asyncio.CancelledError):
            cluster = await asyncio.wait_for(creating, _UNDO_SECONDS)
            await calls.stop(connection, cluster.name, _UNDO_SECONDS)
        raise


async def _create(connection: Connection, wanted: Wanted, request_id: str) -> cluster_pb2.Cluster:
    request = cluster_service_pb2.CreateClusterRequest(
        spec=wanted.spec,
        request_id=request_id,
        owner=f"users/{wanted.owner.removeprefix('users/')}" if wanted.owner else "",
        shares=wanted.shares,
    )
    if wanted.owner_groups is not None:
        groups = [group_name(group.removeprefix("groups/")) for group in wanted.owner_groups]
        request.owner_groups.CopyFrom(cluster_service_pb2.OwnerGroups(groups=groups))
    timeout = wanted.queue_timeout
    if timeout is None and config.get("timeouts.queue") is not None:
        timeout = config.get_seconds("timeouts.queue")
    if timeout is not None:
        request.queue_timeout.FromNanoseconds(round(timeout * 1e9))
    return await connection.call(connection.clusters.CreateCluster, request, doing="creating a cluster")


async def get_or_create(
    connection: Connection, wanted: Wanted, timeout: float | None = None
) -> tuple[cluster_pb2.Cluster, bool]:
    """Return the cluster, and whether this call created it.

    If a living cluster has the alias, that one is returned. If it is about to end, its end is waited for.

    Parameters
    ----------
    timeout
        Seconds to wait for the end of a cluster with this alias. Default: ``headrace.timeouts.call``.

    Raises
    ------
    OptionsDiffer
        The cluster with this alias has other options than those given.
    AliasTaken
        The cluster with this alias did not end in time.
    InvalidRequest, PermissionDenied, QuotaExceeded
        From CreateCluster.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + (config.get_seconds("timeouts.call") if timeout is None else timeout)
    request_id = uuid.uuid4().hex
    for delay in delays():
        try:
            return await create(connection, wanted, request_id), True
        except errors.AliasTaken as error:
            existing = await _find_holder(connection, wanted, error)
            if existing is not None and not _is_ending(existing):
                await _check_same(connection, wanted, existing)
                return existing, False
            if clock() + delay > end:
                raise
        await asyncio.sleep(delay)
    raise AssertionError("delays never end")


async def _find_holder(connection: Connection, wanted: Wanted, error: errors.AliasTaken) -> cluster_pb2.Cluster | None:
    """Return the cluster that has the alias, or None if it has ended since and was deleted."""
    try:
        return await calls.find(connection, error.details.get("cluster") or wanted.spec.alias)
    except errors.ClusterNotFound:
        return None


def _is_ending(cluster: cluster_pb2.Cluster) -> bool:
    ending = {cluster_pb2.PHASE_STOPPING, *calls.ENDED}
    return cluster.spec.stop or cluster.status.phase in ending


@dataclass(frozen=True, slots=True)
class _Difference:
    """An option that was given and that the existing cluster has not, or with another value."""

    label: str
    key: str
    given: OptionValue
    existing: OptionValue | None


async def _check_same(connection: Connection, wanted: Wanted, existing: cluster_pb2.Cluster) -> None:
    """Raise OptionsDiffer unless the existing cluster has the profile and the options given."""
    spec, found = wanted.spec, existing.spec
    if spec.profile and spec.profile != found.profile:
        raise _options_differ(existing, {"profile": f"profile is {found.profile!r}, not {spec.profile!r}"})
    missing = {group.name for group in spec.worker_groups} - {group.name for group in found.worker_groups}
    if missing:
        labels = {f"worker_groups[{name!r}]": f"it has no worker group {name!r}" for name in sorted(missing)}
        raise _options_differ(existing, labels)
    if unequal := list(_compare(wanted, found)):
        # The server keeps values as it checked them, and leaves out defaults: compare them as their types read them.
        types: dict[str, Option] = {}
        with suppress(errors.InvalidRequest):  # its profile may be gone, or not be offered to this user any more
            types = {option.key: option for option in await calls.options(connection, found.profile)}
        sentences = {one.label: text for one in unequal if (text := _explain(one, types.get(one.key)))}
        if sentences:
            raise _options_differ(existing, sentences)


def _compare(wanted: Wanted, found: cluster_pb2.ClusterSpec) -> Iterator[_Difference]:
    for key in sorted(wanted.given):
        yield from _differing(key, key, wanted.spec.options[key], found.options)
    groups = {group.name: group for group in found.worker_groups}
    for group in wanted.spec.worker_groups:
        effective = {**found.options, **groups[group.name].options}
        for key, given in group.options.items():
            yield from _differing(f"worker_groups[{group.name!r}].{key}", key, given, effective)


def _differing(label: str, key: str, given: OptionValue, options: Mapping[str, OptionValue]) -> Iterator[_Difference]:
    existing = options.get(key)
    if given != existing:
        yield _Difference(label, key, given, existing)


def _explain(difference: _Difference, option: Option | None) -> str:
    """Return how a value differs; "" if it does not."""
    existing = difference.existing
    if existing is None and option is not None:
        existing = option.default_value
    given, found = _checked(option, difference.given), _checked(option, existing or OptionValue())
    return "" if given == found else f"{difference.label} is {_shown(option, found)}, not {_shown(option, given)}"


def _shown(option: Option | None, value: object) -> str:
    match option and option.WhichOneof("type"), value:
        case "bytes_type", int(number):
            return format_bytes(number)
        case "duration_type", float(seconds):
            return format_duration(seconds)
        case _:
            return repr(value)


def _checked(option: Option | None, proto: OptionValue) -> object:
    value = value_from_proto(proto)
    type_ = get_type(option) if option is not None else None
    try:
        return value if type_ is None else type_.check(value)
    except BadValue:
        return value


def _options_differ(existing: cluster_pb2.Cluster, sentences: Mapping[str, str]) -> errors.OptionsDiffer:
    name = calls.cluster_id(existing.name)
    return errors.OptionsDiffer(
        f"the cluster {name} has the name {existing.spec.alias!r}, and other options: {'; '.join(sentences.values())}; "
        "ask for the same options, choose another name, or stop that cluster first",
        {"cluster": existing.name, "options": ",".join(sentences)},
    )
