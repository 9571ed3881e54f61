"""Keys, token and certificates of one `headrace up`: created at the first start, renewed at later ones."""

from __future__ import annotations

import base64
import getpass
import json
import os
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from headrace.private_files import write_private
from headrace_auth.model import is_user_id
from headrace_chassis.tls.certificates import Authority
from headrace_up.errors import CannotRun
from headrace_up.layout import Layout

ROLES = ("user", "admin")
# Renewed long before the end, at a start and while headrace runs.
AUTHORITY_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=800)
LEAST_LEFT = timedelta(days=400)


@dataclass(frozen=True)
class ApiToken:
    """The token that `Gateway()` on this machine logs in with."""

    file: Path
    user: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class ServerCertificate:
    """Files of the public port's TLS."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Credentials:
    """What `headrace up` itself reads or passes on."""

    token: ApiToken
    certificate: ServerCertificate


def account_user() -> str:
    """Return the user id of this operating-system account: its name, or one made from its name or its number."""
    number = f"uid-{os.getuid()}"
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = number
    candidates = (name, re.sub(r"[^\w.@-]", "_", name), number)
    return next(filter(is_user_id, candidates))


def ensure_credentials(layout: Layout, user: str) -> Credentials:
    """Return the credentials; create what is missing."""
    ensure_deployment_key(layout.secrets)  # services are told its path
    return Credentials(ensure_token(layout.secrets, user), ensure_server_certificate(layout.tls))


def ensure_deployment_key(directory: Path) -> Path:
    """Return the file of the deployment's key; create it at the first start."""
    path = directory / "deployment.key"
    if not path.exists():
        write_private(path, base64.urlsafe_b64encode(secrets.token_bytes(32)) + b"\n")
    return path


def ensure_token(directory: Path, user: str) -> ApiToken:
    """Return the user's token. It stays the same, so that notebooks survive a restart of headrace."""
    path = directory / "bootstrap-token.json"
    if path.exists():
        try:
            found = json.loads(path.read_text())
            token = ApiToken(path, str(found["user"]), str(found["secret"]))
            current = tuple(found["roles"]) == ROLES
        except (ValueError, KeyError, TypeError) as error:
            raise CannotRun(f"{path} is damaged: remove it, then start again") from error
        if token.user == user and current:
            return token
    token = ApiToken(path, user, secrets.token_urlsafe(32))
    write_private(path, json.dumps({"user": user, "roles": ROLES, "secret": token.secret}) + "\n")
    return token


def ensure_server_certificate(directory: Path, now: datetime | None = None) -> ServerCertificate:
    """Return the files; create or renew what is missing, damaged or near its end."""
    now = now or datetime.now(UTC)
    files = ServerCertificate(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    ca_key = directory / "ca.key"
    authority_is_good = ca_key.exists() and _lasts(files.ca, now + LEAST_LEFT)
    if authority_is_good and files.key.exists() and _lasts(files.certificate, now + LEAST_LEFT):
        return files
    if authority_is_good:
        authority = Authority.load(files.ca.read_bytes(), ca_key.read_bytes())
    else:
        authority = Authority.create("headrace on this machine", AUTHORITY_LIFETIME)
        write_private(ca_key, authority.key_pem)
        write_private(files.ca, authority.cert_pem)
    leaf = authority.issue(
        "localhost",
        SERVER_LIFETIME,
        dns_names=("localhost",),
        ip_addresses=("127.0.0.1", "::1"),
        client=False,
    )
    write_private(files.key, leaf.key_pem)
    write_private(files.certificate, leaf.cert_pem)
    return files


def _lasts(certificate: Path, until: datetime) -> bool:
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc > until
    except (OSError, ValueError):
        return False
