"""A connection to the fake headrace, as ann."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.client.fake_headrace import FakeHeadrace

from headrace import TokenAuth
from headrace._target.target import Target
from headrace._wire.connection import Connection


@pytest.fixture
async def connection(fake: FakeHeadrace) -> AsyncIterator[Connection]:
    connection = Connection(Target.resolve(fake.address, auth=TokenAuth("ann-secret"), ca_file=str(fake.ca_file)))
    yield connection
    await connection.close()
