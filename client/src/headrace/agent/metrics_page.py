"""The pages with headrace's own metrics of a scheduler and of its workers, beside Dask's "/metrics".

They are written here: prometheus_client, which Dask's pages need, may be missing in a user's image.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tornado import web

from headrace.agent.worker_metrics import dask_metrics, find_worker, worker_metrics

if TYPE_CHECKING:
    from distributed import Scheduler
    from distributed.http.routing import RoutingApplication
    from tornado.httputil import HTTPServerRequest

    from headrace.agent.meter import Meter, Metric

PATH = "/metrics/headrace"
WORKERS = f"{PATH}/workers/"
"""What the paths of workers' pages begin with; their names follow."""

_WORKER = f"{WORKERS}([^/]+)"
_END = "# EOF\n"


def serve(scheduler: Scheduler, meter: Meter) -> None:
    """Adds the pages to a scheduler's HTTP server. Who may read them: `dashboard.protect`."""
    application: RoutingApplication = scheduler.http_application
    pages = [(PATH, _SchedulerPage, {"meter": meter}), (_WORKER, _WorkerPage, {"scheduler": scheduler})]
    application.add_handlers(r".*", pages)


def may_read(request: HTTPServerRequest, key: str) -> bool:
    """Whether a request is for metrics and carries their key, as the parameter `key`.

    Prometheus can send each target a parameter of its own, and nothing else. Several keys are separated by commas; one
    in common is enough.
    """
    if not key or not (request.path in {PATH, "/metrics"} or re.fullmatch(_WORKER, request.path)):
        return False
    given = b",".join(request.query_arguments.get("key", [])).split(b",")
    return any(hmac.compare_digest(one, other.encode()) for one in given for other in key.split(","))


class _Page(web.RequestHandler):
    def write_page(self, metrics: Iterable[Metric], more: str = "") -> None:
        self.set_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
        for metric in metrics:
            name = metric.name
            self.write(f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n{name} {metric.value}\n")
        self.write(more)
        self.write(_END)


class _SchedulerPage(_Page):
    def initialize(self, meter: Meter) -> None:
        self._meter = meter

    def get(self) -> None:
        self.write_page(self._meter.metrics())


class _WorkerPage(_Page):
    def initialize(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    async def get(self, name: str) -> None:
        worker = find_worker(self._scheduler, name)
        if worker is None:
            raise web.HTTPError(404, reason="no worker of this name has joined")
        self.write_page(worker_metrics(worker), await dask_metrics(self._scheduler, worker))
