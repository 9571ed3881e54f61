"""The fake agent, in a zygote that kills what it stops only after half a minute: a busy machine takes its time."""

from __future__ import annotations

from fake_agent import preload, repair, run, standby, start_helpers

from headrace_backend_local.zygote import terminations

terminations.GRACE_SECONDS *= 60
terminations.GIVE_UP_SECONDS += terminations.GRACE_SECONDS

__all__ = ["preload", "repair", "run", "standby", "start_helpers"]
