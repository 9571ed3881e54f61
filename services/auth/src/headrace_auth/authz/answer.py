"""Decisions as Envoy's messages. xds-protos has no types."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, cast
from urllib.parse import quote

from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2
from envoy.type.v3 import http_status_pb2
from google.protobuf.struct_pb2 import Struct
from google.rpc import code_pb2, status_pb2

from headrace_auth.authz.decision import Allow, Decision, Redirect, Refuse
from headrace_auth.authz.request import COOKIE, LINK_PARAMETER, DashboardRequest
from headrace_chassis.identity.certificate_names import name_in_certificate
from headrace_chassis.identity.dashboard_keys import DASHBOARD_KEY_HEADER, GUESTS_HEADER

_auth, _base, _http_status = cast("Any", external_auth_pb2), cast("Any", base_pb2), cast("Any", http_status_pb2)

DESTINATION_HEADER = "x-envoy-original-dst-host"
_OVERWRITE = _base.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
# A page has dozens of files. A session that was ended opens no file after this time.
REMEMBERED_SECONDS = 3
_NEVER_STORED = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


def answer(decision: Decision, request: DashboardRequest, session_seconds: int) -> Any:  # a CheckResponse
    """Return a decision as a CheckResponse."""
    match decision:
        case Allow():
            return _allowed(decision, request)
        case Redirect():
            cookie = (
                f"{COOKIE}={decision.session}; Path=/clusters/{decision.cluster}; Max-Age={session_seconds}; "
                "HttpOnly; Secure; SameSite=Lax"
            )
            return _denied(302, "", {"location": decision.location, "set-cookie": cookie, **_NEVER_STORED})
        case Refuse():
            return _refused(decision, request)


def _allowed(decision: Allow, request: DashboardRequest) -> Any:  # a CheckResponse
    # Overwrites what the client may have sent: only this service says where a request goes.
    headers = {DESTINATION_HEADER: decision.address, DASHBOARD_KEY_HEADER: decision.key}
    if request.is_upgrade:  # the agent closes the websocket when these may connect no longer
        headers[GUESTS_HEADER] = ",".join(quote(name_in_certificate(guest)) for guest in decision.guests)
    return _auth.CheckResponse(
        status=status_pb2.Status(code=code_pb2.OK),
        ok_response=_auth.OkHttpResponse(
            headers=_headers(headers),
            headers_to_remove=["authorization", "cookie"],
            query_parameters_to_remove=[LINK_PARAMETER] if request.link else [],
        ),
        dynamic_metadata=_to_remember(decision) if request.session else None,
    )


def _to_remember(decision: Allow) -> Struct:
    """What Envoy needs to let the next files of the page through by itself."""
    remembered = Struct()
    remembered.update({"destination": decision.address, "key": decision.key, "seconds": REMEMBERED_SECONDS})
    return remembered


def _refused(decision: Refuse, request: DashboardRequest) -> Any:  # a CheckResponse
    headers = dict(_NEVER_STORED)
    if decision.status == 401:
        headers["www-authenticate"] = "Bearer"
    if request.wants_html:
        headers["content-type"] = "text/html; charset=utf-8"
        texts = {
            "title": decision.title,
            "message": decision.message,
            "what_to_do": decision.what_to_do,
            "status": str(decision.status),
        }
        body = _page().substitute({name: _html(text) for name, text in texts.items()})
    else:
        headers["content-type"] = "text/plain; charset=utf-8"
        body = f"{decision.title}. {decision.message} {decision.what_to_do}".rstrip() + "\n"
    return _denied(decision.status, body, headers)


def _denied(status: int, body: str, headers: dict[str, str]) -> Any:  # a CheckResponse
    code = code_pb2.UNAUTHENTICATED if status == 401 else code_pb2.PERMISSION_DENIED
    return _auth.CheckResponse(
        status=status_pb2.Status(code=code),
        denied_response=_auth.DeniedHttpResponse(
            status=_http_status.HttpStatus(code=status), headers=_headers(headers), body=body
        ),
    )


def _headers(headers: dict[str, str]) -> list[Any]:  # HeaderValueOptions
    return [
        _base.HeaderValueOption(header=_base.HeaderValue(key=name, value=value), append_action=_OVERWRITE)
        for name, value in headers.items()
    ]


def _html(text: str) -> str:
    return re.sub("`(.+?)`", r"<code>\1</code>", escape(text))


@cache
def _page() -> Template:
    return Template((files("headrace_auth.authz") / "page.html").read_text(encoding="utf-8"))
