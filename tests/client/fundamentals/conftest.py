"""The tutorial runs twice: in memory, and on a whole headrace (marked e2e)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.running import Running, running

from headrace import Gateway


@pytest.fixture(scope="session")
def whole_headrace() -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="hr-fun-") as name, running(Path(name)) as headrace:
        yield headrace


@pytest.fixture(params=["in_memory", pytest.param("whole", marks=pytest.mark.e2e)])
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A headrace that `Gateway()` finds."""
    if request.param == "in_memory":
        request.getfixturevalue("configured")
    else:
        headrace: Running = request.getfixturevalue("whole_headrace")
        monkeypatch.setenv("HEADRACE_DATA_DIR", str(headrace.data))


@pytest.fixture
def gateway(here: None) -> Iterator[Gateway]:
    with Gateway() as gateway:
        yield gateway
        gateway.stop_all()
