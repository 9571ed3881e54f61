"""Settings of the auth service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from headrace_chassis.settings import OptionalAddress, ServiceSettings


class AuthSettings(ServiceSettings):
    """What the auth service can be told."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_AUTH_")

    users_file: Path | None = Field(
        default=None,
        description="File of users with hashed passwords; see `python -m headrace_auth users --help`. Empty: none.",
    )
    development: bool = Field(
        default=False,
        description="Lets in ANY user with ANY password. For trying things out on one's own machine only.",
    )
    bootstrap_token_file: Path | None = Field(
        default=None,
        description='JSON file with an API token that works without the store: {"user", "roles", "secret"}.',
    )
    token_seconds: int = Field(default=900, ge=10, le=86_400, description="How long an access token works.")
    key_rotation_seconds: int = Field(
        default=86_400,
        ge=10,
        le=31_536_000,
        description="How long a key signs; it verifies until its tokens have run out.",
    )
    link_seconds: int = Field(
        default=900, ge=10, le=86_400, description="How long a dashboard link may be opened first."
    )
    session_seconds: int = Field(
        default=43_200, ge=60, le=2_592_000, description="How long a browser that opened a link stays logged in."
    )
    authz_listen: OptionalAddress = Field(
        default="",
        description="Where Envoy asks whether a request may pass (ext_authz), unix:/path or host:port. Empty: off.",
    )
    route_address: OptionalAddress = Field(
        default="", description="Internal gRPC address of the controller, for the routes of dashboards."
    )
