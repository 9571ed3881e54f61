"""Makes what a deployment on Kubernetes needs before its services start, and renews what expires.

===================== ============================ ===================================================
Secret                keys                         changes
===================== ============================ ===================================================
``-deployment-key``   ``deployment.key``           never: whoever loses it loses all records and agents
``-admin-token``      ``token.json``, ``token``    never; delete it for a new one
``-metrics-token``    ``token``                    never; delete it for a new one
``-redis``            ``password valkey.conf``     never
``-authority``        ``ca.crt``, ``ca.key``       a successor joins years before the first one expires
``-<service>-tls``    ``tls.crt tls.key ca.crt``   renewed before it expires, or when its names change
===================== ============================ ===================================================

The names begin with that of the release. Helm does not know these Secrets, so neither an upgrade nor an uninstall
removes them.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import yaml
from pydantic import BaseModel, ConfigDict, Field

from headrace_backend_kubernetes.installation.authorities import Authorities, is_good, issue
from headrace_backend_kubernetes.installation.objects import Objects

ADMIN = "headrace-admin"


class Certificate(BaseModel):
    """A certificate that the job issues."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...] = Field(min_length=1, description="DNS names that it is for.")


class ClientConfig(BaseModel):
    """What notebooks read to find headrace."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config_map: str = Field(description="Name of the ConfigMap.")
    address: str = Field(description="Address of the public port.")
    ca_secret: str = Field(default="", description="Secret whose ca.crt checks the public certificate.")
    settings: dict[str, object] = Field(default={}, description="Further settings of the client.")


class Installation(BaseModel):
    """What the chart wants, from the file that it mounts into the job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: str = Field(description="First part of all names.")
    namespace: str
    labels: dict[str, str] = Field(default={}, description="Labels of all objects that the job makes.")
    secrets: tuple[str, ...] = Field(default=(), description="Secrets to make, by the last part of their name.")
    certificates: dict[str, Certificate] = Field(default={}, description="Certificates, by the name of their owner.")
    certificate_days: int = Field(default=365, ge=2, le=400, description="Lifetime of certificates.")
    client: ClientConfig | None = None


def _deployment_key() -> Mapping[str, bytes]:
    return {"deployment.key": base64.urlsafe_b64encode(secrets.token_bytes(32)) + b"\n"}


def _admin_token() -> Mapping[str, bytes]:
    token = secrets.token_urlsafe(32)
    content = {"user": ADMIN, "roles": ["user", "admin"], "secret": token}
    return {"token.json": json.dumps(content).encode(), "token": token.encode()}


def _metrics_token() -> Mapping[str, bytes]:
    return {"token": secrets.token_urlsafe(32).encode()}


def _redis() -> Mapping[str, bytes]:
    password = secrets.token_urlsafe(32)
    return {"password": password.encode(), "valkey.conf": f"requirepass {password}\n".encode()}


_NEW: Mapping[str, Callable[[], Mapping[str, bytes]]] = {
    "deployment-key": _deployment_key,
    "admin-token": _admin_token,
    "metrics-token": _metrics_token,
    "redis": _redis,
}


async def ensure_credentials(wanted: Installation, objects: Objects, now: datetime | None = None) -> list[str]:
    """Make what is missing and renew what expires; return a sentence for each change."""
    done = [each for kind in wanted.secrets if (each := await _ensure_secret(wanted, objects, kind))]
    if wanted.certificates:
        done += await _ensure_certificates(wanted, objects, now or datetime.now(UTC))
    if wanted.client is not None:
        await _publish(wanted.client, objects)
    return done


async def _ensure_secret(wanted: Installation, objects: Objects, kind: str) -> str:
    name = f"{wanted.release}-{kind}"
    # Created, never written: two jobs at once cannot replace each other's, and none needs the right to read it.
    return f"Secret {name} was made" if await objects.create_secret(name, _NEW[kind]()) else ""


async def _ensure_certificates(wanted: Installation, objects: Objects, now: datetime) -> list[str]:
    authorities, done = await _ensure_authorities(wanted, objects, now)
    # A third of its life is left for what may go wrong meanwhile.
    until = now + timedelta(days=wanted.certificate_days) / 3
    for owner, certificate in wanted.certificates.items():
        name = f"{wanted.release}-{owner}-tls"
        found = await objects.secret(name) or {}
        trusted = found.get("ca.crt") == authorities.certificates
        good = is_good(found.get("tls.crt", b""), certificate.names, authorities, until)
        if trusted and good and "tls.key" in found:
            continue
        data = _certificate(found, certificate, authorities, wanted, good=good)
        if found:
            await objects.replace_secret(name, data)
        else:
            await objects.create_secret(name, data, tls=True)
        done.append(f"Secret {name} was {'renewed' if found else 'made'}")
    return done


def _certificate(
    found: Mapping[str, bytes], certificate: Certificate, authorities: Authorities, wanted: Installation, *, good: bool
) -> Mapping[str, bytes]:
    if good and "tls.key" in found:
        return {**found, "ca.crt": authorities.certificates}
    leaf = issue(authorities, certificate.names[0][:64], certificate.names, wanted.certificate_days)
    return {"tls.crt": leaf.cert_pem, "tls.key": leaf.key_pem, "ca.crt": authorities.certificates}


async def _ensure_authorities(wanted: Installation, objects: Objects, now: datetime) -> tuple[Authorities, list[str]]:
    name = f"{wanted.release}-authority"
    found = await objects.secret(name)
    loaded = Authorities.load(found["ca.crt"], found["ca.key"]) if found else Authorities(())
    renewed = loaded.renewed(f"headrace {wanted.namespace}/{wanted.release}", now)
    if renewed == loaded:
        return loaded, []
    data = {"ca.crt": renewed.certificates, "ca.key": renewed.keys}
    if found:
        await objects.replace_secret(name, data)
    elif not await objects.create_secret(name, data):
        raise RuntimeError(f"another job has just made the Secret {name}: this one is to be run again")
    return renewed, [f"Secret {name} was {'renewed' if found else 'made'}"]


async def _publish(target: ClientConfig, objects: Objects) -> None:
    settings: dict[str, object] = {"address": target.address, **target.settings}
    data = {"address": target.address}
    ca = (await objects.secret(target.ca_secret) or {}).get("ca.crt") if target.ca_secret else None
    if ca:
        data["ca.crt"] = ca.decode()
        settings["tls"] = {"ca-file": "/etc/dask/ca.crt"}
    data["headrace.yaml"] = yaml.safe_dump({"headrace": settings}, sort_keys=False)
    await objects.save_config_map(target.config_map, data)
