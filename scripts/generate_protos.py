"""Generates the Python stubs of protos/ into client/src; with --check only tells whether they are up to date.

The generator is old on purpose: what it writes works with every protobuf from 4.25 on. It lives in an environment of
its own (.venv-protos), made here when it is missing.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
STUBS = ROOT / "client" / "src"
ENVIRONMENT = ROOT / ".venv-protos"
# setuptools below 80 still has pkg_resources, which grpcio-tools of that age imports.
GENERATOR = ("grpcio-tools==1.62.3", "setuptools<80", "mypy-protobuf==3.6.0")
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def main() -> int:
    """Generates or checks; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if the stubs are not up to date")
    check = bool(parser.parse_args().check)
    ensure_generator()
    with tempfile.TemporaryDirectory() as directory:
        fresh = Path(directory)
        generate(fresh)
        if check:
            return report(differences(fresh))
        replace(fresh)
    return 0


def ensure_generator() -> None:
    """Makes the generator's environment unless it is there, complete and of these versions."""
    stamp = ENVIRONMENT / "generator.txt"
    wanted = "\n".join(GENERATOR)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"making {ENVIRONMENT.name} ...", flush=True)
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    pip = [str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *GENERATOR], check=True)
    stamp.write_text(wanted)


def generate(into: Path) -> None:
    """Runs protoc over all protos."""
    files = sorted(PROTOS.rglob("*.proto"))
    programs = ENVIRONMENT / "bin"
    outputs = [f"--{kind}_out={into}" for kind in ("python", "mypy", "grpc_python", "mypy_grpc")]
    plugins = [f"--plugin=protoc-gen-{name}={programs / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    command = [str(programs / "python"), "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}", *plugins, *outputs]
    result = subprocess.run([*command, *map(str, files)], check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(result.stderr)
    for file in files:
        if not re.search(r"^service ", file.read_text(), re.MULTILINE):
            for suffix in ("_pb2_grpc.py", "_pb2_grpc.pyi"):
                stub(into, file, suffix).unlink(missing_ok=True)


def stub(below: Path, proto: Path, suffix: str) -> Path:
    """Where the stub of a proto lies."""
    relative = proto.relative_to(PROTOS)
    return below / relative.with_name(relative.stem + suffix)


def stubs(below: Path) -> set[Path]:
    """All stubs in a folder, relative to it."""
    packages = {file.parent.relative_to(PROTOS) for file in PROTOS.rglob("*.proto")}
    return {
        path.relative_to(below)
        for package in packages
        for path in (below / package).glob("*")
        if path.name.endswith(SUFFIXES)
    }


def differences(fresh: Path) -> list[str]:
    """Names the stubs that are missing, needless or different."""
    new, old = stubs(fresh), stubs(STUBS)
    problems = [f"{path}: missing" for path in sorted(new - old)]
    problems += [f"{path}: has no proto any more" for path in sorted(old - new)]
    both = sorted(new & old)
    return problems + [
        f"{path}: differs" for path in both if not filecmp.cmp(fresh / path, STUBS / path, shallow=False)
    ]


def replace(fresh: Path) -> None:
    """Puts the fresh stubs where the old ones are."""
    for path in stubs(STUBS) - stubs(fresh):
        (STUBS / path).unlink()
    for path in stubs(fresh):
        (STUBS / path).parent.mkdir(parents=True, exist_ok=True)
        (STUBS / path).write_bytes((fresh / path).read_bytes())


def report(problems: list[str]) -> int:
    """Tells what is not up to date."""
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print("the stubs are not what protos/ says: run `make protos` and commit", file=sys.stderr)
        return 1
    print("stubs are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
