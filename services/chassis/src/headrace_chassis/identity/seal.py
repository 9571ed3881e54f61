"""The deployment's keys: they seal what is secret and kept in Redis or by a backend, and sign agents' tokens."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

KEY_BYTES = 32


class DeploymentKeyError(ValueError):
    """The deployment's keys cannot be used, or none of them opens a sealed value."""


def new_deployment_key() -> str:
    """Return a new key, as a line of the key file."""
    return Fernet.generate_key().decode()


def read_deployment_keys(path: Path) -> list[bytes]:
    """Read the key file: 32 random bytes in urlsafe base64 (a Fernet key) per line; the first line seals."""
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DeploymentKeyError(f"the deployment key file {path} cannot be read: {error}") from error
    keys = [_decode(line, path) for line in lines]
    if not keys:
        raise DeploymentKeyError(
            f"the deployment key file {path} is empty; write {KEY_BYTES} random bytes in urlsafe base64 into it"
        )
    return keys


def _decode(line: str, path: Path) -> bytes:
    try:
        key = base64.b64decode(line + "=" * (-len(line) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise DeploymentKeyError(f"a line of the deployment key file {path} is not {KEY_BYTES} bytes in urlsafe base64")
    return key


def derive(key: bytes, purpose: str) -> bytes:
    """Return a key for one purpose, so that no two purposes share one."""
    return hmac.digest(key, f"headrace/{purpose}".encode(), "sha256")


class Seal:
    """Encrypts with the first key and opens with any (Fernet)."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(derive(key, "seal"))) for key in keys])

    def seal(self, content: bytes) -> bytes:
        return self._fernet.encrypt(content)

    def open(self, sealed: bytes) -> bytes:
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise DeploymentKeyError(
                "no deployment key opens a sealed value: it was altered, or the key that sealed it is missing from the "
                "key file; put that key back"
            ) from None
