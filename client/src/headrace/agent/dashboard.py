"""The scheduler's dashboard, built when it is first opened.

Its HTTP server listens from the start. The fifty Bokeh applications behind it cost a third of a scheduler's start and
of its memory, importing Bokeh takes as long as importing Dask, and most dashboards are never opened. A placeholder
stands for the Bokeh application until the first request that no other application answers.

Links, static files and websockets of the pages are relative to the page's own URL, so a proxy that strips a prefix
needs two corrections only: the redirect from "/" is absolute in Dask, and is made relative; and the pages under
"info/" climb one folder too far for their static files, which works at the root of a host only.
"""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

import dask.config
from distributed.http.scheduler import info
from tornado import web
from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream

from headrace._resumable.guests import Guests
from headrace.agent.dashboard_files import keep_files
from headrace.agent.metrics_page import may_read

if TYPE_CHECKING:
    from collections.abc import Callable

    from bokeh.document import Document
    from bokeh.server.tornado import BokehTornado
    from distributed import Scheduler, Worker
    from distributed.http.routing import RoutingApplication
    from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
    from tornado.web import _HandlerDelegate  # pyright: ignore[reportPrivateUsage]

logger = logging.getLogger("headrace.agent")

KEY_HEADER = "x-headrace-dashboard-key"
GUESTS_HEADER = "x-headrace-guests"

_BOKEH = "distributed.scheduler.dashboard.bokeh-application"
# A page that was opened so long ago still gets its websocket back. Who may have it is not for Bokeh to say (`protect`).
_OPEN_SECONDS = 86_400
# Bokeh's page would take the first words of the new connection for the rest of the message that was cut off, and hang.
# It gives up after five attempts, within a minute, and leaves the next one to the reader's click.
_RECONNECT = """
const connection = cb_data.connection.deref()
if (connection?._receiver)
    connection._receiver = new connection._receiver.constructor()
if (cb_data.timeout == null)
    setTimeout(() => cb_data.reconnect(), 1000 * Math.min(cb_data.attempts, 30))
"""


def protect(scheduler: Scheduler, key: str, metrics_key: str = "") -> None:
    """Lets a scheduler's HTTP server answer only requests that carry its key, which the gateway adds.

    The server listens on a port that other users of its machine reach. Key and header may name several, separated by
    commas; one in common is enough. A controller of an older release sends none: then there is nothing to demand.
    Metrics have a key of their own, too, because Prometheus shows it to its users.
    """
    if not key:
        return
    keys = [each.encode() for each in key.split(",")]
    application: RoutingApplication = scheduler.http_application
    find_handler = keep_files(application.find_handler)

    def find(request: HTTPServerRequest, **kwargs: object) -> HTTPMessageDelegate:
        given = request.headers.get(KEY_HEADER, "").encode().split(b",")
        if any(hmac.compare_digest(one, other) for one in given for other in keys):
            del request.headers[KEY_HEADER]  # no page may show it
            return find_handler(request, **kwargs)
        if may_read(request, metrics_key):
            return find_handler(request, **kwargs)
        return application.get_handler_delegate(request, _Refusal)

    application.find_handler = find


def refuse_all(server: Scheduler | Worker) -> Callable[[], None]:
    """Closes the pages of what a user's command runs: its HTTP server may listen on the network. Returns what opens."""
    application: RoutingApplication = server.http_application
    find_handler = application.find_handler
    application.find_handler = lambda request, **_: application.get_handler_delegate(request, _Refusal)

    def open_again() -> None:
        application.find_handler = find_handler

    return open_again


def close_with_guests(scheduler: Scheduler, guests: Guests) -> None:
    """Closes a websocket when its user may no longer connect; the gateway says through whom it is open."""
    application: RoutingApplication = scheduler.http_application
    find_handler = application.find_handler

    def find(request: HTTPServerRequest, **kwargs: object) -> HTTPMessageDelegate:
        members = frozenset(unquote(name) for name in request.headers.get(GUESTS_HEADER, "").split(",") if name)
        if not guests.admits(members):
            return application.get_handler_delegate(request, _Refusal)
        if members and isinstance(request.connection, HTTP1Connection) and (stream := request.connection.stream):
            del request.headers[GUESTS_HEADER]  # no page may show it
            guests.enter(stream, members, IOStream.close)
        return find_handler(request, **kwargs)

    application.find_handler = find


class _Refusal(web.RequestHandler):
    """Answers any request."""

    def prepare(self) -> None:
        self.set_status(403)
        self.set_header("content-type", "text/plain; charset=utf-8")
        self.finish(
            "This dashboard is opened through the gateway: use the link of the cluster (`headrace clusters open`).\n"
        )


def connect(scheduler: Scheduler) -> None:
    """Gives a scheduler, made with ``dashboard=False``, its dashboard."""
    info.rel_path_statics["rel_path_statics"] = "../.."
    application: RoutingApplication = scheduler.http_application
    application.add_handlers(r".*", [(r"/", web.RedirectHandler, {"url": "status", "permanent": False})])
    application.add_application(cast("web.Application", LazyDashboard(scheduler)))


class LazyDashboard:
    """Placeholder of a scheduler's Bokeh application, which replaces itself by the real one when it is used."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    @property
    def __class__(self) -> type[BokehTornado]:  # pyright: ignore[reportIncompatibleMethodOverride] - read only
        """Dask looks for a `BokehTornado` among its applications to list the plots, and asks with `isinstance`."""
        from bokeh.server.tornado import BokehTornado

        return BokehTornado

    def find_handler(self, request: HTTPServerRequest, **kwargs: object) -> _HandlerDelegate:
        return self._build().find_handler(request, **kwargs)

    @property
    def app_paths(self) -> set[str]:
        return self._build().app_paths

    def stop(self, wait: bool = True) -> None:
        """Nothing has been started."""

    async def stop_async(self, wait: bool = True) -> None:
        """Nothing has been started."""

    def __repr__(self) -> str:
        # Dask recognizes a Bokeh application by this word.
        return "<bokeh application, not yet built>"

    def _build(self) -> BokehTornado:
        logger.info("building the dashboard, which is opened for the first time")
        from distributed.dashboard import scheduler as dask_dashboard

        application: RoutingApplication = self._scheduler.http_application
        settings = {"session_token_expiration": _OPEN_SECONDS, **dask.config.get(_BOKEH)}
        with dask.config.set({_BOKEH: settings}):
            dask_dashboard.connect(application, self._scheduler.http_server, self._scheduler, prefix="")
        applications: list[web.Application] = application.applications
        built = cast("BokehTornado", applications.pop())
        _keep_reconnecting(built)
        applications[applications.index(cast("web.Application", self))] = built
        return built


def _keep_reconnecting(built: BokehTornado) -> None:
    """Lets the pages try again and again to get their websocket back."""
    from bokeh.application.handlers import FunctionHandler
    from bokeh.models import CustomJS

    def add_script(document: Document) -> None:
        document.js_on_event("connection_lost", CustomJS(code=_RECONNECT))

    for context in built._applications.values():  # pyright: ignore[reportPrivateUsage] - there is no other way to them
        context.application.add(FunctionHandler(add_script))
