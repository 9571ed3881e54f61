"""auth's page for people who may not see a dashboard: at several widths, light and dark."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.browser.chromium import chromium

from headrace_auth.authz.answer import answer
from headrace_auth.authz.decision import Refuse
from headrace_auth.authz.request import DashboardRequest

LOOKS = (Path(__file__).parent / "looks.js").read_text()
WIDTHS = (320, 400, 800, 1600)
LONG = Refuse(
    401,
    "This link was opened before",
    "Run `headrace logout --everywhere`, which closes all. " * 3,
    f"For a new link, run `headrace clusters open {'c' * 63}` in a terminal.",
)


async def _faults(file: Path, profile: Path) -> dict[str, list[str]]:
    found = dict[str, list[str]]()
    async with chromium(profile) as page:
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            await page.call("Emulation.setEmulatedMedia", features=[feature])
            for width in WIDTHS:
                await page.resize(width, 700)
                await page.open(file.as_uri())
                await page.until("document.querySelector('h1')?.innerText && document.readyState === 'complete'")
                await page.picture(file.with_name(f"{scheme}-{width}.png"))
                faults = await page.evaluate(f"({LOOKS})(document.body, {json.dumps('body')})")
                if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                    faults.append("wider than the window")
                found[f"{scheme} {width}"] = faults
    return found


def test_a_refusal_can_be_read(tmp_path: Path) -> None:
    asked = DashboardRequest.parse("GET", "headrace.example", "/clusters/c1/", {"accept": "text/html"})
    file = tmp_path / "refusal.html"
    file.write_text(answer(LONG, asked, 1).denied_response.body)
    found = asyncio.run(_faults(file, tmp_path / "chromium"))
    assert found == {f"{scheme} {width}": [] for scheme in ("light", "dark") for width in WIDTHS}
