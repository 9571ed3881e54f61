from __future__ import annotations

from tests.kubernetes.chart.conftest import installation

__all__ = ["installation"]
