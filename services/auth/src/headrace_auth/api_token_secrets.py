"""Secrets of API tokens. A secret carries its token, sealed with the deployment's keys, so it needs no record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from headrace.errors import InvalidRequest
from headrace_auth.model import ApiToken
from headrace_chassis.identity.seal import DeploymentKeyError, Seal

SECRET_PREFIX = "hr_"  # noqa: S105 scanners find leaked secrets by it
# What Login takes.
SECRET_BYTES = 8192


@dataclass(frozen=True, slots=True)
class ApiTokenSecrets:
    """Makes secrets with the first deployment key and reads those of any."""

    seal: Seal

    def make(self, token: ApiToken) -> str:
        sealed = self.seal.seal(json.dumps(_claims(token)).encode())
        secret = SECRET_PREFIX + sealed.decode().rstrip("=")
        if len(secret) > SECRET_BYTES:
            raise InvalidRequest(
                f"an API token names the groups of its owner, and the {len(token.groups)} groups of {token.owner} are "
                f"too many for its {SECRET_BYTES} bytes: ask the administrator to send fewer groups to headrace"
            )
        return secret

    def read(self, secret: str) -> ApiToken | None:
        """Return the token that a secret carries, or None if it carries none or is not of this deployment."""
        if not secret.startswith(SECRET_PREFIX):
            return None
        sealed = secret.removeprefix(SECRET_PREFIX)
        try:
            return _token(json.loads(self.seal.open((sealed + "=" * (-len(sealed) % 4)).encode())))
        except DeploymentKeyError:
            return None


def _claims(token: ApiToken) -> Mapping[str, object]:
    return {
        "id": token.id,
        "owner": token.owner,
        "method": token.method,
        "roles": sorted(token.roles),
        "groups": token.groups,
        "note": token.note,
        "created": token.created.timestamp(),
        "expires": token.expires.timestamp() if token.expires else None,
    }


def _token(claims: Mapping[str, Any]) -> ApiToken:
    """Read claims. Those that a newer release added are left out."""
    return ApiToken(
        id=claims["id"],
        owner=claims["owner"],
        method=claims["method"],
        roles=frozenset(claims["roles"]),
        groups=tuple(claims["groups"]),
        note=claims["note"],
        created=datetime.fromtimestamp(claims["created"], UTC),
        expires=None if claims["expires"] is None else datetime.fromtimestamp(claims["expires"], UTC),
    )
