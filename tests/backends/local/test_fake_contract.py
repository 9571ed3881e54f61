"""The fake backend of the controller's tests does what every backend must."""

from __future__ import annotations

import pytest
from tests.backends.local.contract import BackendContract, MakeBackend
from tests.controller.services.fake_backend import FakeBackend
from tests.controller.services.fake_machine import FakeMachine


class TestFakeBackend(BackendContract):
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        machine = FakeMachine()
        return lambda: FakeBackend(machine)
