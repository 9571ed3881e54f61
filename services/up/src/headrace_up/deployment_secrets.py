"""The secrets of an embedded deployment: its key, and the token that `Gateway()` finds."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from headrace.private_files import write_private
from headrace_up.failure import CannotRun

ROLES = ("user", "admin")


@dataclass(frozen=True)
class BootstrapToken:
    """An API token that works with the store empty."""

    user: str
    secret: str = field(repr=False)


def ensure_deployment_key(directory: Path) -> Path:
    """Returns the file of the deployment's key; makes it at the first start."""
    path = directory / "deployment.key"
    if not path.exists():
        write_private(path, base64.urlsafe_b64encode(secrets.token_bytes(32)) + b"\n")
    return path


def ensure_bootstrap_token(directory: Path, user: str) -> tuple[Path, BootstrapToken]:
    """Returns the token's file and the token. It is kept, so that notebooks survive a restart of headrace."""
    path = directory / "bootstrap-token.json"
    if path.exists():
        try:
            found = json.loads(path.read_text())
            token = BootstrapToken(str(found["user"]), str(found["secret"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CannotRun(f"{path} is damaged; remove it, then start again") from error
        if token.user == user:
            return path, token
    token = BootstrapToken(user, secrets.token_urlsafe(32))
    write_private(path, json.dumps({"user": user, "roles": ROLES, "secret": token.secret}) + "\n")
    return path, token
