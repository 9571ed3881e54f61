"""Who reads the metrics of a cluster through the gateway, as a Prometheus of theirs would."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import ssl
from typing import Any

from tests.conftest import Eventually
from tests.e2e.conftest import USERS
from tests.e2e.running import Running
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from headrace import BasicAuth, Gateway
from headrace._wire.auth_calls import create_api_token
from headrace.v1.auth_service_pb2 import ApiToken

OWN, DASKS = "metrics/headrace", "metrics"


async def test_owners_read_the_metrics_of_their_cluster_with_an_api_token(
    headrace: Running, eventually: Eventually
) -> None:
    address, ca = headrace.gateway_file["address"], headrace.gateway_file["ca_file"]
    tls = ssl.create_default_context(cafile=ca)
    ann, bob = (Gateway(address, auth=BasicAuth(*each), tls_ca_file=ca, asynchronous=True) for each in USERS.items())

    async with ann, bob, await ann.new_cluster() as cluster:
        tokens = [(await create_api_token(user._session.connection, ApiToken())).secret for user in (ann, bob)]
        owner, other = ({"authorization": f"Bearer {token}"} for token in tokens)

        async def read(page: str, headers: dict[str, str]) -> HTTPResponse:
            url = f"{address}/clusters/{cluster.name}/{page}"
            return await AsyncHTTPClient().fetch(
                url, headers=headers, raise_error=False, ssl_options=tls, request_timeout=60
            )

        await cluster.scale(1)
        client: Any = await cluster.get_client(set_as_default=False)
        async with client:
            await client.wait_for_workers(1)
            answer = await read(OWN, owner)
            assert answer.code == 200
            assert {b"headrace_scheduler_clients 1", b"headrace_scheduler_workers 1"} <= set(answer.body.splitlines())
            assert b"dask_scheduler_clients" in (await read(DASKS, owner)).body
            [worker] = [info["name"] for info in (await client.scheduler.identity())["workers"].values()]
            workers = f"{OWN}/workers/{worker}"
            assert b"headrace_worker_cores" in (await read(workers, owner)).body
        for page in (OWN, DASKS, workers):
            assert (await read(page, {})).code == 401
            refused = await read(page, other)
            assert refused.code == 403
            assert b"headrace_" not in refused.body
        await cluster.share("bob", "view")
        assert (await read(OWN, other)).code == 403
        await cluster.share("bob", "connect")

        async def shared() -> bool:
            return (await read(OWN, other)).code == 200

        await eventually(shared)
