"""A real JupyterLab with a notebook that shows what ours looks like, or that computes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import sysconfig
import urllib.request
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.browser.chromium import end
from tests.held_port import held_ports

# scripts/install_jupyterlab.sh
JUPYTER = Path(__file__).parents[2] / ".venv-jupyterlab/bin/jupyter"
# In the page: whether a cell can be run, and how the next one is.
READY = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
RUN_NEXT = "void jupyterapp.commands.execute('notebook:run-cell-and-select-next')"
_CLIENT = Path(__file__).parents[2] / "client/src"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_STATE = "application/vnd.jupyter.widget-state+json"


def notebook(outputs: Iterable[Any]) -> dict[str, Any]:
    """A notebook with an output a cell: HTML, or a widget, as it is saved."""
    from ipywidgets.embed import dependency_state

    widgets, cells = list[Any](), list[dict[str, Any]]()
    for number, output in enumerate(outputs):
        if isinstance(output, str):
            data: dict[str, Any] = {"text/html": output}
        else:
            widgets.append(output)
            data = {_WIDGET: {"model_id": output.model_id, "version_major": 2, "version_minor": 0}}
        shown = {"output_type": "display_data", "metadata": {}, "data": data}
        cells.append({
            "cell_type": "code", "id": f"cell{number}", "execution_count": 1, "metadata": {}, "source": "shown",
            "outputs": [shown],
        })  # fmt: skip
    state = {"version_major": 2, "version_minor": 0, "state": dependency_state(widgets)}
    return _notebook(cells, {"widgets": {_STATE: state}})


def program(sources: Iterable[str]) -> dict[str, Any]:
    """A notebook with a cell for each source, to be run."""
    cells = [
        {"cell_type": "code", "id": f"cell{number}", "execution_count": None, "metadata": {}, "source": source,
         "outputs": []}
        for number, source in enumerate(sources)
    ]  # fmt: skip
    return _notebook(cells, {})


def _notebook(cells: list[dict[str, Any]], metadata: dict[str, Any]) -> dict[str, Any]:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {**metadata, "kernelspec": kernel}, "cells": cells}


def choose_kernel(directory: Path, environment: Mapping[str, str]) -> None:
    """Let kernels have this environment, and the packages of this process."""
    spec = directory / "data/kernels/python3"
    spec.mkdir(parents=True)
    packages = os.pathsep.join([str(_CLIENT), sysconfig.get_path("purelib")])
    facts = {
        "argv": [str(JUPYTER.with_name("python")), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
        "env": {"PYTHONPATH": packages, **environment},
    }
    (spec / "kernel.json").write_text(json.dumps(facts))


def choose_theme(directory: Path, theme: str) -> None:
    """Light or Dark, from the next time that a page is opened."""
    settings = directory / "settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": f"JupyterLab {theme}"}))
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))


@asynccontextmanager
async def jupyterlab(directory: Path, shown: Mapping[str, Any]) -> AsyncGenerator[str]:
    """Starts JupyterLab; yields the address of the notebook. Ends it."""
    (directory / "notebooks").mkdir()
    file = directory / "notebooks/shown.ipynb"
    file.write_text(json.dumps(shown))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "JUPYTER_DATA_DIR": str(directory / "data"),
        "JUPYTER_PREFER_ENV_PATH": "0",  # the kernel of `choose_kernel` comes first
        "JUPYTERLAB_SETTINGS_DIR": str(directory / "settings"),
        "JUPYTER_PATH": f"{sys.prefix}/share/jupyter",  # the browser's half of ipywidgets
    }
    with held_ports(1) as (port,):
        trusting = await asyncio.create_subprocess_exec(JUPYTER, "trust", file, env=environment, stdout=DEVNULL)
        assert await trusting.wait() == 0
        process = await asyncio.create_subprocess_exec(
            JUPYTER, "lab", "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0",
            "--LabApp.expose_app_in_browser=True", "--IdentityProvider.token=token",
            f"--ServerApp.root_dir={file.parent}", env=environment, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(60):
                while not await asyncio.to_thread(_answers, f"http://127.0.0.1:{port}/api?token=token"):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            yield f"http://127.0.0.1:{port}/doc/tree/shown.ipynb?token=token"
        finally:
            await end(process)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
