"""Settings of a service: the environment first, then a YAML file, then defaults."""

from __future__ import annotations

import os
import re
import socket
from contextvars import ContextVar
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_serializer, model_validator
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
Network = IPv4Network | IPv6Network


class CallSettings(BaseModel):
    """Limits of calls. Each replica counts for itself; what is refused says when to repeat it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reads_per_second: float = Field(
        default=5000, gt=0, description="Calls that only read, of one user, a second; each replica counts for itself."
    )
    reads_burst: int = Field(default=10_000, ge=1, description="Calls that only read, of one user at once.")
    changes_per_second: float = Field(
        default=100,
        gt=0,
        description="Other calls and new streams of one user, a second; each replica counts for itself.",
    )
    changes_burst: int = Field(default=2000, ge=1, description="Other calls and new streams of one user at once.")
    changes_at_once_per_user: int = Field(
        default=8,
        ge=1,
        description="Calls of one user, or of one cluster's agents, other than reads, that run at the same time; the "
        "others wait.",
    )
    changes_at_once: int = Field(
        default=32,
        ge=1,
        description="Calls of all users, and as many of all agents, other than reads, that run at the same time.",
    )
    logins_per_second: float = Field(
        default=50, gt=0, description="Attempts to log in from one source, a second; each replica counts for itself."
    )
    logins_burst: int = Field(default=500, ge=1, description="Attempts to log in from one source at once.")
    agents_per_second: float = Field(
        default=100,
        gt=0,
        description="Calls and new streams of the agents of one cluster, a second; each replica counts for itself.",
    )
    agents_burst: int = Field(
        default=2000, ge=1, description="Calls and new streams of the agents of one cluster at once."
    )
    streams_per_user: int = Field(
        default=1000, ge=1, description="Open streams, such as watches and followed logs, of one user with one replica."
    )
    streams_per_cluster: int = Field(
        default=20, ge=1, description="Open streams of the agents of one cluster with one replica."
    )


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
    listen_to_all_accounts: bool = Field(
        default=False,
        description="Let all accounts of this machine connect to `listen` if it is a unix socket. Agents that run as "
        "other accounts need it. Each call needs a token all the same.",
    )
    internal_listen: OptionalAddress = Field(
        default="",
        description="gRPC listener for headrace's own services and Envoy, unix:/path or host:port. Empty: none. "
        "On TCP beyond this machine it needs the tls_*_file settings, or trust_network.",
    )
    trust_network: bool = Field(
        default=False,
        description="Let listeners for headrace's own services and for Envoy be plain on the network. Set it only "
        "where a service mesh encrypts these connections and decides who may call whom: who reaches such a listener "
        "otherwise acts as one of headrace's services.",
    )
    health_listen: OptionalAddress = Field(
        default="",
        description="host:port of a plain gRPC listener for health checks and nothing else, for a kubelet, whose "
        "probes speak no TLS. The service `live` is SERVING as long as this process answers; all others are SERVING "
        "while calls are served. Empty: none; the other listeners answer health checks in any case.",
    )
    metrics_listen: OptionalAddress = Field(default="", description="host:port of the metrics page. Empty: none.")
    metrics_token_file: Path | None = Field(
        default=None,
        description="File with the bearer token that readers of the metrics page must send. None: whoever reaches the "
        "page reads it, and the controller gives nobody the list of schedulers.",
    )
    tracing_endpoint: str = Field(
        default="",
        pattern=r"^(https?://[^/]+)?$",
        description="Collector that spans of calls are sent to, OTLP over gRPC, such as http://127.0.0.1:4317. Empty: "
        "calls are not traced. OpenTelemetry's own variables, such as OTEL_TRACES_SAMPLER, set the rest.",
    )
    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        pattern=r"^(redis|rediss|unix)://",
        description="Redis: redis://, rediss:// or unix:///path.sock?db=0.",
    )
    redis_password_file: Path | None = Field(
        default=None,
        description="File with the password of Redis, which `redis_url` then has not; the user is in it, as "
        "redis://user@host. Each new connection reads the file. None: as `redis_url` says.",
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
        "connections to and from this service use the new files; files that cannot be used are logged, and the old "
        "ones stay in use.",
    )
    tls_key_file: Path | None = Field(default=None, description="Private key of this service, PEM.")
    tls_ca_file: Path | None = Field(
        default=None, description="Certificate authority that signs the certificates of other services, PEM."
    )
    log_format: Literal["console", "json"] = Field(default="console", description="Format of log lines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is logged."
    )
    shutdown_delay_seconds: float = Field(
        default=0,
        ge=0,
        le=3600,
        description="Seconds after SIGTERM for which calls are served as before, while health checks answer "
        "NOT_SERVING: until load balancers send no new calls. Then the drain begins.",
    )
    drain_seconds: float = Field(
        default=5, ge=0, le=3600, description="Seconds of the drain, within which calls may finish."
    )
    default_deadline_seconds: float = Field(
        default=30, gt=0, le=3600, description="Deadline of unary calls that come without one, in seconds."
    )

    calls: CallSettings = Field(default=CallSettings(), description="Limits of calls.")
    trusted_proxies: list[Network] = Field(
        default=[IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")],
        description="Networks of the proxies before `listen`, such as Envoy's. The last address in x-forwarded-for of "
        "a call from there, or over a unix socket, is the source that calls are counted for; of other calls it is the "
        "address of the peer.",
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

    def may_be_plain(self, address: str) -> bool:
        """Whether a listener on TCP for our own services is safe: with mutual TLS, on loopback, or in a mesh."""
        return self.has_tls or self.trust_network or is_loopback(address)

    @field_serializer("redis_url")
    def _without_password(self, url: str) -> str:
        return re.sub(r"(?<=://)[^/@]*@", "***@", url)

    @model_validator(mode="after")
    def _check_redis(self) -> Self:
        if self.redis_password_file and urlsplit(self.redis_url).password is not None:
            raise ValueError("redis_url has a password, and redis_password_file names another one: set one of them")
        return self

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        files = (self.tls_certificate_file, self.tls_key_file, self.tls_ca_file)
        if any(files) and not all(files):
            raise ValueError(
                "tls_certificate_file, tls_key_file and tls_ca_file belong together: set all three or none"
            )
        on_network = self.internal_listen and not unix_path(self.internal_listen)
        if on_network and not self.may_be_plain(self.internal_listen):
            raise ValueError(
                f"internal_listen={self.internal_listen} would let anybody on the network act as one of headrace's own "
                "services: set tls_certificate_file, tls_key_file and tls_ca_file (mutual TLS), "
                "or listen on unix:/path or on 127.0.0.1, or set trust_network if a service mesh protects the port"
            )
        if self.health_listen and unix_path(self.health_listen):
            raise ValueError("health_listen must be host:port: a kubelet reaches no unix sockets")
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
