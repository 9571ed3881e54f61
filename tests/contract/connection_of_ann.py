"""The client's connection to a controller, where no auth service is needed."""

from __future__ import annotations

import grpc.aio
from tests.controller.running import token

from headrace import TokenAuth
from headrace._target.target import Target
from headrace._wire.connection import Connection


class ConnectionOfAnn(Connection):
    """A connection to one controller, with a token that no auth service had to sign."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(Target.resolve("http://127.0.0.1:1", auth=TokenAuth("unused")))
        self._channel = channel

    async def _token(self, deadline: object) -> str:
        del deadline
        return token("ann")
