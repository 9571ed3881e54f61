"""A request for a dashboard, as Envoy describes it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode

# Browsers accept and send cookies of this prefix over HTTPS only.
COOKIE = "__Secure-headrace"
LINK_PARAMETER = "link"
_PATH = re.compile(r"/clusters/([a-z0-9][a-z0-9-]{0,62})(?:/~([\w.-]+)(?=/))?(/.*)?")
_EARLY = ("sec-purpose", "purpose", "x-purpose", "x-moz")
# Envoy has added the address of the browser to the first one.
_OF_BROWSER = ("x-forwarded-for", "user-agent", "accept-language")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class DashboardRequest:
    """A request.

    Attributes
    ----------
    cluster
        Id of the cluster; "" if the path is no dashboard's, or can be read in two ways.
    session
        Session in the path, ``/clusters/<cluster>/~<session>/...``; "" if there is none.
    page
        Path below the dashboard, with its first slash.
    query
        Query without "?".
    headers
        Names in lower case.
    """

    cluster: str
    session: str
    page: str
    method: str
    host: str
    query: str
    headers: Mapping[str, str]

    @classmethod
    def parse(cls, method: str, host: str, target: str, headers: Mapping[str, str]) -> DashboardRequest:
        path, _, query = target.partition("?")
        match = _PATH.fullmatch(path)
        cluster, session, page = match.groups("") if match and _is_plain(path) else ("", "", "")
        return cls(cluster, session, page, method, host.lower(), query.partition("#")[0], headers)

    @property
    def bearer(self) -> str:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    @property
    def link(self) -> str:
        return next((value for name, value in parse_qsl(self.query) if name == LINK_PARAMETER), "")

    @property
    def cookie(self) -> str:
        """The session in our cookie. It only ever leads to a redirect: see `is_navigation`."""
        return next((value for name, value in self._cookies() if name == COOKIE), "")

    @property
    def query_without_link(self) -> str:
        left = [(n, v) for n, v in parse_qsl(self.query, keep_blank_values=True) if n != LINK_PARAMETER]
        return f"?{urlencode(left)}" if left else ""

    @property
    def is_navigation(self) -> bool:
        """Whether somebody opens a page, rather than a page a part of itself. Old browsers do not tell."""
        modes = (self.headers.get("sec-fetch-mode", "navigate"), self.headers.get("sec-fetch-dest", "document"))
        return self.method == "GET" and not self.is_upgrade and modes == ("navigate", "document")

    @property
    def opens_link(self) -> bool:
        """Whether somebody opens a link. Browsers also fetch links early, and checkers ask for the head of one."""
        early = any(self.headers.get(name, "").startswith(("prefetch", "preview")) for name in _EARLY)
        return self.method in {"GET", "CONNECT"} and not early

    @property
    def browser(self) -> str:
        """Hash of what tells this browser from others, as far as headers do."""
        return hashlib.sha256(repr([self.headers.get(name, "") for name in _OF_BROWSER]).encode()).hexdigest()

    @property
    def comes_from_elsewhere(self) -> bool:
        """Whether a page of another origin opens a websocket or changes something.

        The pages of a dashboard are sandboxed: the origin that browsers name for them is "null", like that of any
        other sandbox, which does not have the session in the path.
        """
        origin = self.headers.get("origin", "")
        if not origin or (self.method in _SAFE_METHODS and not self.is_upgrade):
            return False
        return origin != f"https://{self.host}" and not (origin == "null" and self.session)

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
