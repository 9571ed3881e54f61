"""The local backend does what every backend with processes must."""

from __future__ import annotations

import pytest
from tests.backends.local.conftest import Place
from tests.backends.local.contract import MakeBackend
from tests.backends.local.process_contract import ProcessContract


class TestLocalBackend(ProcessContract):
    @pytest.fixture
    def make_backend(self, place: Place) -> MakeBackend:
        return place.backend
