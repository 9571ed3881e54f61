"""Errors as statuses: every reason of the contract has a class, and each class survives the way."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import status_pb2

from headrace import errors
from headrace._wire.status import DETAILS_KEY, TABLE, from_rpc_error, to_status
from headrace.v1.error_reason_pb2 import ErrorReason

INTERNAL_REASONS = {"SESSION_REPLACED"}
"""Reasons between our own parts, which are not in the public contract."""


def sent(error: errors.HeadraceError) -> grpc.aio.AioRpcError:
    """What a caller of this error's raiser gets."""
    status = to_status(error)
    metadata = grpc.aio.Metadata(*status.trailing_metadata)
    return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), metadata, status.details)


def test_the_table_has_the_reasons_of_the_contract() -> None:
    contract = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.DESCRIPTOR.values_by_name} - {"UNSPECIFIED"}
    assert {reason for _, reason in TABLE.values()} - INTERNAL_REASONS == contract


@pytest.mark.parametrize("cls", TABLE, ids=lambda cls: cls.__name__)
def test_each_class_arrives_as_it_was_raised(cls: type[errors.HeadraceError]) -> None:
    received = from_rpc_error(sent(cls("a sentence", {"cluster": "clusters/c1"})))
    assert type(received) is cls
    assert (received.message, received.details) == ("a sentence", {"cluster": "clusters/c1"})


def test_wrong_fields_arrive_one_by_one() -> None:
    violations = [errors.Violation("a", "is too long"), errors.Violation("b.c", "is no number")]
    received = from_rpc_error(sent(errors.InvalidRequest.of(*violations)))
    assert isinstance(received, errors.InvalidRequest)
    assert list(received.violations) == violations


def test_a_subclass_arrives_as_the_class_of_the_table() -> None:
    assert type(from_rpc_error(sent(errors.OptionsDiffer("x")))) is errors.AliasTaken


def test_a_reason_of_a_newer_headrace_is_known_by_its_code() -> None:
    status = status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="no such queue")
    metadata = grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString()))
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), metadata, "no such queue")
    assert type(from_rpc_error(error)) is errors.NotFound


@pytest.mark.parametrize("details", [b"", b"\xff\xff", b"\x0a\x05ab"])
def test_details_that_are_no_status_do_no_harm(details: bytes) -> None:
    metadata = grpc.aio.Metadata((DETAILS_KEY, details))
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), metadata, "broken")
    assert isinstance(from_rpc_error(error, "asking"), errors.GatewayServerError)
