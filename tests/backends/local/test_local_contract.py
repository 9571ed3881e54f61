"""The local backend does what every backend with processes must."""

from __future__ import annotations

import pytest
from tests.backends.contract import MakeBackend
from tests.backends.local.conftest import Site
from tests.backends.process_contract import ProcessContract


class TestLocalBackend(ProcessContract):
    @pytest.fixture
    def make_backend(self, site: Site) -> MakeBackend:
        return site.backend
