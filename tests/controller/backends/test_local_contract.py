"""The local backend does what every backend must."""

from __future__ import annotations

import pytest
from tests.controller.backends.conftest import Place
from tests.controller.backends.contract import BackendContract, MakeBackend


class TestLocalBackend(BackendContract):
    @pytest.fixture
    def make_backend(self, place: Place) -> MakeBackend:
        return place.backend
