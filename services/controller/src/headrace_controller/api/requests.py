"""From requests to the model: every field is checked, and all that is wrong is told at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.struct_pb2 import Struct, Value

from headrace.errors import InvalidRequest, Violation
from headrace.resource_names import last_part
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_controller.clusters.groups import within
from headrace_controller.model import DEFAULT_GROUP, AdaptRange, Group, OptionValue, Spec
from headrace_controller.options.catalogue import Options

_LABEL = re.compile(r"[a-z0-9-]{1,63}")
_MAX_GROUPS, _MAX_TAGS, _MAX_OPTIONS, _MAX_TAG_BYTES, _MAX_REQUEST_ID_BYTES = 64, 32, 64, 63, 64


@dataclass(frozen=True, slots=True)
class NewCluster:
    """A checked wish for a cluster."""

    spec: Spec
    request_id: str
    must_create: bool


def new_cluster(request: pb.CreateClusterRequest, options: Options) -> NewCluster:
    """Checks a whole CreateClusterRequest."""
    spec = request.spec
    values, wrong = _options(spec.options, options, "spec.options")
    groups, wrong_groups = _groups(spec.worker_groups, options)
    wrong += wrong_groups + _tags(spec)
    if spec.alias and not _LABEL.fullmatch(spec.alias):
        wrong.append(Violation("spec.alias", f"must be 1 to 63 of a-z, 0-9 and '-', is {_shown(spec.alias)}"))
    if spec.stop:
        wrong.append(Violation("spec.stop", "must not be set on a new cluster"))
    if len(request.request_id.encode()) > _MAX_REQUEST_ID_BYTES:
        wrong.append(Violation("request_id", f"must have at most {_MAX_REQUEST_ID_BYTES} bytes"))
    _raise(wrong)
    made = Spec(alias=spec.alias, options=values, groups=groups or (Group(),), tags=dict(spec.tags))
    return NewCluster(made, request.request_id, request.must_create)


def size(request: pb.ScaleClusterRequest) -> int:
    """Checks a wanted number of workers."""
    _raise(_at_least_zero("size", request.size))
    return request.size


def adapt_range(request: pb.AdaptClusterRequest) -> AdaptRange | None:
    """Checks bounds of adaptive scaling; None ends it."""
    if not request.HasField("adapt"):
        return None
    _raise(_bounds("adapt", request.adapt))
    return AdaptRange(minimum=request.adapt.minimum, maximum=request.adapt.maximum)


def group_name(name: str) -> str:
    """The named group, or the default one."""
    return name or DEFAULT_GROUP


def owner(name: str, own: str) -> str | None:
    """The user of ``users/{user}``, the caller's own if empty, None for everybody."""
    if not name:
        return own
    return None if name == "users/-" else last_part(name, "users", "owner")


def one_owner(name: str, own: str) -> str:
    """The user of ``users/{user}``, the caller's own if empty."""
    return last_part(name, "users", "owner") if name else own


def tail_lines(request: pb.ReadLogsRequest) -> int | None:
    """How many last lines; None for all."""
    _raise(_at_least_zero("tail_lines", request.tail_lines))
    return request.tail_lines or None


def _groups(groups: Sequence[cluster_pb2.WorkerGroup], options: Options) -> tuple[tuple[Group, ...], list[Violation]]:
    if len(groups) > _MAX_GROUPS:
        return (), [Violation("spec.worker_groups", f"must be at most {_MAX_GROUPS}, are {len(groups)}")]
    made: list[Group] = []
    wrong: list[Violation] = []
    for n, group in enumerate(groups):
        field = f"spec.worker_groups[{n}]"
        if any(other.name == group.name for other in made):
            wrong.append(Violation(f"{field}.name", f"{_shown(group.name)} is the name of two groups"))
        values, wrong_here = _group(group, options, field)
        made.append(values)
        wrong += wrong_here
    return tuple(made), wrong


def _group(group: cluster_pb2.WorkerGroup, options: Options, field: str) -> tuple[Group, list[Violation]]:
    values, wrong = _options(group.options, options, f"{field}.options", for_group=True)
    if not _LABEL.fullmatch(group.name):
        wrong.append(Violation(f"{field}.name", f"must be 1 to 63 of a-z, 0-9 and '-', is {_shown(group.name)}"))
    wrong += _at_least_zero(f"{field}.size", group.size)
    adapt, wanted = None, group.size
    if group.HasField("adapt"):
        wrong += _bounds(f"{field}.adapt", group.adapt)
        adapt = AdaptRange(minimum=group.adapt.minimum, maximum=group.adapt.maximum)
        wanted = within(adapt, group.size)
    return Group(name=group.name, size=wanted, adapt=adapt, options=values), wrong


def _options(
    struct: Struct, options: Options, field: str, *, for_group: bool = False
) -> tuple[dict[str, OptionValue], list[Violation]]:
    if len(struct.fields) > _MAX_OPTIONS:
        return {}, [Violation(field, f"must be at most {_MAX_OPTIONS}, are {len(struct.fields)}")]
    given = {key: _plain(value) for key, value in struct.fields.items()}
    return options.check(given, field, for_group=for_group)


def _plain(value: Value) -> object:
    match value.WhichOneof("kind"):
        case "struct_value":
            return {key: _plain(item) for key, item in value.struct_value.fields.items()}
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "number_value":
            return value.number_value
        case _:
            return None


def _tags(spec: cluster_pb2.ClusterSpec) -> list[Violation]:
    if len(spec.tags) > _MAX_TAGS:
        return [Violation("spec.tags", f"must be at most {_MAX_TAGS}, are {len(spec.tags)}")]
    return [
        Violation(f"spec.tags.{key[:80]}", f"key (1 or more) and value must have at most {_MAX_TAG_BYTES} bytes each")
        for key, value in spec.tags.items()
        if not key or len(key.encode()) > _MAX_TAG_BYTES or len(value.encode()) > _MAX_TAG_BYTES
    ]


def _at_least_zero(field: str, number: int) -> list[Violation]:
    return [Violation(field, f"must be 0 or more, is {number}")] if number < 0 else []


def _bounds(field: str, adapt: cluster_pb2.AdaptRange) -> list[Violation]:
    wrong = _at_least_zero(f"{field}.minimum", adapt.minimum)
    if adapt.maximum < adapt.minimum:
        wrong.append(Violation(f"{field}.maximum", f"must be at least minimum {adapt.minimum}, is {adapt.maximum}"))
    return wrong


def _raise(wrong: Sequence[Violation]) -> None:
    if wrong:
        raise InvalidRequest.of(*wrong)


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:77]!r}..."
