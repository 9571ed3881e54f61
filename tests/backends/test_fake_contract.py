"""The fake backend of the controller's tests does what every backend must."""

from __future__ import annotations

import pytest
from tests.backends.contract import BackendContract, MakeBackend
from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine


class TestFakeBackend(BackendContract):
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        machine = FakeMachine()
        return lambda: FakeBackend(machine)
