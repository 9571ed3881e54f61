"""Sealing what is secret and must be kept, with the deployment's keys."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12


class DeploymentKeyError(ValueError):
    """The deployment's keys are unusable, or none of them opens what was sealed."""


def new_deployment_key() -> str:
    """Makes a key as the key file holds it."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode()


def read_deployment_keys(path: Path) -> list[bytes]:
    """Reads the key file: urlsafe base64, one key a line, the one that seals first."""
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DeploymentKeyError(f"the deployment key file {path} cannot be read: {error}") from error
    keys = [_decode(line, path) for line in lines]
    if not keys:
        raise DeploymentKeyError(
            f"the deployment key file {path} is empty; it needs a line with {KEY_BYTES} random bytes"
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
    """Returns a key for one purpose, so that no two uses share one."""
    return hmac.digest(key, f"headrace/{purpose}".encode(), "sha256")


class Seal:
    """Encrypts and authenticates with the first key, opens with any (AES-256-GCM)."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {_key_id(key): AESGCM(derive(key, "seal")) for key in keys}
        self._sealing_id = _key_id(keys[0])

    def seal(self, content: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        header = _VERSION + self._sealing_id + nonce
        return header + self._ciphers[self._sealing_id].encrypt(nonce, content, _VERSION)

    def open(self, sealed: bytes) -> bytes:
        key_id = sealed[1 : 1 + _KEY_ID_BYTES]
        nonce = sealed[1 + _KEY_ID_BYTES : 1 + _KEY_ID_BYTES + _NONCE_BYTES]
        cipher = self._ciphers.get(key_id)
        if cipher is None or sealed[:1] != _VERSION or len(nonce) < _NONCE_BYTES:
            raise DeploymentKeyError(
                "no deployment key opens this sealed record: put the key it was sealed with back into the key file"
            )
        try:
            return cipher.decrypt(nonce, sealed[1 + _KEY_ID_BYTES + _NONCE_BYTES :], _VERSION)
        except InvalidTag:
            raise DeploymentKeyError("a sealed record was altered; it cannot be opened") from None


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"headrace/key-id" + key).digest()[:_KEY_ID_BYTES]
