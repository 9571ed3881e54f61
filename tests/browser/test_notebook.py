"""What notebooks show, in a real JupyterLab: at several widths, in both themes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.browser.chromium import Page, chromium
from tests.browser.jupyterlab import choose_theme, jupyterlab, notebook
from tests.client.conftest import configured, fake, gateway

from headrace import Gateway, Options
from headrace._dask.options_widget import form

__all__ = ["configured", "fake", "gateway"]

# pyright: reportPrivateUsage=false
# Views are methods that IPython calls, and their names begin with an underscore.

LOOKS = (Path(__file__).parent / "looks.js").read_text()
WIDTHS = (400, 800, 1600)
# Colours of Dask's own views are Dask's.
OURS = "[data-ours], .jupyter-widget-hbox"
SHOWN = "document.querySelectorAll('.jp-RenderedHTML').length >= 3 && document.querySelector('.jupyter-widget-tab')"
DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"


@pytest.fixture
def outputs(gateway: Gateway) -> Iterator[list[Any]]:
    """The form with a remark and a fault, the options, and two panels: of a cluster's status and of its scaling."""
    options = gateway.cluster_options()
    filled = form(vars(options)["_options"].values())
    filled.children[1].children[1].value = 99
    with gateway.new_cluster() as cluster, gateway.new_cluster(worker_groups={"small": 2, "large": 1}) as other:
        panel: Any = cluster._widget()
        scaling: Any = other._widget()
        scaling.selected_index = 1
        scaling.children[1].children[1].selected_index = 1
        yield [filled, _ours(options), panel, scaling, cluster._repr_html_(), cluster.get_client()._repr_html_()]


def _ours(options: Options) -> str:
    return f"<div data-ours>{options._repr_html_()}</div>"


async def _faults(page: Page) -> list[str]:
    """What is wrong with the looks, also once JupyterLab has had time to lay out everything."""
    find = f"[...document.querySelectorAll('.jp-OutputArea-output')].flatMap(one => ({LOOKS})(one, {json.dumps(OURS)}))"
    end = time.monotonic() + 10
    while (found := await page.evaluate(find)) and time.monotonic() < end:  # noqa: ASYNC110 another process's state
        await asyncio.sleep(0.2)
    return found


async def _look(directory: Path, profile: Path, outputs: list[Any]) -> dict[str, list[str]]:
    found = dict[str, list[str]]()
    async with jupyterlab(directory, notebook(outputs)) as address, chromium(profile) as page:
        for theme in ("Light", "Dark"):
            choose_theme(directory, theme)
            for width in WIDTHS:
                await page.resize(width, 3600)  # tall: what is not seen is not rendered
                if width == WIDTHS[0]:
                    await page.open(address)
                await page.until(f"{SHOWN} && document.body.dataset.jpThemeName === 'JupyterLab {theme}'")
                await page.until(DRAWN)
                await page.picture(directory / f"{theme}-{width}.png")
                found[f"{theme} {width}"] = await _faults(page)
    return found


def test_nothing_overlaps_is_cut_off_or_unreadable(outputs: list[Any], tmp_path: Path) -> None:
    directory = tmp_path / "lab"
    directory.mkdir()
    found = asyncio.run(_look(directory, tmp_path / "chromium", outputs))
    assert found == {f"{theme} {width}": [] for theme in ("Light", "Dark") for width in WIDTHS}
