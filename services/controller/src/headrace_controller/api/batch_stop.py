"""BatchStopClusters: stops many clusters, each by itself."""

from __future__ import annotations

import asyncio

from headrace._wire.status import TABLE, to_status
from headrace.errors import HeadraceError, InvalidRequest, Violation
from headrace.resource_names import cluster_name
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1 import error_reason_pb2
from headrace.v1.enums import Right
from headrace_chassis.audit.note import failed
from headrace_chassis.identity.caller import Caller
from headrace_controller.api.access import ClusterAccess
from headrace_controller.api.commands import ClusterCommands
from headrace_controller.api.filters import Filter
from headrace_controller.mirror import ClusterMirror

_MAX_NAMES = 1000
_AT_ONCE = 32


class BatchStop:
    """Answers BatchStopClusters."""

    def __init__(self, mirror: ClusterMirror, access: ClusterAccess, commands: ClusterCommands) -> None:
        self._mirror = mirror
        self._access = access
        self._commands = commands

    async def stop(self, request: pb.BatchStopClustersRequest, caller: Caller) -> pb.BatchStopClustersResponse:
        """Stop the named clusters, or the living ones that match."""
        names = await self._names(request, caller)
        response = pb.BatchStopClustersResponse()
        for start in range(0, len(names), _AT_ONCE):
            portion = names[start : start + _AT_ONCE]
            outcomes = await asyncio.gather(*(self._stop(name, caller) for name in portion))
            for name, failure in zip(portion, outcomes, strict=True):
                if failure is None:
                    response.stopped.append(name)
                else:
                    response.failures.append(failure)
        return response

    async def _names(self, request: pb.BatchStopClustersRequest, caller: Caller) -> list[str]:
        if bool(request.names) == request.HasField("filter"):
            raise InvalidRequest.of(Violation("names", "either `names` or `filter` must be set, and only one of them"))
        if len(request.names) > _MAX_NAMES:
            raise InvalidRequest.of(
                Violation("names", f"may have at most {_MAX_NAMES} entries, has {len(request.names)}")
            )
        wanted = Filter.read(request.filter, caller) if not request.names else None
        await self._mirror.fresh()
        if wanted is None:
            return list(dict.fromkeys(request.names))
        matching = self._access.matching(wanted, caller, Right.CLUSTER_STOP, living=True)
        return [cluster_name(cluster.id) for cluster in matching if cluster is not None]

    async def _stop(self, name: str, caller: Caller) -> pb.BatchStopFailure | None:
        try:
            await self._commands.stop_known(name, caller, "names")
        except HeadraceError as error:
            reason = next((TABLE[cls][1] for cls in type(error).__mro__ if cls in TABLE), "INTERNAL")
            failed(name, to_status(error).code.name, error.message)
            value = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
            return pb.BatchStopFailure(name=name, reason=value, message=error.message)
        return None
