"""Settings of the proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import SettingsConfigDict

from headrace_chassis.addresses import is_loopback, unix_path
from headrace_chassis.settings import Address, ServiceSettings


def _check_network(address: str) -> str:
    if unix_path(address) is not None:
        raise ValueError(f"{address!r}: the public port must be ip:port")
    return address


AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
NetworkAddress = Annotated[Address, AfterValidator(_check_network)]


class Settings(ServiceSettings):
    """Settings of the proxy and of the Envoy that it configures."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_PROXY_")

    route_address: Address = Field(description="The controller's internal listener, where the routes come from.")
    state_directory: AbsolutePath = Field(description="Last routes, Envoy's bootstrap, its log and its admin socket.")
    node: str = Field(default="proxy-0", min_length=1, description="Name of this proxy, stable over restarts.")

    xds_listen: Address = Field(description="Where Envoy finds this control plane: unix:/path or host:port.")
    auth_target: Address = Field(description="Where Envoy finds auth's public listener.")
    authz_target: Address = Field(description="Where Envoy finds auth's ext_authz listener.")
    controller_target: Address = Field(description="Where Envoy finds the controller's public listener.")

    envoy: Literal["embedded", "external"] = Field(
        default="embedded", description="embedded: start and watch Envoy; external: somebody else does."
    )
    envoy_concurrency: int = Field(default=2, ge=1, le=256, description="Worker threads of the embedded Envoy.")
    public_listen: NetworkAddress = Field(default="127.0.0.1:8790", description="The one public port, ip:port.")
    public_certificate_file: AbsolutePath = Field(
        description="Certificate chain of the public port, PEM; read again when another is moved into its place."
    )
    public_key_file: AbsolutePath = Field(description="Its private key, PEM, in the same directory.")
    sni_suffix: str = Field(
        default="clusters.headrace.internal",
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
        max_length=180,
        description="The SNI of a cluster is <cluster id>.<sni_suffix>.",
    )

    max_connections: int = Field(default=50_000, ge=1, description="Connections that the public port holds at once.")
    cluster_connections: int = Field(default=10_000, ge=1, description="Connections that one cluster may hold at once.")
    requests_per_second: int = Field(default=20_000, ge=1, description="HTTP requests that the public port takes.")
    hello_timeout_seconds: float = Field(
        default=5, gt=0, le=60, description="How long a connection's TLS hello may take to arrive in full."
    )
    handshake_timeout_seconds: float = Field(
        default=10, gt=0, le=60, description="How long TLS with the public port itself may take to be agreed."
    )

    @model_validator(mode="after")
    def _check_xds(self) -> Self:
        if unix_path(self.xds_listen) is None and not self.has_tls and not is_loopback(self.xds_listen):
            raise ValueError(
                f"xds_listen={self.xds_listen} would tell every cluster's address to anybody on the network: "
                "set tls_certificate_file, tls_key_file and tls_ca_file (mutual TLS), or listen on unix:/path"
            )
        if self.public_key_file.parent != self.public_certificate_file.parent:
            raise ValueError("public_certificate_file and public_key_file must be in one directory: Envoy watches it")
        return self
