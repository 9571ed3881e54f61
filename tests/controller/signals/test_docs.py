"""The page about metrics names those that there are."""

from __future__ import annotations

import re
from pathlib import Path

from headrace_controller.signals.reading import NAMES, PREFIX

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_table_has_all_metrics_of_a_scheduler() -> None:
    named = re.findall(rf"^\| `{PREFIX}(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == sorted({*NAMES, "uptime_seconds"})
