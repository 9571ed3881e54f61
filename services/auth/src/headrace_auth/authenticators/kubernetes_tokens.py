"""What tokens of Kubernetes service accounts say of themselves, before the API server has reviewed them. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import jwt

from headrace_chassis.identity.service_account import split


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of itself. Nobody has verified it: it decides only what not to ask the API server.

    Attributes
    ----------
    pod
        Name of the pod that the token is bound to, "" if it is bound to none.
    ends
        Time at which it expires, in seconds since the epoch; None if it never does.
    """

    namespace: str
    service_account: str
    pod: str
    audiences: frozenset[str]
    ends: float | None


def read_claims(token: str) -> Claims | None:
    """Return the claims of a service account's token, or None for a token of another kind."""
    try:
        content = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    account = split(content.get("sub"))
    if account is None:
        return None
    bound = content.get("kubernetes.io")
    pod = cast("Mapping[str, object]", bound).get("pod") if isinstance(bound, Mapping) else None
    name = cast("Mapping[str, object]", pod).get("name") if isinstance(pod, Mapping) else None
    return Claims(
        *account,
        pod=name if isinstance(name, str) else "",
        audiences=_texts(content.get("aud")),
        ends=_number(content.get("exp")),
    )


def _texts(value: object) -> frozenset[str]:
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return frozenset(one for one in values if isinstance(one, str))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e12 else None
