"""Audit: records calls that changed something, or were about what is another user's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from headrace._wire.status import to_status
from headrace.errors import HeadraceError, TooManyRequests
from headrace.resource_names import user_name
from headrace_chassis import logs
from headrace_chassis.audit.log import AuditLog
from headrace_chassis.audit.note import About, Note, begin
from headrace_chassis.audit.record import Record, bounded
from headrace_chassis.identity.caller import caller_or_none, set_caller
from headrace_chassis.identity.source import Network, source_of
from headrace_chassis.interceptors.call import Call, Interceptor, Method, Serve

_PUBLIC = "/headrace.v1."
# Methods that only read are named like this.
_READS = ("Get", "List", "WhoAmI", "Check", "Watch", "Read")
_NOTHING = (About("", "", ""),)


def audit(log: AuditLog, proxies: Sequence[Network]) -> Interceptor:
    """Make the interceptor. It is within `errors`, so that it knows why a call fails, and around `authenticate`."""

    def interceptor(method: Method, serve: Serve) -> Serve:
        # Agents, headrace's own services and health are left out.
        return _Recorder(log, proxies, method, serve).serve if method.path.startswith(_PUBLIC) else serve

    return interceptor


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Records the calls of one method."""

    log: AuditLog
    proxies: Sequence[Network]
    method: Method
    inner: Serve

    async def serve(self, call: Call) -> Any:
        set_caller(None)
        note = begin()
        if self.method.is_stream:
            note.noted = lambda: self._begun(call, note)
        try:
            answer = await self.inner(call)
        except TooManyRequests:
            raise  # what limits the calls limits the log
        except HeadraceError as error:
            self._failed(call, note, to_status(error).code.name, error.message)
            raise
        except asyncio.CancelledError:
            if self._changes:
                self._write(call, note, grpc.StatusCode.CANCELLED.name, "it is unknown whether it took effect")
            raise
        except Exception as error:
            self._failed(call, note, grpc.StatusCode.INTERNAL.name, type(error).__name__)
            raise
        if self._changes or (note.is_anothers and not self.method.is_stream):
            self._write(call, note)
        return answer

    @property
    def _changes(self) -> bool:
        return not self.method.name.rpartition(".")[2].startswith(_READS)

    def _begun(self, call: Call, note: Note) -> None:
        """Record a stream once, when it begins, if it is about what is another's and the caller may see it."""
        if note.is_anothers and all(one.role for one in note.abouts.values()):
            note.noted = None
            self._write(call, note)

    def _failed(self, call: Call, note: Note, code: str, detail: str) -> None:
        if self._changes or note.is_anothers or code == grpc.StatusCode.PERMISSION_DENIED.name:
            self._write(call, note, code, detail)

    def _write(self, call: Call, note: Note, code: str = "OK", detail: str = "") -> None:
        caller = caller_or_none()
        who = user_name(caller.user) if caller else note.caller
        source = source_of(call.context.peer(), call.metadata, self.proxies)
        for one in note.things or _NOTHING:
            record = Record(
                time=time.time(),
                service=self.log.service,
                method=self.method.name,
                caller=bounded(who),
                token=caller.token if caller else note.token,
                source=source,
                target=bounded(one.target),
                owner=bounded(one.owner and user_name(one.owner)),
                role=one.role,
                code=one.code or code,
                detail=bounded(detail or one.detail or note.detail),
                request_id=logs.request_id.get(),
            )
            trusted = caller is not None and caller.is_admin
            self.log.add(record, by=who if caller else source, trusted=trusted, stranger=caller is None)
