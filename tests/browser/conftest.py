"""A running headrace, as the end-to-end tests have it."""

from tests.e2e.conftest import gateway, headrace

__all__ = ["gateway", "headrace"]
