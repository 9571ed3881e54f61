"""The API token that a deployment is started with. It needs no store."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from headrace_auth.api_token_store import digest_of
from headrace_auth.model import all_roles, is_user_id
from headrace_chassis.identity.caller import Caller

BOOTSTRAP = "bootstrap"


@dataclass(frozen=True)
class BootstrapToken:
    """A token from a file. It vouches for its user as long as it is configured."""

    user: str
    roles: frozenset[str]
    digest: str = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> BootstrapToken:
        try:
            content = cast("dict[str, object]", json.loads(path.read_text(encoding="utf-8")))
            roles = all_roles(map(str, cast("list[object]", content["roles"])))
            user, digest = str(content["user"]), digest_of(str(content["secret"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'the bootstrap token file {path} must be JSON {{"user", "roles", "secret"}}: {error!r}'
            ) from error
        if not is_user_id(user):
            raise ValueError(f"{user[:80]!r} in {path} cannot be a user id: use a name without spaces and /")
        return cls(user, roles, digest)

    @property
    def caller(self) -> Caller:
        return Caller(self.user, (), self.roles, BOOTSTRAP)

    def matches(self, secret: str) -> bool:
        return hmac.compare_digest(digest_of(secret), self.digest)
