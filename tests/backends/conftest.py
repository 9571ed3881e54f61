"""Failed assertions of the contracts show their values."""

from __future__ import annotations

import pytest

CONTRACTS = ("contract", "process_contract", "platform_contract", "standby_contract")

pytest.register_assert_rewrite(*(f"tests.backends.{each}" for each in CONTRACTS))
