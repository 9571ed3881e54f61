"""Between the contract's messages and auth's own types."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from headrace.errors import InvalidRequest, Violation
from headrace.resource_names import api_token_name, user_name
from headrace.v1 import auth_service_pb2 as pb
from headrace_auth.login import LoginMethod
from headrace_auth.model import ApiToken
from headrace_auth.signing_keys import SigningKey
from headrace_chassis.identity.caller import ADMIN, USER, Caller

_ROLES: dict[str, pb.Role.ValueType] = {USER: pb.ROLE_USER, ADMIN: pb.ROLE_ADMIN}
_NAMES = {number: name for name, number in _ROLES.items()}


def timestamp(moment: float | datetime | None) -> Timestamp | None:
    """Convert seconds since the epoch, or a moment."""
    if moment is None:
        return None
    result = Timestamp()
    result.FromDatetime(moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC))
    return result


def login_method(method: LoginMethod) -> pb.LoginMethod:
    kind = pb.CREDENTIAL_KIND_PASSWORD if method.with_password else pb.CREDENTIAL_KIND_TOKEN
    return pb.LoginMethod(method=method.method, label=method.label, credential_kind=kind)


def user(caller: Caller) -> pb.User:
    return pb.User(
        name=user_name(caller.user),
        groups=[f"groups/{group}" for group in caller.groups],
        roles=_to_roles(caller.roles),
        method=caller.method,
    )


def api_token(token: ApiToken) -> pb.ApiToken:
    return pb.ApiToken(
        name=api_token_name(token.id),
        owner=user_name(token.owner),
        note=token.note,
        roles=_to_roles(token.roles),
        create_time=timestamp(token.created),
        expire_time=timestamp(token.expires),
        last_use_time=timestamp(token.last_used),
    )


def signing_key(key: SigningKey) -> pb.SigningKey:
    """Convert the public half of a key."""
    return pb.SigningKey(key_id=key.key_id, jwk_json=key.jwk_json, expire_time=timestamp(key.expires))


def roles(token: pb.ApiToken) -> frozenset[str]:
    """Return the roles that are asked for. A role that this release does not know is refused, not dropped."""
    unknown = [number for number in token.roles if number not in _NAMES]
    if unknown:
        raise InvalidRequest.of(Violation("api_token.roles", f"{unknown[0]} is not a role"))
    return frozenset(_NAMES[number] for number in token.roles)


def expires(token: pb.ApiToken) -> datetime | None:
    """Return the time at which the token is to expire, or None for never."""
    if not token.HasField("expire_time"):
        return None
    try:
        return token.expire_time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest.of(Violation("api_token.expire_time", "is not a valid time")) from None


def _to_roles(names: frozenset[str]) -> list[pb.Role.ValueType]:
    return [_ROLES[name] for name in sorted(names) if name in _ROLES]
