"""Starts, watches, stops and forgets processes, on behalf of whichever controllers are connected."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from headrace_backend_local.protocol import Changed, Forgotten, Order, Report
from headrace_backend_local.zygote import adoption, log_limit
from headrace_backend_local.zygote.agent import Agent
from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.endings import Endings
from headrace_backend_local.zygote.loop import Loop
from headrace_backend_local.zygote.out_of_memory import OutOfMemory
from headrace_backend_local.zygote.record import Record, explain
from headrace_backend_local.zygote.spawns import CannotStart, spawn
from headrace_backend_local.zygote.starts import Starts
from headrace_backend_local.zygote.warmth import Warmth
from headrace_controller.backends.base import ExitCause, ProcessKey, Role

log = logging.getLogger("headrace.nursery")

Publish = Callable[[Changed | Forgotten], None]
Then = Callable[[str], None]  # takes what went wrong, "" if nothing


class Keeper:
    """All processes of one deployment in one local directory."""

    def __init__(self, loop: Loop, site: str, directory: Path, agent: Agent, publish: Publish) -> None:
        self._loop = loop
        self._publish = publish
        self._records: dict[ProcessKey, Record] = {}
        self._starts = Starts(loop, width=(os.cpu_count() or 1) + 1)
        self._endings = Endings(loop, site)
        self._out_of_memory = OutOfMemory()
        self.warmth = Warmth(loop, agent, site, is_quiet=lambda: self._starts.quiet and self._endings.quiet)
        for record in adoption.adopt(site, directory):
            self._records[record.key] = record
            self._watch(record)

    @property
    def reports(self) -> list[Report]:
        """What is known of all processes."""
        return [record.report for record in self._records.values()]

    @property
    def has_children(self) -> bool:
        """Whether anything runs or is to run."""
        return any(record.live for record in self._records.values())

    def start(self, orders: Sequence[Order]) -> None:
        """Starts what does not run already."""
        for order in orders:
            key = ProcessKey(order.cluster, order.process)
            if (known := self._records.get(key)) and known.live:
                continue
            record = self._records[key] = Record.of(order)
            self._tell(record)
            # Under this name something may still be dying.
            self._endings.after(key, partial(self._queue, record, order))

    def stop(self, cluster: str | None, processes: Sequence[str] | None, then: Then) -> None:
        """Stops processes, all of a cluster or of everything by default; calls when they are gone."""
        stops = _Stops(then)
        for record in list(self._records.values()):
            wanted = cluster in {None, record.key.cluster} and (processes is None or record.key.process in processes)
            if wanted and record.live:
                self._stop(record, stops)
        stops.begun()

    def forget(self, cluster: str) -> str:
        """Drops what is known of a cluster; returns why not, if it cannot."""
        keys = [key for key in self._records if key.cluster == cluster]
        if running := [key.process for key in keys if self._records[key].live]:
            return f"cluster {cluster} still has {len(running)} processes, such as {running[0]}: stop them first"
        for key in keys:
            del self._records[key]
        self._publish(Forgotten(cluster))
        return ""

    def look_after(self) -> None:
        """What is to be done now and then."""
        self._out_of_memory.refresh()
        for record in self._records.values():
            if record.child and record.live:
                log_limit.enforce(record.log)

    def _queue(self, record: Record, order: Order) -> None:
        if record.live:  # it may have been stopped meanwhile
            self._starts.put(record.key, partial(self._begin, record, order))

    def _begin(self, record: Record, order: Order) -> Child | None:
        try:
            child = self._make(order)
        except CannotStart as failure:
            record.ended(failure.code, ExitCause.START_FAILED, str(failure))
            self._tell(record)
            return None
        record.runs(child)
        self._watch(record)
        self._tell(record)
        return child

    def _make(self, order: Order) -> Child:
        if order.refusal:
            raise CannotStart(order.refusal, 2)
        try:
            for directory in (Path(order.directory), Path(order.log).parent):
                directory.mkdir(mode=0o700, exist_ok=True)
            if order.command:
                return spawn(order)
            return self.warmth.fork(order, standby=order.role is Role.SCHEDULER)
        except OSError as error:
            raise CannotStart(f"{order.process} cannot start: {error}", 1) from error

    def _stop(self, record: Record, stops: _Stops) -> None:
        record.stopping = True
        if record.child:
            self._endings.stop(record.key, record.child, stops.expect(record.key))
        else:
            self._starts.drop(record.key)
            record.ended(None, ExitCause.STOPPED, "stopped before it had started")
            self._tell(record)

    def _watch(self, record: Record) -> None:
        assert record.child
        self._loop.watch(record.child.descriptor, partial(self._on_exit, record, record.child))

    def _on_exit(self, record: Record, child: Child) -> None:
        self._loop.release(child.descriptor)
        code = child.reap()
        cause, message = explain(
            code, stopped=record.stopping, out_of_memory=code == -9 and self._out_of_memory.struck()
        )
        record.ended(code, cause, message)
        self._endings.sweep(record.key, child)
        self._tell(record)

    def _tell(self, record: Record) -> None:
        self._publish(Changed(record.report))


class _Stops:
    """Waits for the end of several processes."""

    def __init__(self, then: Then) -> None:
        self._then = then
        self._expected = 1
        self._left: list[str] = []

    def expect(self, key: ProcessKey) -> Callable[[list[int]], None]:
        """Returns what is to be called with what is left of one of them."""
        self._expected += 1

        def gone(left: list[int]) -> None:
            self._left += [f"{key.process} (pid {pid})" for pid in left]
            self.begun()

        return gone

    def begun(self) -> None:
        """Counts one thing less to wait for, at first the asking itself."""
        self._expected -= 1
        if not self._expected:
            self._then(f"even killed, these do not end: {', '.join(self._left)}" if self._left else "")
