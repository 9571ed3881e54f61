from __future__ import annotations

import pytest
from tests.backends.kubernetes.installation.memory_objects import MemoryObjects
from tests.backends.kubernetes.installation.objects_contract import ObjectsContract


class TestMemoryObjects(ObjectsContract):
    @pytest.fixture
    def objects(self) -> MemoryObjects:
        return MemoryObjects()
