"""Runs client and agent beside older and newer Dask, grpcio, protobuf and Python: ``make test-compat``.

One embedded headrace runs in the development environment. For each row of ENVIRONMENTS a virtual environment with
those pins is made (kept in .cache/compat), and tests/compat runs in it: its client talks to that headrace, and its
clusters start in that environment. A row whose Python is not on this machine is named at the end as NOT RUN.
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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache" / "compat"


@dataclass(frozen=True)
class Environment:
    """A Python and the versions that some scientific image pins."""

    python: str
    distributed: str
    grpcio: str
    protobuf: str

    @property
    def pins(self) -> list[str]:
        """The pins that the tests compare with what is imported."""
        return [f"distributed=={self.distributed}", f"grpcio=={self.grpcio}", f"protobuf=={self.protobuf}"]

    @property
    def name(self) -> str:
        """Names its folder and its line in the summary."""
        return f"py{self.python}-distributed{self.distributed}-grpcio{self.grpcio}-protobuf{self.protobuf}"


ENVIRONMENTS = [
    Environment("3.11", "2024.10.0", "1.66.2", "4.25.5"),
    Environment("3.12", "2025.4.1", "1.71.2", "5.29.5"),
    Environment("3.13", "2025.12.0", "1.76.0", "6.33.1"),
    Environment("3.13", "2026.8.0", "1.85.1", "7.36.2"),
]


def find_python(version: str) -> Path | None:
    """An interpreter of that version that really starts; on the PATH or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = shutil.which(f"python{version}")
    for candidate in [*([Path(named)] if named else []), *sorted(pyenv.glob(f"{version}.*/bin/python"))]:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, "-c", code], check=False, capture_output=True, text=True)
        if done.stdout.strip() == version:
            return candidate
    return None


def prepare(environment: Environment, python: Path) -> Path:
    """Makes the virtual environment, or takes the one of an earlier run; returns its folder."""
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
    """An embedded headrace on a port of its own; yields its data directory."""
    with tempfile.TemporaryDirectory(prefix="hr-") as name:
        data = Path(name) / "data"
        command = [sys.executable, "-m", "headrace.cli", "up", "--data-dir", str(data), "--port", "0", "--quiet"]
        process = subprocess.Popen(command, start_new_session=True)
        try:
            end = time.monotonic() + 60
            while not (data / "gateway.json").exists():
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit("headrace up did not get ready")
                time.sleep(0.05)
            yield data
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def run(environment: Environment, data: Path) -> str:
    """Runs the tests in one environment; returns what to say of it in the summary."""
    start = time.monotonic()
    python = find_python(environment.python)
    if python is None:
        return f"NOT RUN (no Python {environment.python} on this machine)"
    folder = prepare(environment, python)
    variables = os.environ | {"HEADRACE_DATA_DIR": str(data), "HEADRACE_COMPAT": " ".join(environment.pins)}
    tests = ROOT / "tests" / "compat"
    # The other tests' fixtures need the services, which are not in these environments.
    options = ["-q", "-W", "default", "-p", "no:cacheprovider", f"--confcutdir={tests}"]
    command = [folder / "bin" / "python", "-m", "pytest", *options, tests]
    done = subprocess.run(command, check=False, env=variables, cwd=ROOT)
    return f"{'passed' if done.returncode == 0 else 'FAILED'} in {time.monotonic() - start:.0f} s"


def main() -> None:
    """Runs all rows, then says how each went."""
    outcomes: dict[str, str] = {}
    with running_headrace() as data:
        for environment in ENVIRONMENTS:
            print(f"\n=== {environment.name}", flush=True)
            outcomes[environment.name] = run(environment, data)
    print("\n=== client and agent beside pinned versions")
    for name, outcome in outcomes.items():
        print(f"{name}: {outcome}")
    sys.exit(any(outcome.startswith("FAILED") for outcome in outcomes.values()))


if __name__ == "__main__":
    main()
