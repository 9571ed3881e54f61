"""Settings of a service: the environment first, then a YAML file, then defaults."""

from __future__ import annotations

import os
import re
import socket
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, Field, field_serializer, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from headrace_chassis.addresses import check_address, is_loopback, unix_path

_file: ContextVar[Path | None] = ContextVar("headrace_settings_file", default=None)


def _default_replica() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def _check_if_set(address: str) -> str:
    return check_address(address) if address else address


Address = Annotated[str, AfterValidator(check_address)]
OptionalAddress = Annotated[str, AfterValidator(_check_if_set)]


class ServiceSettings(BaseSettings):
    """Settings shared by all services. Subclasses set `env_prefix` and add their own."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_nested_delimiter="__")

    deployment: str = Field(
        default="headrace",
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="Name of the deployment: prefix of all keys in Redis and label of all processes.",
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
        description="gRPC listener for headrace's own services and Envoy, unix:/path or host:port. Empty: none. "
        "On TCP beyond this machine it needs the tls_*_file settings.",
    )
    metrics_listen: OptionalAddress = Field(default="", description="host:port of the metrics page. Empty: none.")
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        pattern=r"^(redis|rediss|unix)://",
        description="Redis: redis://, rediss:// or unix:///path.sock?db=0.",
    )
    deployment_key_file: Path = Field(
        description="File with the deployment's keys: 32 random bytes each in urlsafe base64, one per line; "
        "the first seals, all open."
    )
    auth_address: OptionalAddress = Field(
        default="", description="gRPC address of the auth service, for the keys that verify access tokens."
    )
    tls_certificate_file: Path | None = Field(
        default=None,
        description="Certificate of this service with its chain, PEM. When one of the tls_*_file changes, new "
        "connections to this service use the new files; files that cannot be used are logged, and the old ones stay in "
        "use. Connections that this service opens keep the certificate of its start.",
    )
    tls_key_file: Path | None = Field(default=None, description="Private key of this service, PEM.")
    tls_ca_file: Path | None = Field(
        default=None, description="Certificate authority that signs the certificates of other services, PEM."
    )
    log_format: Literal["console", "json"] = Field(default="console", description="Format of log lines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is logged."
    )
    drain_seconds: float = Field(
        default=5, ge=0, le=3600, description="Seconds after SIGTERM within which calls may finish."
    )
    default_deadline_seconds: float = Field(
        default=30, gt=0, le=3600, description="Deadline of unary calls that come without one, in seconds."
    )

    @classmethod
    def load(cls, file: Path | None = None) -> Self:
        """Read the environment and the file; raise ValueError that names what is wrong."""
        if file is not None and not file.is_file():
            raise ValueError(f"the settings file {file} cannot be read: there is no such file")
        token = _file.set(file)
        try:
            return cls.model_validate({})
        finally:
            _file.reset(token)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 not used
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 not used
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the file that `load` was given below the environment."""
        return init_settings, env_settings, _yaml_source(settings_cls)

    @property
    def has_tls(self) -> bool:
        """Whether services authenticate one another with certificates."""
        return self.tls_certificate_file is not None

    @field_serializer("redis_url")
    def _without_password(self, url: str) -> str:
        return re.sub(r"(?<=://)[^/@]*@", "***@", url)

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


def _yaml_source(settings_cls: type[BaseSettings]) -> YamlConfigSettingsSource:
    file = _file.get()
    try:
        return YamlConfigSettingsSource(settings_cls, file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"the settings file {file} cannot be read: {error}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"the settings file {file} must hold a mapping of names to values") from error
