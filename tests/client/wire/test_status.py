"""Errors as statuses: every reason of the contract has a class, and each class survives the way."""

from __future__ import annotations

import base64
import operator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_call_that_came_too_often_says_when_to_repeat_it() -> None:
    error = errors.TooManyRequests.of("you create too many clusters", 1.25)
    assert str(error) == "you create too many clusters; repeat it in 1.2 s"
    received = from_rpc_error(sent(error))
    assert isinstance(received, errors.TooManyRequests)
    assert received.retry_after == 1.2
    status = status_pb2.Status.FromString(to_status(error).trailing_metadata[0][1])
    retry_info = error_details_pb2.RetryInfo()
    assert status.details[-1].Unpack(retry_info)
    assert retry_info.retry_delay.ToMilliseconds() == 1200
    assert errors.TooManyRequests("from an older headrace").retry_after == 0


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


LONG: st.SearchStrategy[str] = st.builds(
    operator.mul, st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.integers(1, 400)
)


@given(message=LONG, details=st.dictionaries(LONG, LONG, max_size=5), violation=st.tuples(LONG, LONG))
def test_the_headers_of_an_error_stay_below_8_kib(
    message: str, details: dict[str, str], violation: tuple[str, str]
) -> None:
    for error in (
        errors.InvalidRequest(message, details, violations=[errors.Violation(*violation)] * 4000),
        errors.QuotaExceeded(message, {**details, "subject": violation[0]}),
    ):
        status = to_status(error)
        ((_, content),) = status.trailing_metadata
        assert len(_header(status.details)) + len(base64.b64encode(content)) < 8192
        received = from_rpc_error(sent(error))
        assert type(received) is type(error)
        assert received.message == status.details


def test_a_message_that_is_too_long_is_cut_between_characters() -> None:
    assert to_status(errors.InternalError("a" * 1501)).details == "a" * 1497 + "..."
    assert to_status(errors.InternalError("a" * 1500)).details == "a" * 1500
    assert to_status(errors.InternalError("a" + "ß" * 1000)).details == "a" + "ß" * 249 + "..."


def test_only_the_first_of_many_wrong_fields_arrive() -> None:
    error = errors.InvalidRequest.of(*(errors.Violation(f"groups[{n}]", "is wrong") for n in range(4000)))
    received = from_rpc_error(sent(error))
    assert isinstance(received, errors.InvalidRequest)
    assert [violation.field for violation in received.violations] == [f"groups[{n}]" for n in range(20)]
    assert received.message.startswith(
        "more than 20 fields are wrong; the first of them: groups[0]: is wrong; groups[1]"
    )
    assert "groups[20]" not in received.message


def _header(message: str) -> bytes:
    """A message as gRPC writes it into a header."""
    return b"".join(bytes([byte]) if 0x20 <= byte <= 0x7E and byte != ord("%") else b"%00" for byte in message.encode())
