"""A request for a dashboard, as Envoy describes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode

# Browsers accept and send cookies of this prefix over HTTPS only.
COOKIE = "__Secure-headrace"
LINK_PARAMETER = "link"
_PATH = re.compile(r"/clusters/([a-z0-9][a-z0-9-]{0,62})(?:/.*)?")


@dataclass(frozen=True, slots=True)
class DashboardRequest:
    """A request.

    Attributes
    ----------
    cluster
        Id of the cluster; "" if the path is no dashboard's, or can be read in two ways.
    path
        Path without query.
    query
        Query without "?".
    headers
        Names in lower case.
    """

    cluster: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    @classmethod
    def parse(cls, method: str, target: str, headers: Mapping[str, str]) -> DashboardRequest:
        path, _, query = target.partition("?")
        match = _PATH.fullmatch(path)
        cluster = match[1] if match and _is_plain(path) else ""
        return cls(cluster, method, path, query.partition("#")[0], headers)

    @property
    def bearer(self) -> str:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    @property
    def link(self) -> str:
        return next((value for name, value in parse_qsl(self.query) if name == LINK_PARAMETER), "")

    @property
    def session(self) -> str:
        return next((value for name, value in self._cookies() if name == COOKIE), "")

    @property
    def other_cookies(self) -> str:
        """The cookie header without ours."""
        return "; ".join(f"{name}={value}" for name, value in self._cookies() if name != COOKIE)

    @property
    def target_without_link(self) -> str:
        left = [(n, v) for n, v in parse_qsl(self.query, keep_blank_values=True) if n != LINK_PARAMETER]
        return f"{self.path}?{urlencode(left)}" if left else self.path

    @property
    def is_upgrade(self) -> bool:
        return "upgrade" in self.headers or self.method == "CONNECT"

    @property
    def wants_html(self) -> bool:
        return "text/html" in self.headers.get("accept", "")

    def _cookies(self) -> list[tuple[str, str]]:
        pairs = (part.strip().partition("=") for part in self.headers.get("cookie", "").split(";"))
        return [(name, value) for name, _, value in pairs if name]


def _is_plain(path: str) -> bool:
    """Whether every server reads the path alike: no dot segments, plain or encoded, and no odd slashes."""
    decoded = unquote(path)
    return not (
        "//" in decoded
        or "\\" in decoded
        or "%2f" in path.lower()
        or any(part in {".", ".."} for part in unquote(decoded).split("/"))
        or any(ord(character) < 32 for character in decoded)
    )
