"""UsageService of the fake headrace: answers with the budgets that a test sets, and that nothing was used.

`tests/contract/test_usage.py` has what the real one answers.
"""

# ruff: noqa: N802 - the names of the contract

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headrace import errors
from headrace.v1 import usage_service_pb2 as pb
from headrace.v1 import usage_service_pb2_grpc

if TYPE_CHECKING:
    from tests.client.fake_clusters import FakeClusters


class FakeUsage(usage_service_pb2_grpc.UsageServiceServicer):
    """`budgets` is what ListBudgets answers."""

    def __init__(self, clusters: FakeClusters, caller: Callable[[Any], str]) -> None:
        self._clusters = clusters
        self._caller = caller
        self.budgets = pb.ListBudgetsResponse()

    def ListBudgets(self, request: pb.ListBudgetsRequest, context: Any) -> pb.ListBudgetsResponse:
        caller = self._caller(context)
        user = request.user or caller
        if user != caller and caller not in self._clusters.admins:
            raise errors.PermissionDenied(f"{caller} may not see the budgets of {user}; only admins may")
        return self.budgets

    def ListUsage(self, request: pb.ListUsageRequest, context: Any) -> pb.ListUsageResponse:
        return pb.ListUsageResponse()
