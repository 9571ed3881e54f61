"""The store as the controller uses it."""

from __future__ import annotations

from headrace_controller.store.admission import Admission
from headrace_controller.store.progress import Progress
from headrace_controller.store.replicas import Replicas
from headrace_controller.store.routes import Routes


class Store(Admission, Progress, Replicas, Routes):
    """Every method raises `StoreUnavailable` while Redis is away; nothing is acknowledged that Redis has not."""
