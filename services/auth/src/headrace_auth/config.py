"""Settings of the auth service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SerializeAsAny
from pydantic_settings import SettingsConfigDict

from headrace_auth.authenticators.base import AuthenticatorSettings
from headrace_auth.authenticators.registry import read_settings
from headrace_chassis.addresses import OPTIONAL_DNS_NAME
from headrace_chassis.audit.log import AuditSettings
from headrace_chassis.destinations import Destination, Destinations
from headrace_chassis.settings import OptionalAddress, ServiceSettings


class AuthSettings(ServiceSettings):
    """Settings of the auth service."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_AUTH_")

    authenticators: Annotated[dict[str, SerializeAsAny[AuthenticatorSettings]], BeforeValidator(read_settings)] = Field(
        default_factory=dict[str, AuthenticatorSettings],
        description="Ways to log in besides API tokens, in the order in which they are tried: a mapping of names to "
        "the settings of each.",
    )
    bootstrap_token_file: Path | None = Field(
        default=None,
        description='JSON file with an API token that works without the store: {"user", "roles", "secret"}.',
    )
    policy_file: Path | None = Field(
        default=None,
        description="The policy file of the controller. This service reads the admins in its section `roles` and takes "
        "changes up without a restart.",
    )
    audit: AuditSettings = Field(default=AuditSettings(), description="The audit log.")
    token_seconds: int = Field(default=900, ge=10, le=86_400, description="Lifetime of an access token, in seconds.")
    key_rotation_seconds: int = Field(
        default=86_400,
        ge=10,
        le=31_536_000,
        description="Seconds for which a key signs; it verifies until its last token has expired.",
    )
    link_seconds: int = Field(
        default=900,
        ge=10,
        le=86_400,
        description="Seconds within which a dashboard link can be opened, by one browser.",
    )
    session_seconds: int = Field(
        default=43_200,
        ge=60,
        le=2_592_000,
        description="Seconds for which a browser that opened a dashboard link stays logged in.",
    )
    route_address: OptionalAddress = Field(
        default="",
        description="Internal gRPC address of the controller, for the routes of dashboards. Empty: no dashboards.",
    )
    allowed_destinations: tuple[Destination, ...] = Field(
        default=(),
        description="Where dashboards may be, whatever agents report; the proxy's setting of this name explains it, "
        "and needs the same value.",
    )
    dashboard_domain: str = Field(
        default="",
        pattern=OPTIONAL_DNS_NAME,
        max_length=180,
        description="Domain at which each dashboard has a host name of its own, <cluster id>.<dashboard_domain>; the "
        "proxy's setting of this name explains it, and needs the same value.",
    )

    @property
    def destinations(self) -> Destinations:
        listeners = (self.listen, self.internal_listen, self.metrics_listen, self.health_listen)
        own = (*listeners, self.route_address, self.auth_address)
        return Destinations.of(self.allowed_destinations, own)
