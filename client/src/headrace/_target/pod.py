"""The Kubernetes pod that this process runs in: its service account's token, and the headrace that is offered to it.

A deployment writes its address and its certificate authority into the ConfigMap ``headrace-client`` of its namespace,
which service accounts may read. A pod reads it from the API server, whom it trusts already: nothing need be mounted.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast

import yaml

CONFIG_MAP = "headrace-client"
NAMESPACE = "headrace"
"""Namespace and name of the service of `helm install headrace` with its defaults."""
_TIMEOUT_SECONDS = 3.0
_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Offer:
    """A headrace that is offered to the pods of a namespace.

    Attributes
    ----------
    ca_pem
        Certificate authority of `address`. None means the authorities that the system trusts.
    connect
        How Dask's traffic goes there, as the setting ``connect`` says it; "" if nothing is said.
    """

    address: str
    ca_pem: bytes | None = field(repr=False)
    connect: str = ""


_offers: dict[str, Offer] = {}
"""The offers that this process has found, by address."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, seen from inside.

    Attributes
    ----------
    secrets
        Directory at which Kubernetes mounts tokens.
    api
        ``https://host:port`` of the API server.
    """

    secrets: Path
    api: str

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ) -> Pod | None:
        """Return the pod that this process runs in, or None elsewhere."""
        host, port = (environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
        if not host:
            return None
        address = f"[{host}]" if ":" in host else host
        return cls(Path(environ.get("HEADRACE_SECRETS_DIR") or "/var/run/secrets"), f"https://{address}:{port or 443}")

    @property
    def token_files(self) -> tuple[Path, ...]:
        """Files of tokens that log in, best first: one made for headrace, and the one that each pod has by default."""
        made = self.secrets / "headrace.dev" / "user-token"
        return made / "token", made, self._account / "token"

    @property
    def token_file(self) -> Path | None:
        """The best of `token_files` that exists."""
        return next((path for path in self.token_files if path.is_file()), None)

    @property
    def namespace(self) -> str:
        """Namespace of the pod, "" if it has no service account's token."""
        try:
            return (self._account / "namespace").read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    @property
    def _account(self) -> Path:
        return self.secrets / "kubernetes.io" / "serviceaccount"

    def find_offer(self) -> tuple[Offer | None, str]:
        """Return the headrace that is offered here, or None and why none was found.

        It is that of the pod's namespace, or else that of the namespace `NAMESPACE`.
        """
        offer, reasons = self._read_offer()
        if offer is not None:
            _offers[offer.address] = offer
            return offer, ""
        for namespace in self._namespaces():
            if _has_service(f"{NAMESPACE}.{namespace}.svc"):
                return Offer(f"https://{NAMESPACE}.{namespace}.svc", None), ""
        reasons.append(f"no service {NAMESPACE} is in {' or '.join(self._namespaces())}")
        return None, "; ".join(reasons)

    def _read_offer(self) -> tuple[Offer | None, list[str]]:
        """Return what a ConfigMap offers, or None and the reasons."""
        if not (self._account / "token").is_file():
            return None, [f"this pod has no service account token to read the ConfigMap {CONFIG_MAP} with"]
        reasons: list[str] = []
        for namespace in self._namespaces():
            try:
                data = self._get(f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}")
                return _offer(data), []
            except urllib.error.HTTPError as error:
                reason = {403: "must not be read", 404: "does not exist"}.get(error.code, f"is not served: {error}")
                error.close()
            except (OSError, HTTPException) as error:
                why = getattr(error, "reason", None) or str(error) or type(error).__name__
                return None, [*reasons, f"the API server cannot be asked for the ConfigMap {CONFIG_MAP}: {why}"]
            except (ValueError, KeyError, AttributeError, TypeError, RecursionError, yaml.YAMLError):
                reason = "has no valid content"
            reasons.append(f"the ConfigMap {CONFIG_MAP} of the namespace {namespace} {reason}")
        return None, reasons

    def _namespaces(self) -> Iterator[str]:
        if own := self.namespace:
            yield own
        if own != NAMESPACE:
            yield NAMESPACE

    def _get(self, path: str) -> Mapping[str, str]:
        token = (self._account / "token").read_text("ascii").strip()
        request = urllib.request.Request(f"{self.api}{path}", headers={"authorization": f"Bearer {token}"})  # noqa: S310
        trusted = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        # The API server is inside the cluster: no proxy of the environment leads there.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)
        )
        with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
            content = json.loads(answer.read(_ANSWER_BYTES))
        return cast("Mapping[str, str]", content["data"])


def _offer(data: Mapping[str, str]) -> Offer:
    settings: Any = yaml.safe_load(data.get("headrace.yaml", "")) or {}
    connect = settings.get("headrace", {}).get("connect")
    return Offer(data["address"].strip(), data.get("ca.crt", "").encode() or None, str(connect or ""))


def offer_at(address: str) -> Offer | None:
    """Return the offer of this address that this process has found before."""
    return _offers.get(address)


def _has_service(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True
