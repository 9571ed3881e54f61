"""Failed assertions of the contracts show their values."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.backends.contract", "tests.backends.process_contract")
