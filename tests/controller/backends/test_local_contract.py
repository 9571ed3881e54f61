"""The local backend does what every backend with processes must."""

from __future__ import annotations

import pytest
from tests.controller.backends.conftest import Place
from tests.controller.backends.contract import MakeBackend
from tests.controller.backends.process_contract import ProcessContract


class TestLocalBackend(ProcessContract):
    @pytest.fixture
    def make_backend(self, place: Place) -> MakeBackend:
        return place.backend
