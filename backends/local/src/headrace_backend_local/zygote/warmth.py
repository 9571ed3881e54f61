"""Everything imported, once: what makes a fork a start."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from headrace_backend_local.protocol import Order
from headrace_backend_local.zygote.agent import Agent
from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.forks import Standby, become, fork
from headrace_backend_local.zygote.loop import Loop
from headrace_backend_local.zygote.pool import Pool
from headrace_backend_local.zygote.spawns import CannotStart

log = logging.getLogger("headrace.nursery")

_QUIET_SECONDS = 0.05


class Warmth:
    """Forks processes that need to import nothing."""

    def __init__(self, loop: Loop, agent: Agent, site: str, is_quiet: Callable[[], bool]) -> None:
        self._loop = loop
        self._agent = agent
        self._is_quiet = is_quiet
        self._loaded = False
        self._standbys = 0
        self._pool = Pool(loop, lambda: Standby(loop, agent, f"dask standby headrace={site}"), is_quiet)

    def keep(self, standbys: int) -> None:
        """Keeps so many processes in standby from now on."""
        self._standbys = standbys
        if self._loaded:
            self._pool.resize(standbys)
        elif standbys:
            self._loop.call_later(_QUIET_SECONDS, self._load_in_quiet)

    def fork(self, order: Order, *, standby: bool) -> Child:
        """Starts what is ordered; gives a process from standby to it if there is one."""
        self._load()
        ready = self._pool.take() if standby else None
        if ready and ready.assign(order):
            return ready.child
        return fork(lambda: become(self._agent, order))

    def end(self) -> None:
        """Lets those in standby go."""
        self._pool.resize(0)

    def _load_in_quiet(self) -> None:
        """Loads when nothing is going on: nobody is answered meanwhile."""
        if not self._is_quiet():
            self._loop.call_later(_QUIET_SECONDS, self._load_in_quiet)
            return
        try:
            self._load()
        except CannotStart as failure:
            log.warning("%s", failure)

    def _load(self) -> None:
        if self._loaded:
            return
        began = time.monotonic()
        try:
            self._agent.preload()
        except Exception as error:
            log.exception("preloading failed")
            raise CannotStart(f"what the process consists of cannot be imported: {error!r}", 1) from error
        self._loaded = True
        self._pool.resize(self._standbys)
        log.info("everything is imported, after %.2f s", time.monotonic() - began)
        names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
        if len(names) > 1:
            log.warning("importing has started threads, which forked processes will miss: %s", ", ".join(names))
