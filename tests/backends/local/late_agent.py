"""The fake agent, for a zygote that looks seldom what is left of processes that have ended."""

from __future__ import annotations

from fake_agent import preload, repair, run, standby, start_helpers

from headrace_backend_local.zygote import terminations

__all__ = ["preload", "repair", "run", "standby", "start_helpers"]

terminations._POLL_SECONDS = 0.5  # pyright: ignore[reportPrivateUsage]
