"""A connection to the fake headrace, as ann: by gRPC, and by gRPC-Web through an Envoy at an address with a path."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.client.envoy_before import EnvoyBefore
from tests.client.fake_headrace import FakeHeadrace

from headrace import TokenAuth
from headrace._target.target import Target
from headrace._wire.connection import Connection


@pytest.fixture(params=["gRPC", "gRPC-Web"])
async def connection(request: pytest.FixtureRequest, fake: FakeHeadrace) -> AsyncIterator[Connection]:
    place: FakeHeadrace | EnvoyBefore = request.getfixturevalue("envoy") if request.param == "gRPC-Web" else fake
    connection = Connection(Target.resolve(place.address, auth=TokenAuth("ann-secret"), ca_file=str(place.ca_file)))
    yield connection
    await connection.close()
