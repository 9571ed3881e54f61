"""The Kubernetes backend does what every backend must, on a real API server with real pods."""

from __future__ import annotations

import pytest
from tests.backends.contract import BackendContract, MakeBackend
from tests.kubernetes.backend.opened import Site


class TestKubernetesBackend(BackendContract):
    many = 6

    @pytest.fixture
    def make_backend(self, site: Site) -> MakeBackend:
        return site.backend
