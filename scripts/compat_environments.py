"""Runs client and agent beside older and newer Dask, grpcio, protobuf and Python: ``make test-compat``.

One `headrace up` runs in the development environment. For each row of ENVIRONMENTS the script creates a virtual
environment with those pins (kept in .cache/compat) and runs tests/compat in it: the client of that environment calls
that headrace, and its clusters start in that environment. The summary lists a row whose Python is not installed as
NOT RUN.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "compat"


@dataclass(frozen=True)
class Environment:
    """A Python and the versions that a scientific image pins."""

    python: str
    distributed: str
    grpcio: str
    protobuf: str

    @property
    def pins(self) -> list[str]:
        """Requirements of the environment; the tests compare them with what is imported."""
        return [f"distributed=={self.distributed}", f"grpcio=={self.grpcio}", f"protobuf=={self.protobuf}"]

    @property
    def name(self) -> str:
        """Name of its folder and of its line in the summary."""
        return f"py{self.python}-distributed{self.distributed}-grpcio{self.grpcio}-protobuf{self.protobuf}"


ENVIRONMENTS = [
    Environment("3.11", "2024.10.0", "1.62.3", "4.25.5"),
    Environment("3.12", "2025.4.1", "1.71.2", "5.29.5"),
    Environment("3.13", "2025.12.0", "1.76.0", "6.33.1"),
    Environment("3.13", "2026.8.0", "1.85.1", "7.36.2"),
]


def find_python(version: str) -> Path | None:
    """Returns an interpreter of that version that starts; searches PATH, then pyenv's versions."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = shutil.which(f"python{version}")
    for candidate in [*([Path(named)] if named else []), *sorted(pyenv.glob(f"{version}.*/bin/python"))]:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, "-c", code], check=False, capture_output=True, text=True)
        if done.stdout.strip() == version:
            return candidate
    return None


def prepare(environment: Environment) -> Path | None:
    """Creates the virtual environment unless an earlier run did; returns its folder, None without such a Python."""
    python = find_python(environment.python)
    if python is None:
        return None
    folder = CACHE / environment.name
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", folder], check=True)
        dask = f"dask=={environment.distributed}"
        tools = ["pytest", "pytest-asyncio", "pytest-timeout", "bokeh"]
        pip = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *environment.pins, dask, *tools, "-e", f"{ROOT / 'client'}[dask]"], check=True)
        (folder / "ready").touch()
    return folder


@contextmanager
def running_headrace() -> Generator[Path]:
    """Runs `headrace up` on a free port; yields its data directory."""
    with tempfile.TemporaryDirectory(prefix="hr-") as name:
        data = Path(name) / "data"
        command = [sys.executable, "-m", "headrace.cli", "up", "--data-dir", str(data), "--port", "0", "--quiet"]
        process = subprocess.Popen(command, start_new_session=True)
        try:
            end = time.monotonic() + 60
            while not (data / "gateway.json").exists():
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit("headrace up is not ready after 60 s, or has ended")
                time.sleep(0.05)
            yield data
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def run(environment: Environment, prepared: Future[Path | None], data: Path) -> str:
    """Runs the tests in one environment; returns its outcome for the summary."""
    folder = prepared.result()
    if folder is None:
        return f"NOT RUN (no Python {environment.python} on this machine)"
    start = time.monotonic()
    variables = os.environ | {"HEADRACE_DATA_DIR": str(data), "HEADRACE_COMPAT": " ".join(environment.pins)}
    tests = ROOT / "tests" / "compat"
    # Fixtures of other tests need the services, which these environments do not have.
    options = ["-q", "-W", "default", "-p", "no:cacheprovider", f"--confcutdir={tests}"]
    command = [folder / "bin" / "python", "-m", "pytest", *options, tests]
    done = subprocess.run(command, check=False, env=variables, cwd=ROOT)
    return f"{'passed' if done.returncode == 0 else 'FAILED'} in {time.monotonic() - start:.0f} s"


def main() -> None:
    """Runs all rows, then prints the summary."""
    outcomes: dict[str, str] = {}
    # pip keeps one processor busy, and the tests of one environment wait for much.
    with running_headrace() as data, ThreadPoolExecutor(2) as pool:
        prepared = {environment: pool.submit(prepare, environment) for environment in ENVIRONMENTS}
        for environment, folder in prepared.items():
            print(f"\n=== {environment.name}", flush=True)
            outcomes[environment.name] = run(environment, folder, data)
    print("\n=== client and agent beside pinned versions")
    for name, outcome in outcomes.items():
        print(f"{name}: {outcome}")
    sys.exit(any(outcome.startswith("FAILED") for outcome in outcomes.values()))


if __name__ == "__main__":
    main()
