"""Development mode: any user with any password."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from headrace_auth.authenticators.base import AuthenticatorSettings, Identity
from headrace_chassis.logs import get_logger

WARNING = "development mode: ANY user is let in with ANY password; never run it where others can reach it"

log = get_logger()


class Settings(AuthenticatorSettings):
    """Settings of the development mode."""

    label: str = "Any user with any password (development)"


@dataclass(frozen=True, slots=True)
class Development:
    """Accepts any user, with a warning."""

    warning: str = WARNING

    async def check_password(self, username: str, password: str) -> Identity | None:  # noqa: ARG002 that is the point
        log.warning("login without a check", user=username, reason=WARNING)
        return Identity(username)


def create(settings: Settings, stack: AsyncExitStack) -> Development:  # noqa: ARG001 the plugin's signature
    log.warning(WARNING)
    return Development()
