"""The Kubernetes backend does what every backend with processes must, on a real API server with real pods."""

from __future__ import annotations

import pytest
from tests.backends.contract import MakeBackend
from tests.backends.process_contract import ProcessContract
from tests.kubernetes.backend.opened import Site


class TestKubernetesBackend(ProcessContract):
    many = 6

    @pytest.fixture
    def make_backend(self, site: Site) -> MakeBackend:
        return site.backend
