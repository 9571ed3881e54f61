"""A notebook whose cluster is about to be given back: what its user sees, and the button that keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.browser.chromium import chromium
from tests.browser.jupyterlab import READY, RUN_NEXT, choose_kernel, choose_theme, jupyterlab, program
from tests.browser.pages import MAKE, PANEL, SAID
from tests.e2e.running import Running, running

POLICY = "culling: {idle: {after: 1 h, warn: 3595 s}}"
KEEP = "[...document.querySelectorAll('button')].find(button => button.innerText === 'Keep for up to 2 h')"
SHOWN = f"{KEEP}?.offsetParent"  # it has none while it is hidden


@pytest.fixture
def headrace(tmp_path: Path) -> Iterator[Running]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    environment = {"HEADRACE_CONTROLLER_SIGNALS__INTERVAL_SECONDS": "0.5"}
    with running(tmp_path, "--policy", str(policy), environment=environment) as headrace:
        yield headrace


async def _keep(directory: Path) -> None:
    async with jupyterlab(directory, program([MAKE])) as address, chromium(directory / "chromium") as page:
        await page.resize(800, 1600)
        await page.open(address)
        await page.until(READY)
        await page.evaluate(RUN_NEXT)
        await page.until(f"{PANEL}?.includes('Workers: 1')")
        await page.until(f"/This cluster is stopped in .* idle for .* cluster.keep\\(hours=2\\)/.test({SAID})")
        await page.until(f"{SHOWN} && {PANEL}.includes('This cluster is stopped in')")
        await page.picture(directory / "warned.png")
        await page.evaluate(f"{KEEP}.click()")
        await page.until(f"!{SHOWN} && !{SAID}.includes('This cluster is stopped in')")
        await page.until(f"{SAID}.includes('The warning is withdrawn: ')")
        await page.picture(directory / "kept.png")


def test_a_warning_is_seen_and_the_button_keeps_the_cluster(headrace: Running, tmp_path: Path) -> None:
    choose_kernel(tmp_path, {"HEADRACE_DATA_DIR": str(headrace.data)})
    choose_theme(tmp_path, "Light")
    asyncio.run(_keep(tmp_path))
