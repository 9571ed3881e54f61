"""Settings of the proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import SettingsConfigDict

from headrace_chassis.addresses import DNS_LABEL, DNS_NAME, OPTIONAL_DNS_NAME, unix_path
from headrace_chassis.destinations import Destination, Destinations
from headrace_chassis.settings import Address, OptionalAddress, ServiceSettings


def _check_network(address: str) -> str:
    if unix_path(address) is not None:
        raise ValueError(f"{address!r} is not of the form ip:port")
    return address


def _check_prefix(prefix: str) -> str:
    if prefix.startswith(("/clusters/", "/headrace.", "/grpc.")):
        raise ValueError(f"the prefix {prefix!r} belongs to headrace's own paths: choose another")
    return prefix


def _longest_prefix_first(services: tuple[HttpService, ...]) -> tuple[HttpService, ...]:
    return tuple(sorted(services, key=lambda service: len(service.prefix), reverse=True))


AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
NetworkAddress = Annotated[Address, AfterValidator(_check_network)]
OptionalNetworkAddress = Annotated[OptionalAddress, AfterValidator(_check_network)]


class HttpService(BaseModel):
    """An HTTP service behind the public port. It authenticates its callers itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=f"^{DNS_LABEL}$", max_length=63, description="Name in messages and statistics.")
    prefix: Annotated[str, AfterValidator(_check_prefix)] = Field(
        pattern=r"^/([A-Za-z0-9._~-]+/)*$", max_length=200, description='Paths that go to it, such as "/api/v1/".'
    )
    target: Address = Field(description="Where Envoy reaches it: unix:/path or host:port.")


class Settings(ServiceSettings):
    """Settings of the proxy and of the Envoys that it configures."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_PROXY_")

    route_address: Address = Field(description="The controller's internal listener, where the routes come from.")
    state_directory: AbsolutePath = Field(
        description="Directory for the last known routes and for the files that Envoy is started with."
    )
    node: str = Field(default="proxy-0", min_length=1, description="Name of this proxy, stable over restarts.")

    xds_listen: Address = Field(description="Where Envoy reaches this control plane: unix:/path or host:port.")
    auth_target: Address = Field(description="Where Envoy reaches auth's public listener.")
    authz_target: Address = Field(description="Where Envoy reaches auth's internal listener (ext_authz).")
    controller_target: Address = Field(description="Where Envoy reaches the controller's public listener.")
    http_services: Annotated[tuple[HttpService, ...], AfterValidator(_longest_prefix_first)] = Field(
        default=(),
        description="Further HTTP services behind the public port: list of name, prefix and target. "
        "The longest prefix wins.",
    )

    public_listen: NetworkAddress = Field(default="127.0.0.1:8790", description="The one public port, ip:port.")
    public_certificate_file: AbsolutePath = Field(
        description="Certificate chain of the public port, PEM. Envoy reads it again when another file is moved "
        "into its place."
    )
    public_key_file: AbsolutePath = Field(description="Its private key, PEM, in the same directory.")
    inside_certificate_file: AbsolutePath | None = Field(
        default=None,
        description="Certificate chain for callers that name this port otherwise, as those inside of a cluster do, "
        "where the public one is not valid for these names. Envoy chooses by the server name of the caller; who sends "
        "none gets the public one. It is read again like that. None: there is only the public one.",
    )
    inside_key_file: AbsolutePath | None = Field(
        default=None, description="Its private key, PEM, in the same directory."
    )
    base_path: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._~-]*[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$",
        max_length=200,
        description='Path below which the public port answers too, such as "/services/headrace": where a proxy before '
        "it, such as JupyterHub's, passes on requests with their whole path.",
    )
    sni_suffix: str = Field(
        default="clusters.headrace.internal",
        pattern=DNS_NAME,
        max_length=180,
        description="The TLS server name of a cluster is <cluster id>.<sni_suffix>.",
    )

    dashboard_domain: str = Field(
        default="",
        pattern=OPTIONAL_DNS_NAME,
        max_length=180,
        description="Domain at which each dashboard has a host name of its own, <cluster id>.<dashboard_domain>, and "
        "so an origin of its own in browsers. Its names must lead to the public port, whose certificate must be valid "
        "for them (a wildcard). Empty: dashboards are sandboxed pages of the gateway's host. auth needs the same "
        "value.",
    )
    dashboard_frame_ancestors: str = Field(
        default="'self'",
        pattern=r"^[A-Za-z0-9 .:/*'-]+$",
        max_length=1000,
        description="Whose pages may show dashboards in frames, as Content-Security-Policy's frame-ancestors says it, "
        "such as \"'self' https://hub.example\".",
    )
    allowed_destinations: tuple[Destination, ...] = Field(
        default=(),
        description="Where routes may lead, whatever agents report: list of network and ports. Empty: everywhere but "
        "to this machine's loopback addresses. Never to link-local and multicast addresses, clouds' metadata services "
        "and headrace's own ports. auth needs the same value.",
    )
    max_connections: int = Field(
        default=50_000, ge=1, description="Maximum number of open connections to the public port."
    )
    cluster_connections: int = Field(
        default=10_000, ge=1, description="Maximum number of open connections to one cluster."
    )
    requests_per_second: int = Field(
        default=20_000, ge=1, description="Maximum rate of HTTP requests to the public port, per second."
    )
    hello_timeout_seconds: float = Field(
        default=5, gt=0, le=60, description="Seconds within which the TLS hello of a connection must be complete."
    )
    handshake_timeout_seconds: float = Field(
        default=10, gt=0, le=60, description="Seconds within which a TLS handshake with the public port must end."
    )

    envoy_metrics_listen: OptionalNetworkAddress = Field(
        default="",
        description="ip:port on which Envoy shows its own metrics, at /stats/prometheus, to readers with the token of "
        "metrics_token_file, which Envoy reads. Empty: nowhere.",
    )
    tracing_percent: float = Field(
        default=100,
        ge=0,
        le=100,
        description="Share of the requests without a trace of their own for which Envoy begins one, in percent. Only "
        "with tracing_endpoint.",
    )

    @property
    def tracing_target(self) -> str:
        """Where Envoy sends its spans: host:port."""
        return self.tracing_endpoint.removeprefix("http://")

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """Addresses of headrace's listeners and services, as far as the proxy knows them."""
        return (
            self.public_listen,
            self.xds_listen,
            self.auth_target,
            self.authz_target,
            self.controller_target,
            self.route_address,
            self.auth_address,
            self.listen,
            self.internal_listen,
            self.metrics_listen,
            self.health_listen,
            self.envoy_metrics_listen,
            self.tracing_target,
            *(service.target for service in self.http_services),
        )

    @property
    def destinations(self) -> Destinations:
        return Destinations.of(self.allowed_destinations, self.own_addresses)

    @property
    def certificates(self) -> dict[str, tuple[Path, Path]]:
        """The certificates of the public port with their keys; the first one is for callers that name no server."""
        found = {"public_certificate": (self.public_certificate_file, self.public_key_file)}
        if self.inside_certificate_file and self.inside_key_file:
            found["inside_certificate"] = (self.inside_certificate_file, self.inside_key_file)
        return found

    @model_validator(mode="after")
    def _check_certificates(self) -> Self:
        if (self.inside_certificate_file is None) != (self.inside_key_file is None):
            raise ValueError("inside_certificate_file and inside_key_file belong together: set both or none")
        for name, (certificate, key) in self.certificates.items():
            if certificate.parent != key.parent:
                raise ValueError(
                    f"{name}_file and {name.removesuffix('certificate')}key_file must be in one directory: "
                    "Envoy watches it"
                )
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if unix_path(self.xds_listen) is None and not self.may_be_plain(self.xds_listen):
            raise ValueError(
                f"xds_listen={self.xds_listen} would show the address of every cluster to anybody on the network: "
                "set tls_certificate_file, tls_key_file and tls_ca_file (mutual TLS), or listen on unix:/path, or set "
                "trust_network if a service mesh protects the port"
            )
        if self.envoy_metrics_listen and self.metrics_token_file is None:
            raise ValueError("envoy_metrics_listen needs metrics_token_file: Envoy's metrics name every cluster")
        if self.tracing_endpoint and not self.tracing_endpoint.startswith("http://"):
            raise ValueError(
                f"tracing_endpoint={self.tracing_endpoint}: Envoy sends spans without TLS; name a collector on this "
                "machine, such as http://127.0.0.1:4317, which passes them on with TLS"
            )
        for values in zip(*((service.name, service.prefix) for service in self.http_services), strict=True):
            if len(set(values)) < len(values):
                raise ValueError(f"each of http_services needs a name and a prefix of its own: {', '.join(values)}")
        return self
