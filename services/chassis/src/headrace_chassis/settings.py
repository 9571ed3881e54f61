"""Settings of a service: environment over YAML file over default."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated, Literal, Self, cast

import yaml
from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from headrace_chassis.addresses import check_address, is_loopback, unix_path


def _default_replica() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def _check_if_set(address: str) -> str:
    return check_address(address) if address else address


Address = Annotated[str, AfterValidator(check_address)]
OptionalAddress = Annotated[str, AfterValidator(_check_if_set)]


class ServiceSettings(BaseSettings):
    """What every service can be told. Subclasses set `env_prefix` and add their own."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_nested_delimiter="__")

    deployment: str = Field(
        default="headrace",
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="Name of the deployment: prefix of all keys in Redis and mark on all that is started.",
    )
    replica: str = Field(
        default_factory=_default_replica,
        min_length=1,
        max_length=128,
        description="Name of this replica. Default: host name and process id.",
    )
    listen: Address = Field(description="Public gRPC listener, unix:/path or host:port.")
    internal_listen: OptionalAddress = Field(
        default="",
        description="gRPC listener for other headrace services, unix:/path or host:port. Empty: none. "
        "On TCP beyond this machine it needs the tls_*_file settings.",
    )
    metrics_listen: OptionalAddress = Field(default="", description="host:port of the metrics page. Empty: none.")
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        pattern=r"^(redis|rediss|unix)://",
        description="Redis: redis://, rediss:// or unix:///path.sock?db=0.",
    )
    deployment_key_file: Path = Field(
        description="File with the deployment's keys: 32 random bytes each, urlsafe base64, one a line; "
        "the first seals, all open."
    )
    auth_address: OptionalAddress = Field(
        default="", description="gRPC address of the auth service, for the keys that tokens are signed with."
    )
    tls_certificate_file: Path | None = Field(
        default=None,
        description="Certificate of this service with its chain, PEM. When one of the tls_*_file changes, new "
        "connections to this service get what the files hold then; what cannot be used is logged, and the old stays. "
        "What this service itself has opened to others keeps the certificate that it began with until a restart.",
    )
    tls_key_file: Path | None = Field(default=None, description="Private key of this service, PEM.")
    tls_ca_file: Path | None = Field(
        default=None, description="Certificate authority that other services' certificates are checked with, PEM."
    )
    log_format: Literal["console", "json"] = Field(default="console", description="How log lines look.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")
    drain_seconds: float = Field(
        default=5, ge=0, le=3600, description="How long calls under way may go on after the signal to end."
    )
    default_deadline_seconds: float = Field(
        default=30, gt=0, le=3600, description="Deadline of unary calls that come without one."
    )

    @classmethod
    def load(cls, file: Path | None = None) -> Self:
        """Reads the file, if any, and the environment, which wins."""
        values = _read_yaml(file) if file else {}
        return cls.model_validate(_merge(values, EnvSettingsSource(cls)()))

    @property
    def has_tls(self) -> bool:
        """Whether services prove themselves to one another with certificates."""
        return self.tls_certificate_file is not None

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        files = (self.tls_certificate_file, self.tls_key_file, self.tls_ca_file)
        if any(files) and not all(files):
            raise ValueError(
                "tls_certificate_file, tls_key_file and tls_ca_file belong together: set all three or none"
            )
        on_network = self.internal_listen and not unix_path(self.internal_listen)
        if on_network and not self.has_tls and not is_loopback(self.internal_listen):
            raise ValueError(
                f"internal_listen={self.internal_listen} would let anybody on the network act as one of headrace's own "
                "services: set tls_certificate_file, tls_key_file and tls_ca_file (mutual TLS), "
                "or listen on unix:/path or on 127.0.0.1"
            )
        if self.metrics_listen and unix_path(self.metrics_listen):
            raise ValueError("metrics_listen must be host:port: Prometheus reads no unix sockets")
        return self


def _read_yaml(file: Path) -> dict[str, object]:
    try:
        content: object = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"the settings file {file} cannot be read: {error}") from error
    if not isinstance(content or {}, dict):
        raise TypeError(f"the settings file {file} must hold a mapping of names to values")
    return cast("dict[str, object]", content or {})


def _merge(below: dict[str, object], above: dict[str, object]) -> dict[str, object]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[name] = _merge(cast("dict[str, object]", old), cast("dict[str, object]", value))
        else:
            merged[name] = value
    return merged
