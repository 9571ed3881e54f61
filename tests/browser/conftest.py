"""A running headrace, as the end-to-end tests have it."""

from pathlib import Path

import pytest
from tests.e2e.conftest import gateway, headrace

__all__ = ["gateway", "headrace"]

HERE = Path(__file__).parent
TEST_SECONDS = 300
"""Ends a test that hangs. It is longer than the waits for a page, whose errors say what the page shows."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))
