"""API tokens, as their owners create, list and revoke them."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.auth.running import Metadata, RunningAuth

from headrace.v1 import auth_service_pb2 as pb


async def create(
    auth: RunningAuth,
    caller: Metadata,
    note: str = "",
    roles: tuple[pb.Role.ValueType, ...] = (),
    expires: float | None = None,
) -> pb.CreateApiTokenResponse:
    request = pb.CreateApiTokenRequest(api_token=pb.ApiToken(note=note, roles=roles))
    if expires is not None:
        request.api_token.expire_time.FromDatetime(datetime.fromtimestamp(expires, UTC))
    return await auth.stub.CreateApiToken(request, metadata=caller)


async def revoke(auth: RunningAuth, caller: Metadata, name: str) -> None:
    await auth.stub.DeleteApiToken(pb.DeleteApiTokenRequest(name=name), metadata=caller)


async def listed(auth: RunningAuth, caller: Metadata, owner: str = "") -> list[pb.ApiToken]:
    answer = await auth.stub.ListApiTokens(pb.ListApiTokensRequest(owner=owner), metadata=caller)
    return list(answer.api_tokens)
