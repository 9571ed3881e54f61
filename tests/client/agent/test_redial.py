"""A scheduler asks its clients to connect again when a proxy is about to end."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from tests.client.agent.running import Cluster

from headrace._dask.comm import RetryableTLSConnector
from headrace._resumable.absences import Absences
from headrace._resumable.dialing import Dialer
from headrace._resumable.records import ALPN
from headrace.internal.v1 import agent_service_pb2 as pb

CLIENTS = 10  # they are asked at different times: waiting for the first one takes less


async def test_clients_are_asked_to_connect_again_as_instructed(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    context = cluster.security().get_connection_args("client")["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    context.set_alpn_protocols([ALPN])
    dialed: list[int] = []

    async def connect(number: int) -> Any:
        async def dial() -> Any:
            dialed.append(number)
            address = cluster.scheduler_address.removeprefix("tls://")
            return await RetryableTLSConnector().connect(address, ssl_context=context)

        comm: Any = await Dialer(dial, Absences(lambda: "c1", 60)).open(deserialize=True)
        await comm.write(comm.handshake_info())
        await comm.read()
        return comm

    comms = [await connect(number) for number in range(CLIENTS)]
    reading = [asyncio.create_task(comm.read()) for comm in comms]
    cluster.controller.instruct(pb.SessionResponse(redial=True))
    await cluster.eventually(lambda: len(dialed) > CLIENTS)
    moved = comms[dialed[CLIENTS]]
    await moved.write({"op": "identity", "reply": True})
    assert (await reading[dialed[CLIENTS]])["type"] == "Scheduler"
    for comm, task in zip(comms, reading, strict=True):
        comm.abort()
        await asyncio.gather(task, return_exceptions=True)
