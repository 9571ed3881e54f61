"""Page tokens: opaque, and bound to method, request and caller."""

from __future__ import annotations

import base64

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidRequest
from headrace.v1 import auth_service_pb2, cluster_service_pb2
from headrace_chassis.paging import make_token, page_size, read_token

REQUEST = auth_service_pb2.ListApiTokensRequest(owner="users/ann", page_size=2)


@given(st.text())
def test_a_token_returns_its_cursor(cursor: str) -> None:
    token = make_token(REQUEST, cursor, caller="ann")
    assert read_token(REQUEST, token, caller="ann") == cursor


def test_no_token_means_the_first_page() -> None:
    assert read_token(REQUEST, "", caller="ann") == ""


def test_the_size_of_the_page_and_the_token_before_may_change() -> None:
    token = make_token(REQUEST, "c7", caller="ann")
    later = auth_service_pb2.ListApiTokensRequest(owner="users/ann", page_size=50, page_token=token)
    assert read_token(later, token, caller="ann") == "c7"


@pytest.mark.parametrize(
    ("request_", "caller"),
    [
        (auth_service_pb2.ListApiTokensRequest(owner="users/bob"), "ann"),
        (auth_service_pb2.ListApiTokensRequest(owner="users/ann"), "bob"),
        (cluster_service_pb2.ListWorkersRequest(parent="users/ann"), "ann"),
    ],
)
def test_a_token_of_another_request_method_or_caller_is_refused(request_: Message, caller: str) -> None:
    token = make_token(REQUEST, "c7", caller="ann")
    with pytest.raises(InvalidRequest, match="page_token: belongs to another request"):
        read_token(request_, token, caller=caller)


@given(st.text(min_size=1))
def test_no_text_is_accepted_as_a_token(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_token(REQUEST, text, caller="ann")
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


def test_a_token_with_another_cursor_is_refused() -> None:
    digest = base64.urlsafe_b64decode(make_token(REQUEST, "c", caller="ann") + "===")[:8]
    forged = base64.urlsafe_b64encode(digest + b"d").decode()
    with pytest.raises(InvalidRequest):
        read_token(REQUEST, forged, caller="ann")


@pytest.mark.parametrize(("asked", "size"), [(0, 100), (1, 1), (1000, 1000)])
def test_a_page_has_the_size_asked_for_or_the_default(asked: int, size: int) -> None:
    assert page_size(asked) == size


@pytest.mark.parametrize("asked", [-1, 1001])
def test_a_size_out_of_bounds_names_the_field(asked: int) -> None:
    with pytest.raises(InvalidRequest, match="page_size: must be 0 to 1000"):
        page_size(asked)
