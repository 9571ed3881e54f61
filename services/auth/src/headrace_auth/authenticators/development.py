"""Development mode: everybody is let in."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.errors import BadCredentials
from headrace_auth.authenticators.base import Parts
from headrace_chassis.identity.caller import OWNER, Caller
from headrace_chassis.logs import get_logger

METHOD = "development"
WARNING = "development mode: ANY user is let in with ANY password; never run it where others can reach it"

log = get_logger()


@dataclass(frozen=True, slots=True)
class DevelopmentAuthenticator:
    """Believes everybody, and is loud about it."""

    method: str = METHOD

    async def check_password(self, username: str, password: str) -> Caller:  # noqa: ARG002 that is the point of it
        if not username:
            raise BadCredentials("give a user name")
        log.warning("login without a check", user=username, reason=WARNING)
        return Caller(username, (), frozenset({OWNER}), self.method)


def build(parts: Parts) -> DevelopmentAuthenticator | None:
    """Builds it; named as an entry point in this distribution's pyproject.toml."""
    if not parts.settings.development:
        return None
    log.warning(WARNING)
    return DevelopmentAuthenticator()
