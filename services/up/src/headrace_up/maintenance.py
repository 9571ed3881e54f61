"""What a running `headrace up` does from time to time: limits logs, renews the certificate of the public port."""

from __future__ import annotations

import asyncio

from headrace_up import log_file
from headrace_up.console import Console
from headrace_up.layout import Layout

INTERVAL_SECONDS = 30.0


class Maintenance:
    """Runs until it is cancelled; what cannot be done is printed and tried again."""

    def __init__(self, layout: Layout, console: Console) -> None:
        self._layout = layout
        self._console = console
        self._error = ""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            self.run_once()

    def run_once(self) -> None:
        from headrace_up.credentials import ensure_server_certificate  # cryptography is imported after the start

        log_file.limit_all(self._layout.logs)
        try:
            ensure_server_certificate(self._layout.tls)  # Envoy reads the files again when they are replaced
            self._error = ""
        except Exception as error:  # noqa: BLE001 - whatever it is, what runs must run on
            if self._error != str(error):
                self._error = str(error)
                self._console.warn(f"the certificate of the public port cannot be checked or renewed: {error}")
