"""The headrace to talk to: from arguments, the configuration, this machine's `headrace up`, or the pod's cluster."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from headrace._target import config
from headrace._target.auth import GatewayAuth, TokenAuth, get_auth
from headrace._target.http_proxy import HttpProxy, find_http_proxy
from headrace._target.local_gateway import LocalGateway, data_directory
from headrace._target.pod import CONFIG_MAP, Offer, Pod, offer_at
from headrace._target.saved_login import SavedLogin
from headrace.errors import InvalidRequest, Violation

_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_PATH = re.compile(r"(/+[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*")


class Address(NamedTuple):
    """Where headrace is: ``https://host:port``, and maybe a path, where it is behind a proxy such as JupyterHub's."""

    host: str
    port: int
    tls: bool
    path: str

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{join_host_port(self.host, self.port)}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A headrace to talk to.

    Attributes
    ----------
    address
        ``https://host:port``, and maybe a path.
    host, port, tls, path
        Parts of `address`. With a path, a proxy that carries HTTP/1.1 only is on the way.
    public_address
        `address` as a browser sees it.
    proxy_address
        ``gateway://host:port``, through which schedulers are reached.
    has_proxy
        Whether schedulers are reached there: where `address` has a path, only if `proxy_address` is configured.
    ca_file
        PEM file of the certificate authority of `address`. None means the authorities that the system trusts.
    ca_pem
        Content of `ca_file`, or of what the pod's cluster says, or of the system's file. None means the authorities
        that gRPC trusts.
    trusts
        Where the certificate authority comes from, for people.
    connect
        How Dask's traffic goes, if ``headrace.connect`` does not say it; "" if nothing is known.
    auth
        How to log in.
    local
        The `headrace up` of this machine, if `address` is its.
    http_proxy
        The HTTP proxy on the way to `address`.
    """

    address: str
    host: str
    port: int
    tls: bool
    path: str = ""
    public_address: str
    proxy_address: str
    has_proxy: bool = True
    ca_file: str | None
    ca_pem: bytes | None = field(repr=False)
    trusts: str = ""
    connect: str = ""
    auth: GatewayAuth
    local: LocalGateway | None = None
    http_proxy: HttpProxy | None = None

    @property
    def endpoint(self) -> str:
        """``host:port``."""
        return join_host_port(self.host, self.port)

    @classmethod
    def resolve(
        cls,
        address: str | None = None,
        proxy_address: str | int | None = None,
        public_address: str | None = None,
        auth: GatewayAuth | str | type[GatewayAuth] | None = None,
        ca_file: str | None = None,
    ) -> Target:
        """Resolve the target; missing parts come from the configuration.

        Raises
        ------
        InvalidRequest
            There is no address, or an argument or a setting is wrong.
        Unauthenticated
            The configured way to log in needs a token, and none is given.
        HeadraceError
            The file of `headrace up` or of `headrace login` cannot be read.
        """
        address = address or config.get_text("address")
        local, offer = None, None
        if not address:
            address, local, offer = _found_address()
        host, port, tls, path = parsed = parse_address(address)
        address = str(parsed)
        local = local or _local_if_at(address)
        saved = SavedLogin.read(address)
        public = public_address if public_address is not None else config.get_text("public-address")
        ca_file = _choose_ca_file(ca_file, local, saved)
        offer = offer or offer_at(address)
        given_proxy = proxy_address if proxy_address is not None else config.get("proxy-address")
        return cls(
            address=address,
            host=host,
            port=port,
            tls=tls,
            path=path,
            public_address=(public if public is not None else address).rstrip("/"),
            proxy_address=_proxy_address(given_proxy, host, port),
            has_proxy=not path or given_proxy is not None,
            ca_file=ca_file,
            ca_pem=_read_roots(ca_file, offer) if tls else None,
            trusts=_trusts(ca_file, offer),
            connect=offer.connect if offer is not None else "",
            auth=_choose_auth(auth, local, saved),
            local=local,
            http_proxy=find_http_proxy(host, "https" if tls else "http"),
        )


def parse_address(address: str) -> Address:
    """Return the parts of "https://host:port" or "https://host:port/path"."""
    text = address.strip()
    parts = urlsplit(text if "://" in text else f"https://{text}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"https", "http"} or not parts.hostname or port == -1:
        raise _bad_address(address, "must look like https://host:port")
    path = parts.path.rstrip("/")
    if parts.query or parts.fragment or not _PATH.fullmatch(path):
        raise _bad_address(address, "must look like https://host:port or https://host:port/services/headrace")
    tls = parts.scheme == "https"
    return Address(parts.hostname, port or (443 if tls else 80), tls, path)


def join_host_port(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bad_address(address: str, description: str) -> InvalidRequest:
    return InvalidRequest.of(Violation("address", f"{address!r} {description}"))


def _found_address() -> tuple[str, LocalGateway | None, Offer | None]:
    if (local := LocalGateway.read()) is not None:
        return local.address, local, None
    missing = "none is given, headrace.address is not configured (environment: DASK_HEADRACE__ADDRESS)"
    if (pod := Pod.find()) is None:
        description = (
            f"{missing}, and no `headrace up` has written its address to {data_directory()}; give an address, or run "
            "`headrace up`"
        )
        raise InvalidRequest.of(Violation("address", description))
    offer, why = pod.find_offer()
    if offer is None:
        description = (
            f"{missing}, and none is offered to this pod: {why}; give an address, or mount the ConfigMap {CONFIG_MAP} "
            "of headrace's namespace at /etc/dask, or ask the administrator to let this pod's service account read it"
        )
        raise InvalidRequest.of(Violation("address", description))
    return offer.address, None, offer


def _local_if_at(address: str) -> LocalGateway | None:
    try:
        local = LocalGateway.read()
    except Exception:  # noqa: BLE001 - the address is given: a broken file of another headrace must do no harm
        return None
    return local if local is not None and local.address.rstrip("/") == address else None


def _proxy_address(value: object, host: str, port: int) -> str:
    if value is None:
        return f"gateway://{join_host_port(host, port)}"
    text = str(value)
    if text.isdigit():
        return f"gateway://{join_host_port(host, int(text))}"
    parts = urlsplit(text if "://" in text else f"gateway://{text}")
    try:
        proxy_port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 8786)
    except ValueError:
        proxy_port = 0
    if not parts.hostname or not proxy_port:
        raise InvalidRequest.of(Violation("proxy_address", f"{text!r} must be a port or look like host:port"))
    return f"gateway://{join_host_port(parts.hostname, proxy_port)}"


def _choose_auth(
    auth: GatewayAuth | str | type[GatewayAuth] | None, local: LocalGateway | None, saved: SavedLogin | None
) -> GatewayAuth:
    if auth is not None or config.get_text("auth.type") is not None:
        return get_auth(auth)
    if local is not None:
        return TokenAuth(token=local.token)
    if saved is not None:
        return TokenAuth(token=saved.token)
    return get_auth()


def _choose_ca_file(given: str | None, local: LocalGateway | None, saved: SavedLogin | None) -> str | None:
    if chosen := given or config.get_text("tls.ca-file"):
        return chosen
    if local is not None:
        return local.ca_file
    return saved.ca_file if saved is not None else None


def _trusts(ca_file: str | None, offer: Offer | None) -> str:
    if ca_file is not None:
        return f"the authority in {ca_file}"
    if offer is not None and offer.ca_pem is not None:
        return f"the authority in the ConfigMap {CONFIG_MAP}"
    return "an authority that this system trusts"


def _read_roots(ca_file: str | None, offer: Offer | None) -> bytes | None:
    if ca_file is not None:
        try:
            return Path(ca_file).read_bytes()
        except OSError as error:
            description = f"{ca_file} cannot be read ({error.strerror}); give the PEM file of the certificate authority"
            raise InvalidRequest.of(Violation("headrace.tls.ca-file", description)) from error
    if offer is not None and offer.ca_pem is not None:
        return offer.ca_pem
    # gRPC's own list lacks the authorities that a company adds to its machines.
    for path in (ssl.get_default_verify_paths().cafile, *_SYSTEM_ROOTS):
        if path and Path(path).is_file():
            return Path(path).read_bytes()
    return None
