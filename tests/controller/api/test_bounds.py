"""Requests that are too large: each field of each method, and a spec as a whole."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import grpc.aio
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from tests.controller.errors_of import wrong_fields
from tests.controller.user import User

from headrace._wire.status import DETAILS_KEY, from_rpc_error
from headrace.errors import InvalidRequest
from headrace.option_protos import value_to_proto
from headrace.v1 import cluster_pb2, cluster_service_pb2, options_service_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.interceptors.lift import MAX_REQUEST_BYTES

Path = tuple[FieldDescriptor, ...]
SERVICES = (
    cluster_service_pb2.DESCRIPTOR.services_by_name["ClusterService"],
    options_service_pb2.DESCRIPTOR.services_by_name["OptionsService"],
)
REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ABORTED}
METHODS = {method.name: method for service in SERVICES for method in service.methods}


def paths(message: Descriptor, above: Path = ()) -> Iterator[Path]:
    """The fields of a message and of those within it that have any size."""
    for field in message.fields:
        path = (*above, field)
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if field.is_repeated or field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}:
            yield path
        if field.message_type is not None and not is_map:
            yield from paths(field.message_type, path)


def filled(request: Message, path: Path, size: int) -> Message:
    """Fill the field at a path with this number of bytes or a few more."""
    inner: Any = request
    for field in path[:-1]:
        inner = getattr(inner, field.name)
        inner = inner.add() if field.is_repeated else inner
    field = path[-1]
    name, kind = field.name, field.message_type
    values = getattr(inner, name)
    if not field.is_repeated:
        setattr(inner, name, "x" * size)
    elif kind is not None and kind.GetOptions().map_entry:
        value = kind.fields_by_name["value"]
        for n in range(size // 20):
            if value.message_type is not None:
                values[f"key {n:>16}"].SetInParent()
            else:
                values[f"key {n:>16}"] = "" if value.type == FieldDescriptor.TYPE_STRING else 1
    elif kind is not None:
        values.extend(GetMessageClass(kind)() for _ in range(size // 2))
    elif field.type == FieldDescriptor.TYPE_STRING:
        values.extend(["x" * 18] * (size // 20 + 1))
    else:
        values.extend([1] * size)
    return request


def request_about(cluster: str, method: str) -> Any:
    """A request of the method that is about this cluster."""
    request: Any = GetMessageClass(METHODS[method].input_type)()
    for field in ("name", "parent"):
        if field in request.DESCRIPTOR.fields_by_name:
            setattr(request, field, cluster)
    if isinstance(request, pb.UpdateClusterRequest):
        request.cluster.name = cluster
        request.update_mask.CopyFrom(FieldMask(paths=["spec.tags"]))
    return request


async def refusal(ann: User, method: str, request: Any) -> grpc.aio.AioRpcError | None:
    """What the call fails with, if it fails."""
    stub: Any = ann.options_stub if method.startswith(("ListProfiles", "ListOptions")) else ann.stub
    call = getattr(stub, method)(request, metadata=ann.metadata, timeout=20)
    try:
        if isinstance(call, grpc.aio.UnaryStreamCall):
            await call.read()
            call.cancel()
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error
    return None


def header_bytes(error: grpc.aio.AioRpcError) -> int:
    details = dict(error.trailing_metadata())[DETAILS_KEY]
    assert isinstance(details, bytes)
    return len(error.details() or "") + len(base64.b64encode(details))


@pytest.mark.parametrize("method", METHODS)
async def test_no_field_is_longer_than_requests_may_be(ann: User, method: str) -> None:
    cluster = (await ann.create()).name
    for path in paths(METHODS[method].input_type):
        request = filled(request_about(cluster, method), path, MAX_REQUEST_BYTES + 100)
        error = await refusal(ann, method, request)
        assert error is not None, [field.name for field in path]
        assert type(from_rpc_error(error)) is InvalidRequest
        assert header_bytes(error) < 8192


@pytest.mark.parametrize("method", METHODS)
async def test_the_largest_requests_get_answers_with_small_headers(ann: User, method: str) -> None:
    cluster = (await ann.create()).name
    for path in paths(METHODS[method].input_type):
        error = await refusal(ann, method, filled(request_about(cluster, method), path, MAX_REQUEST_BYTES // 2))
        if error is not None:
            assert error.code() in REFUSALS, error
            assert header_bytes(error) < 8192


async def test_a_request_with_thousands_of_wrong_fields_names_the_first_ones(ann: User) -> None:
    group = cluster_pb2.WorkerGroup(options={f"no_such_{n}": value_to_proto(1) for n in range(64)})
    request = pb.CreateClusterRequest(spec=cluster_pb2.ClusterSpec(worker_groups=[group] * 64))
    assert request.ByteSize() <= MAX_REQUEST_BYTES
    error = await refusal(ann, "CreateCluster", request)
    assert error is not None
    assert header_bytes(error) < 8192
    described = from_rpc_error(error)
    assert isinstance(described, InvalidRequest)
    assert "more than 20 fields are wrong" in described.message
    assert 1 < len(described.violations) <= 20


async def test_a_spec_is_bounded_as_a_whole(ann: User) -> None:
    options = {"environment": value_to_proto({"A": "x" * 30_000})}
    groups = [cluster_pb2.WorkerGroup(name=f"g{n}", options=options) for n in range(3)]
    assert await wrong_fields(ann.create(worker_groups=groups)) == {"spec"}
    made = await ann.create(worker_groups=groups[:2])
    update = ann.update(made.name, "spec.worker_groups", spec=cluster_pb2.ClusterSpec(worker_groups=groups))
    assert await wrong_fields(update) == {"cluster"}
    assert (await ann.get(made.name)).spec == made.spec
