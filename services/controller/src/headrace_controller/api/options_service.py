"""OptionsService: the choices that users have."""

from __future__ import annotations

from headrace.v1 import options_service_pb2 as pb
from headrace_controller.options.catalogue import Options


class OptionsService:
    """Lists options; they are the same for everybody so far."""

    def __init__(self, options: Options) -> None:
        self._answer = pb.ListOptionsResponse(options=options.to_proto()).SerializeToString()

    async def list_options(self, _request: pb.ListOptionsRequest) -> bytes:
        return self._answer
