"""The button in a cluster's panel that keeps the cluster while it is about to be given back."""

from __future__ import annotations

import html
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import Any

KEEP_HOURS = 2.0


class KeepButton:
    """A warning and a button, hidden while there is nothing to warn of.

    Parameters
    ----------
    keep
        Starts to keep the cluster for `KEEP_HOURS`, or for as long as the policy allows.
    """

    def __init__(self, keep: Callable[[], Future[datetime]]) -> None:
        from ipywidgets import HTML, Button, VBox

        self._keep = keep
        self._text: Any = HTML()
        self._until: Any = HTML()
        self.button: Any = Button(description=f"Keep for up to {KEEP_HOURS:g} h", button_style="warning")
        self.box: Any = VBox([self._text, self.button, self._until])
        self.button.on_click(self._clicked)
        self.show("")

    def show(self, warning: str) -> None:
        """Show a warning; "" hides it."""
        self._text.value = warning and f"<strong>{html.escape(warning)}</strong>"
        self._until.value = ""
        self.box.layout.display = "" if warning else "none"

    def _clicked(self, _button: object) -> None:
        self.button.disabled = True
        self._keep().add_done_callback(self._kept)

    def _kept(self, outcome: Future[datetime]) -> None:
        self.button.disabled = False
        if (error := outcome.exception()) is not None:
            self._text.value = html.escape(str(error))
        else:  # the warning goes with its event, if keeping the cluster is of use against it
            self._until.value = f"Culling is put off until {outcome.result().astimezone():%Y-%m-%d %H:%M:%S}."


def add_keep_button(panel: Any, keep: KeepButton) -> None:
    """Add the button to the first tab of Dask's panel."""
    from ipywidgets import VBox

    status, *others = panel.children
    panel.children = (VBox([status, keep.box]), *others)
