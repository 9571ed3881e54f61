"""From a user's arguments to the specification of a cluster. What can be checked without the server is checked here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import cast

from google.protobuf.duration_pb2 import Duration

from headrace._dask.options import Options, get_checked, get_profile, get_set
from headrace._target import config
from headrace._wire.creating import Wanted
from headrace._wire.option_values import option_values
from headrace.access import SHARED_RIGHTS, Share
from headrace.arguments import check_type
from headrace.errors import InvalidRequest, Violation, WrongType
from headrace.option_types import BadValue, whole_number
from headrace.v1 import cluster_pb2
from headrace.v1.enums import Right
from headrace.v1.right_pb2 import Right as RightNumber

DEFAULT_GROUP = "default"

MAX_WORKERS = 100_000
"""No deployment has more workers: a larger number is a typo."""

_MAX_HOURS = 87_600

WorkerGroups = Mapping[str, "int | Mapping[str, object]"] | Sequence[Mapping[str, object]]
Lifetime = float | str | timedelta


def wanted_cluster(
    options: Options | Mapping[str, object] | None,
    overrides: Mapping[str, object],
    *,
    name: str | None = None,
    profile: str | None = None,
    worker_groups: WorkerGroups | None = None,
    tags: Mapping[str, str] | None = None,
    lifetime: Lifetime | None = None,
    shares: Iterable[Share] | None = None,
    queue_timeout: Lifetime | None = None,
    owner: str | None = None,
    owner_groups: Iterable[str] | None = None,
) -> Wanted:
    """Return the cluster that a user asks for."""
    values, given = _choose(options, overrides)
    spec = cluster_pb2.ClusterSpec(
        alias=name or "",
        profile=profile or (get_profile(options) if isinstance(options, Options) else ""),
        options=option_values(values),
        worker_groups=[worker_group(*item) for item in _named(worker_groups)],
        tags=tags or {},
        lifetime=to_duration(lifetime),
    )
    groups = None if owner_groups is None else list(owner_groups)
    return Wanted(
        spec,
        given,
        [to_proto_share(share) for share in shares or ()],
        owner or "",
        groups,
        _queue_seconds(queue_timeout),
    )


def count(what: str, value: object, minimum: int, maximum: int) -> int:
    """Return a whole number, or raise an error that names `what`."""
    try:
        # A float may be the result of a division: its fraction would be an error.
        number = whole_number("" if isinstance(value, float) else value)
    except BadValue:
        raise WrongType.of(Violation(what, _must_be("a whole number", value))) from None
    if not minimum <= number <= maximum:
        raise InvalidRequest.of(Violation(what, f"must be {minimum:,} to {maximum:,}, is {number}"))
    return number


def worker_count(what: str, value: object) -> int:
    """Return a number of workers, or raise an error that names `what`."""
    return count(what, value, 0, MAX_WORKERS)


def adapt_range(minimum: object, maximum: object) -> cluster_pb2.AdaptRange:
    """Return the range of adaptive scaling. None and infinity mean no bound."""
    low = worker_count("minimum", 0 if minimum is None else minimum)
    if maximum is None or maximum == math.inf:
        return cluster_pb2.AdaptRange(minimum=low)
    high = worker_count("maximum", maximum)
    if high < low:
        raise InvalidRequest.of(Violation("maximum", f"must be at least minimum {low}, is {high}"))
    return cluster_pb2.AdaptRange(minimum=low, maximum=high)


def keep_seconds(hours: float) -> float:
    """Return the seconds for which to keep a cluster, or raise an error that names `hours`."""
    if not 0 < hours < _MAX_HOURS:
        raise InvalidRequest.of(Violation("hours", f"must be more than 0 and less than {_MAX_HOURS}, is {hours!r}"))
    return hours * 3600


def worker_group(name: str, given: int | Mapping[str, object]) -> cluster_pb2.WorkerGroup:
    """Return a worker group of a size, or of a mapping with ``size``, ``adapt``, ``options`` and options by name."""
    what = f"worker_groups[{name!r}]"
    if not isinstance(given, Mapping):
        return cluster_pb2.WorkerGroup(name=name, size=worker_count(what, given))
    values = dict(given)
    size = worker_count(f"{what}['size']", values.pop("size", 0))
    adapt = values.pop("adapt", None)
    values.update(cast("Mapping[str, object]", values.pop("options", {})))
    return cluster_pb2.WorkerGroup(
        name=name, size=size, adapt=None if adapt is None else _adapt(what, adapt), options=option_values(values)
    )


def _queue_seconds(timeout: Lifetime | None) -> float | None:
    """Return the seconds to wait for room, or raise an error that names `queue_timeout`."""
    if timeout is None:
        return None
    seconds = _seconds(timeout, "queue_timeout")
    if not 0 <= seconds <= _MAX_HOURS * 3600:
        message = f"must be a time from 0 to {_MAX_HOURS} h, is {timeout!r}"
        raise InvalidRequest.of(Violation("queue_timeout", message))
    return seconds


def _seconds(given: Lifetime, what: str) -> float:
    return given.total_seconds() if isinstance(given, timedelta) else config.seconds(given, what)


def to_duration(lifetime: Lifetime | None) -> Duration | None:
    """Return a lifetime as the contract carries it. None and infinity mean no maximum."""
    if lifetime is None or lifetime == math.inf:
        return None
    seconds = _seconds(lifetime, "lifetime")
    if not 0 < seconds < timedelta.max.total_seconds():
        raise InvalidRequest.of(Violation("lifetime", f"must be more than 0 s, is {lifetime!r}"))
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


def share_seconds(for_: Lifetime | None) -> float | None:
    """Return the seconds for which something is shared; None means without an end."""
    if for_ is None or for_ == math.inf:
        return None
    return for_.total_seconds() if isinstance(for_, timedelta) else config.seconds(for_, "for_")


def to_proto_share(share: Share) -> cluster_pb2.Share:
    """Return a share as the contract carries it."""
    check_type("shares", share, Share)
    check_type("shares[...].member", share.member, str)
    check_type("shares[...].rights", share.rights, Iterable[str])
    check_type("shares[...].expires", share.expires, float | None)
    unknown = set(share.rights) - SHARED_RIGHTS
    if unknown or not share.rights:
        may_be = ", ".join(sorted(SHARED_RIGHTS))
        description = f"{share.member} gets the rights {sorted(share.rights)}: one or several of {may_be} can be shared"
        raise InvalidRequest.of(Violation("shares", description))
    rights = [RightNumber.Value(f"RIGHT_{Right(right).name}") for right in sorted(share.rights)]
    proto = cluster_pb2.Share(member=share.member, rights=rights)
    if share.expires is not None:
        proto.expire_time.FromMilliseconds(int(share.expires * 1000))
    return proto


def _choose(
    options: Options | Mapping[str, object] | None, overrides: Mapping[str, object]
) -> tuple[Mapping[str, object], frozenset[str]]:
    """Return the values of options, and the keys that were given explicitly."""
    if options is None:
        return {**config.get_mapping("cluster.options"), **overrides}, frozenset(overrides)
    if isinstance(options, Options):
        configured, given = get_set(options)
        return {**configured, **given, **get_checked(options, overrides)}, frozenset({*given, *overrides})
    if isinstance(cast("object", options), Mapping):
        return {**options, **overrides}, frozenset({*options, *overrides})
    raise WrongType.of(Violation("cluster_options", _must_be("an Options object or a mapping", options)))


def _named(groups: WorkerGroups | None) -> list[tuple[str, int | Mapping[str, object]]]:
    if groups is None:
        return []
    if isinstance(groups, Mapping):
        return list(groups.items())
    return [(str(group.get("name", "")), {k: v for k, v in group.items() if k != "name"}) for group in groups]


def _adapt(what: str, adapt: object) -> cluster_pb2.AdaptRange:
    if isinstance(adapt, str) or not isinstance(adapt, Sequence) or len(cast("Sequence[object]", adapt)) != 2:
        raise WrongType.of(Violation(f"{what}['adapt']", _must_be("(minimum, maximum)", adapt)))
    return adapt_range(*cast("Sequence[object]", adapt))


def _must_be(what: str, value: object) -> str:
    return f"must be {what}, is {value!r:.80} ({type(value).__name__})"
