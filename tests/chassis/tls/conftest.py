"""What tests of renewed certificates share."""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.chassis.tls.files import DAY

from headrace_chassis.tls.certificates import Authority


@pytest.fixture
def authority() -> Authority:
    return Authority.create("ours", DAY)


@pytest.fixture
def logged() -> Iterator[MutableSequence[Any]]:
    with capture_logs() as lines:
        yield lines
