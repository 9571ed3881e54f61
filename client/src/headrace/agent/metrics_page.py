"""The page with headrace's own metrics of a scheduler, beside Dask's "/metrics".

It is written here: prometheus_client, which Dask's page needs, may be missing in a user's image.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from tornado import web

if TYPE_CHECKING:
    from distributed import Scheduler
    from distributed.http.routing import RoutingApplication
    from tornado.httputil import HTTPServerRequest

    from headrace.agent.meter import Meter

PATH = "/metrics/headrace"
PATHS = (PATH, "/metrics")
_END = "# EOF\n"


def serve(scheduler: Scheduler, meter: Meter) -> None:
    """Adds the page to a scheduler's HTTP server. Who may read it: `dashboard.protect`."""
    application: RoutingApplication = scheduler.http_application
    application.add_handlers(r".*", [(PATH, _Page, {"meter": meter})])


def may_read(request: HTTPServerRequest, key: str) -> bool:
    """Whether a request is for metrics and carries their key, as the parameter `key`.

    Prometheus can send each target a parameter of its own, and nothing else. Several keys are separated by commas; one
    in common is enough.
    """
    if not key or request.path not in PATHS:
        return False
    given = b",".join(request.query_arguments.get("key", [])).split(b",")
    return any(hmac.compare_digest(one, other.encode()) for one in given for other in key.split(","))


class _Page(web.RequestHandler):
    def initialize(self, meter: Meter) -> None:
        self._meter = meter

    def get(self) -> None:
        self.set_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
        for metric in self._meter.metrics():
            name = metric.name
            self.write(f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n{name} {metric.value}\n")
        self.write(_END)
