"""From what a user asks for to the specification of a cluster."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, cast

from google.protobuf.struct_pb2 import Struct

from headrace._dask import option_types as _option_types
from headrace._dask.options import Options, changed, checked
from headrace._target import config as _config
from headrace.errors import InvalidRequest, Violation, WrongType
from headrace.v1 import cluster_pb2

# Ten times what a whole deployment is built for: more is a slip of the pen.
MOST_WORKERS = 1_000_000
UNBOUNDED = 2**31 - 1
WorkerGroups = Mapping[str, "int | Mapping[str, object]"] | Sequence[Mapping[str, object]]


def specification(
    options: Options | Mapping[str, object] | None,
    overrides: Mapping[str, object],
    *,
    name: str | None,
    worker_groups: WorkerGroups | None,
    tags: Mapping[str, str] | None,
) -> cluster_pb2.ClusterSpec:
    """Puts a new cluster's specification together; checks what can be checked here."""
    return cluster_pb2.ClusterSpec(
        alias=name or "",
        options=to_struct(_chosen(options, overrides)),
        worker_groups=[_group(*item) for item in _named(worker_groups)],
        tags=dict(tags or {}),
    )


def worker_count(what: str, value: object) -> int:
    """Returns a number of workers, or raises an error that names `what`."""
    count = _option_types.whole_number(what, value)
    if not 0 <= count <= MOST_WORKERS:
        raise InvalidRequest.of(Violation(what, f"must be 0 to {MOST_WORKERS:,}, is {count}"))
    return count


def adapt_range(minimum: object, maximum: object) -> cluster_pb2.AdaptRange:
    """Returns bounds of adaptive scaling; None is no bound."""
    low = worker_count("minimum", 0 if minimum is None else minimum)
    unbounded = maximum is None or maximum == math.inf
    high = UNBOUNDED if unbounded else worker_count("maximum", maximum)
    if high < low:
        raise InvalidRequest.of(Violation("maximum", f"must be at least minimum {low}, is {high}"))
    return cluster_pb2.AdaptRange(minimum=low, maximum=high)


def to_struct(values: Mapping[str, object]) -> Struct:
    """Turns values of options into what the API carries."""
    struct = Struct()
    for key, value in values.items():
        try:
            struct.update({key: cast("Any", _plain(value))})
        except (ValueError, TypeError):
            raise WrongType.of(Violation(key, f"{value!r:.80} cannot be sent ({type(value).__name__})")) from None
    return struct


def _chosen(options: object, overrides: Mapping[str, object]) -> Mapping[str, object]:
    if options is None:
        return {**_config.get_mapping("cluster.options"), **overrides}
    if isinstance(options, Options):
        return {**changed(options), **checked(options, overrides)}
    if isinstance(options, Mapping):
        return {**cast("Mapping[str, object]", options), **overrides}
    raise WrongType.of(Violation("cluster_options", f"must be an Options object, is {type(options).__name__}"))


def _named(groups: WorkerGroups | None) -> list[tuple[str, int | Mapping[str, object]]]:
    if groups is None:
        return []
    if isinstance(groups, Mapping):
        return list(groups.items())
    return [(str(group.get("name", "")), {k: v for k, v in group.items() if k != "name"}) for group in groups]


def _group(name: str, given: int | Mapping[str, object]) -> cluster_pb2.WorkerGroup:
    what = f"worker_groups[{name!r}]"
    if not isinstance(given, Mapping):
        return cluster_pb2.WorkerGroup(name=name, size=worker_count(what, given))
    values = dict(given)
    group = cluster_pb2.WorkerGroup(name=name, size=worker_count(f"{what}['size']", values.pop("size", 0)))
    if (adapt := values.pop("adapt", None)) is not None:
        group.adapt.CopyFrom(_adapt(what, adapt))
    inner = values.pop("options", {})
    group.options.CopyFrom(to_struct({**values, **cast("Mapping[str, object]", inner)}))
    return group


def _adapt(what: str, adapt: object) -> cluster_pb2.AdaptRange:
    if isinstance(adapt, str) or not isinstance(adapt, Sequence) or len(cast("Sequence[object]", adapt)) != 2:
        raise WrongType.of(Violation(f"{what}['adapt']", f"must be (minimum, maximum), is {adapt!r:.80}"))
    return adapt_range(*cast("Sequence[object]", adapt))


def _plain(value: object) -> object:
    """Numbers and containers of NumPy and others as plain ones."""
    match value:
        case None | bool() | str():
            return value
        case numbers.Real():
            return float(value)
        case Mapping():
            return {str(key): _plain(item) for key, item in cast("Mapping[object, object]", value).items()}
        case Sequence():
            return [_plain(item) for item in cast("Sequence[object]", value)]
        case _:
            return value
