"""`Gateway.budgets()`."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, assert_type

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.client.fake_headrace import FakeHeadrace

from headrace import Gateway
from headrace.errors import PermissionDenied
from headrace.v1 import usage_service_pb2 as pb


@pytest.fixture
def budget(fake: FakeHeadrace) -> pb.BudgetState:
    """A budget of the caller's."""
    fake.usage.budgets.currency = "EUR"
    return fake.usage.budgets.budgets.add(
        subject="users/ann", period="day", what="cost", limit=2, used=0.5, reset_time=Timestamp(seconds=7), then="stop"
    )


def test_each_budget_has_what_is_left_and_when_it_begins_again(gateway: Gateway, budget: pb.BudgetState) -> None:
    found = assert_type(gateway.budgets(), list[dict[str, Any]])
    assert found == [
        {
            "subject": "users/ann",
            "period": "day",
            "what": "cost",
            "currency": "EUR",
            "limit": 2,
            "used": 0.5,
            "left": 1.5,
            "used_up_time": None,
            "reset_time": datetime.fromtimestamp(7, UTC),
            "then": "stop",
        }
    ]
    budget.what, budget.used = "core_hours", 3
    budget.used_up_time.FromSeconds(5)
    (row,) = gateway.budgets("ann")
    assert (row["currency"], row["left"], row["used_up_time"]) == ("", 0, datetime.fromtimestamp(5, UTC))
    with pytest.raises(PermissionDenied, match="users/bob"):
        gateway.budgets("bob")


async def test_an_asynchronous_gateway_returns_a_coroutine(configured: None) -> None:
    async with Gateway(asynchronous=True) as gateway:
        budgets = assert_type(gateway.budgets(), Coroutine[Any, Any, list[dict[str, Any]]])
        assert await budgets == []
