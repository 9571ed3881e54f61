"""Ids of clusters, workers and users."""

from __future__ import annotations

from typing import NewType

ClusterId = NewType("ClusterId", str)
WorkerId = NewType("WorkerId", str)
UserId = NewType("UserId", str)
