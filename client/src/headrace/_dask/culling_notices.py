"""Tells the user of a cluster once that it is about to be given back, below the cell or in the log."""

from __future__ import annotations

import asyncio
import html
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, ClassVar

from headrace._dask.progress import in_notebook
from headrace._wire.calls import ENDED
from headrace._wire.connection import TRANSIENT, Connection
from headrace._wire.watch import watch_cluster
from headrace.errors import HeadraceError
from headrace.v1 import cluster_pb2
from headrace.v1.cluster_service_pb2 import WatchClustersResponse

logger = logging.getLogger("headrace.culling")

_PAUSE_SECONDS = 60.0
_MAX_WATCHES = 50
"""Clusters of one process that are watched at the same time; each costs a stream."""

_BUDGETS = {cluster_pb2.EVENT_TYPE_BUDGET_WARNED, cluster_pb2.EVENT_TYPE_BUDGET_USED_UP}
_OVER = {cluster_pb2.EVENT_TYPE_CULLING_WITHDRAWN, cluster_pb2.EVENT_TYPE_CULLED, cluster_pb2.EVENT_TYPE_STOPPING}


Replace = Callable[[str], None]
"""Replaces a line that is shown."""


def show_line(text: str) -> Replace:
    """Show a line in the output of the cell in a notebook, else in the log."""
    if not in_notebook():
        logger.warning("%s", text)
        return lambda later: logger.info("%s", later)
    from IPython.display import display

    handle: Any = display(_line(text), raw=True, display_id=True)
    return lambda later: handle.update(_line(later), raw=True)


def _line(text: str) -> dict[str, str]:
    return {"text/plain": text, "text/html": f"<p><strong>{html.escape(text)}</strong></p>"}


class CullingNotices:
    """Follows the events of one cluster.

    Parameters
    ----------
    show
        Shows a line to the user.
    seen
        Called with the cluster as it is, whenever it has changed.

    Attributes
    ----------
    warning
        What the user is warned of now; "" if of nothing.
    """

    delay_seconds: ClassVar[float] = 5.0  # most clusters end before anybody must be warned
    _watches = 0

    def __init__(
        self,
        show: Callable[[str], Replace] = show_line,
        seen: Callable[[cluster_pb2.Cluster], None] = lambda _cluster: None,
    ) -> None:
        self.warning = ""
        self._replace: Replace | None = None
        self._changed: Callable[[str], None] = lambda _: None
        self._show = show
        self._seen = seen
        self._task: asyncio.Task[None] | None = None

    def on_change(self, callback: Callable[[str], None]) -> None:
        """Call this with each new warning, and at once with the one in force."""
        self._changed = callback
        callback(self.warning)

    def start_later(self, connection: Connection, cluster: str) -> None:
        """Follow ``clusters/{cluster}`` after some seconds."""
        self._task = asyncio.ensure_future(self._start(connection, cluster))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _start(self, connection: Connection, cluster: str) -> None:
        await asyncio.sleep(self.delay_seconds)
        if CullingNotices._watches >= _MAX_WATCHES:
            return
        CullingNotices._watches += 1
        try:
            await self._follow(connection, cluster)
        except HeadraceError as error:  # the cluster is usable without it
            logger.debug("warnings about cluster %s are not shown: %s", cluster, error)
        finally:
            CullingNotices._watches -= 1

    async def _follow(self, connection: Connection, cluster: str) -> None:
        while True:
            try:
                if await self._follow_once(connection, cluster):
                    return
            except TRANSIENT:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow_once(self, connection: Connection, cluster: str) -> bool:
        """Follow until the cluster has ended. Of the events before the first checkpoint, what they led to counts."""
        known, warning = False, self.warning
        async with aclosing(watch_cluster(connection, cluster)) as steps:
            async for step in steps:
                known = known or step.HasField("checkpoint")
                if step.HasField("cluster"):
                    self._seen(step.cluster)
                warning = _after(warning, step)
                if known:
                    self._set(warning)
                    if step.event.type == cluster_pb2.EVENT_TYPE_CULLING_WITHDRAWN and self._replace:
                        self._replace(_plain(step.event.message))
                    if step.event.type in _BUDGETS:
                        self._show(_plain(step.event.message))
                if step.cluster.status.phase in ENDED:
                    self._set("")
                    if self._replace:
                        self._replace(_plain(step.cluster.status.message))
                    return True
        return False

    def _set(self, warning: str) -> None:
        if warning == self.warning:
            return
        if warning:
            self._replace = self._show(warning)
        self.warning = warning
        self._changed(warning)


def _after(warning: str, step: WatchClustersResponse) -> str:
    """Return the warning that is in force after a step."""
    if step.event.type == cluster_pb2.EVENT_TYPE_CULLING_WARNED:
        return _plain(step.event.message)
    return "" if step.event.type in _OVER else warning


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
