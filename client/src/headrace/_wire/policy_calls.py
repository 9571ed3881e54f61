"""The calls to PolicyService, for the command line."""

from __future__ import annotations

from headrace._wire.connection import Connection
from headrace.v1 import policy_service_pb2


async def show_policy(connection: Connection) -> policy_service_pb2.ShowPolicyResponse:
    """Return the policy in force (ShowPolicy)."""
    request = policy_service_pb2.ShowPolicyRequest()
    return await connection.call(connection.policies.ShowPolicy, request, doing="reading the policy")


async def diff_policy(connection: Connection, policy: str) -> policy_service_pb2.DiffPolicyResponse:
    """Return what another policy would change, and for whom (DiffPolicy)."""
    request = policy_service_pb2.DiffPolicyRequest(policy=policy)
    return await connection.call(connection.policies.DiffPolicy, request, doing="comparing policies")
