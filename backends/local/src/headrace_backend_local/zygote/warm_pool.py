"""Processes that need to import nothing: forked when they are needed, or in advance.

A process from standby serves once and never comes back. Another one takes its place when nothing else is going on.
Schedulers stand by as soon as what they need is imported, and are replaced once everything is. They are replaced, too,
when the fork server had to be.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from headrace_backend_local.protocol import LaunchSpec
from headrace_backend_local.zygote.agent import Agent
from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.forks import Standby, become, fork
from headrace_backend_local.zygote.launch_files import LaunchFiles
from headrace_backend_local.zygote.loop import Loop, Timer
from headrace_backend_local.zygote.spawn import CannotStart

log = logging.getLogger("headrace.zygote")

_LOAD_SECONDS = 0.05
_REFILL_SECONDS = 0.25
_AFTER_DEATH_SECONDS = 5.0
_BETWEEN_REPAIRS_SECONDS = 30.0


class WarmPool:
    """Imports everything once, forks processes from that, and keeps some of them in standby.

    Parameters
    ----------
    title
        Title of processes in standby.
    is_quiet
        Whether nothing is being started or terminated.
    on_warm
        Called once, when `warm` becomes true.
    share_helpers
        Whether all processes share the helpers of the agent. Otherwise each starts its own.
    """

    def __init__(
        self,
        loop: Loop,
        agent: Agent,
        title: str,
        *,
        is_quiet: Callable[[], bool],
        on_warm: Callable[[], None],
        share_helpers: bool,
    ) -> None:
        self._loop = loop
        self._agent = agent
        self._title = title
        self._is_quiet = is_quiet
        self._on_warm = on_warm
        self._share_helpers = share_helpers
        self._loading: Iterator[bool] | None = None
        self._started = 0.0
        self._forkable = False  # enough is imported for schedulers
        self._loaded = False
        self._size = 0
        self._nice = 0
        self._standbys: list[Standby] = []
        self._early: set[Standby] = set()  # those that were forked before all that is to be inherited was there
        self._timer: Timer | None = None
        self._refill_from = 0.0
        self._repair_from = 0.0
        self.warm = True

    def resize(self, size: int, nice: int) -> None:
        """Keeps `size` processes in standby from now on. `nice` is added to the niceness of all that are forked."""
        if not self._loaded and not self._size and size:
            self.warm = False
        if nice != self._nice:
            self._dismiss(0)
        self._size, self._nice = size, nice
        self._dismiss(size)
        if size and not self._loaded:
            self._loop.call_later(_LOAD_SECONDS, self._load_when_quiet)
        self._refill_later(0.0)
        self._check_warm()

    def close(self) -> None:
        """Ends the processes in standby."""
        self._size = 0
        self._dismiss(0)

    def maintain(self) -> None:
        """Starts the fork server again if it has ended, and renews the standbys, which only knew the old one."""
        now = time.monotonic()
        if self._loaded and now >= self._repair_from and self._is_quiet() and self._agent.repair():
            log.warning("the fork server had ended; another was started")
            self._repair_from = now + _BETWEEN_REPAIRS_SECONDS
            self._early = set(self._standbys)
            self._refill_later(0.0)

    def fork(self, spec: LaunchSpec, files: LaunchFiles, *, standby: bool) -> Child:
        """Starts a process, from standby if there is one; raises `CannotStart`."""
        ready = self._take() if standby else None
        if ready and ready.assign(spec, files):
            return ready.child
        # A scheduler does not wait for what it does not need.
        while not (self._forkable if standby else self._loaded):
            self._load_piece()
        return fork(self._loop, lambda: become(self._agent, spec, files), self._nice, files, session=bool(spec.account))

    def _load_when_quiet(self) -> None:
        """Imports a piece when nothing is going on: the zygote answers nobody meanwhile.

        The first processes in standby come before what they do not need.
        """
        if self._loaded or not self._size:
            return
        if not self._is_quiet() or (self._forkable and not self.warm):
            self._loop.call_later(_LOAD_SECONDS, self._load_when_quiet)
            return
        try:
            self._load_piece()
        except CannotStart as failure:
            log.warning("%s", failure)
            self._set_warm()  # as warm as it gets
        else:
            self._loop.call_later(0.0, self._load_when_quiet)

    def _load_piece(self) -> None:
        if self._loading is None:
            self._started = time.monotonic()
        try:
            self._loading = self._loading or self._agent.preload()
            self._forkable = next(self._loading)
        except StopIteration:
            self._on_loaded()
        except Exception as error:
            self._loading = None
            log.exception("preloading failed")
            raise CannotStart(f"the modules of the process cannot be imported: {error!r}", 1) from error
        self._refill_later(0.0)

    def _on_loaded(self) -> None:
        if self._share_helpers:
            self._agent.start_helpers(())
        self._loaded = self._forkable = True
        self._early = set(self._standbys)
        log.info("everything is imported, after %.2f s", time.monotonic() - self._started)
        names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
        if len(names) > 1:
            log.warning("importing has started threads, which forked processes will miss: %s", ", ".join(names))

    def _take(self) -> Standby | None:
        ready = next((s for s in self._standbys if s.ready), None)
        if ready:
            self._standbys.remove(ready)
        self._refill_later(_REFILL_SECONDS)
        return ready

    def _dismiss(self, size: int) -> None:
        while len(self._standbys) > size:
            self._standbys.pop().dismiss()

    def _refill_later(self, delay: float) -> None:
        due = self._timer is None or not delay
        if self._forkable and due and self._lacks():
            self._call_later(delay, self._refill)

    def _refill(self) -> None:
        if not self._lacks():
            return
        # One at a time, and only while nobody waits for a start.
        if self._is_quiet() and time.monotonic() >= self._refill_from and all(s.ready for s in self._standbys):
            try:
                self._add()
            except OSError as error:
                log.warning("no process can be forked for standby: %s", error)
                self._give_up_for_now()
        self._refill_later(_REFILL_SECONDS)

    def _add(self) -> None:
        standby = Standby(
            self._loop, self._agent, self._title, self._nice, self._on_ready, session=not self._share_helpers
        )
        self._standbys.append(standby)
        self._loop.watch(standby.child.descriptor, lambda: self._on_exit(standby))

    def _give_up_for_now(self) -> None:
        self._set_warm()  # as warm as it gets
        self._refill_from = time.monotonic() + _AFTER_DEATH_SECONDS

    def _lacks(self) -> bool:
        return len(self._standbys) - len(self._outdated()) < self._size

    def _outdated(self) -> list[Standby]:
        return [standby for standby in self._standbys if standby in self._early]

    def _on_ready(self) -> None:
        if len(self._standbys) > self._size and (outdated := self._outdated()):
            self._standbys.remove(outdated[0])
            outdated[0].dismiss()
        self._check_warm()
        self._refill_later(0.0)

    def _on_exit(self, standby: Standby) -> None:
        self._loop.release(standby.child.descriptor)
        code = standby.child.reap()
        if standby in self._standbys:
            log.warning("a process in standby has exited with code %s", code)
            self._standbys.remove(standby)
            standby.dismiss()
            self._give_up_for_now()
            self._refill_later(_REFILL_SECONDS)

    def _check_warm(self) -> None:
        if sum(s.ready for s in self._standbys) >= self._size:
            self._set_warm()

    def _set_warm(self) -> None:
        if not self.warm:
            self.warm = True
            self._on_warm()

    def _call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Keeps one timer, of which the newest counts."""
        if self._timer:
            self._timer.cancel()

        def call() -> None:
            self._timer = None
            callback()

        self._timer = self._loop.call_later(delay, call)
