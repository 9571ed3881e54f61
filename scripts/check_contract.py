"""Lints protos/, checks their format, and compares them with the baseline that must not be broken.

Buf runs in a workspace made for the occasion: protos/ beside google/api from the package googleapis-common-protos.
The baseline is the last tag, or without tags the commit named in protos/BASELINE: the last time that the contract was
broken on purpose.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import google.api  # a namespace package: its folder is asked below

ROOT = Path(__file__).resolve().parent.parent
BUF = Path(sys.executable).with_name("buf")
GOOGLE_API = Path(next(iter(google.api.__path__)))
IMPORTED = ("field_behavior.proto",)


def main() -> int:
    """Check everything; return the exit code."""
    with tempfile.TemporaryDirectory() as directory:
        now = workspace(Path(directory, "now"), ROOT / "protos")
        failed = [check for check in ("lint", "format") if not buf(check, now)]
        if not compatible(now, Path(directory)):
            failed.append("breaking")
    if failed:
        print(f"the contract fails: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def workspace(folder: Path, protos: Path) -> Path:
    """Make a buf workspace of a folder of protos and what they import."""
    shutil.copytree(protos, folder / "protos")
    shutil.copy(ROOT / "buf.yaml", folder)
    imported = folder / "imported" / "google" / "api"
    imported.mkdir(parents=True)
    for name in IMPORTED:
        shutil.copy(GOOGLE_API / name, imported)
    return folder


def buf(check: str, folder: Path) -> bool:
    """Run a check on our protos in a workspace; return whether it passes."""
    arguments = {"lint": ["lint", "protos"], "format": ["format", "protos", "--diff", "--exit-code"]}[check]
    return subprocess.run([BUF, *arguments], cwd=folder, check=False).returncode == 0


def compatible(now: Path, directory: Path) -> bool:
    """Compare with the baseline; return whether nothing is broken."""
    baseline = baseline_commit()
    if baseline is None:
        print("protos not compared: this checkout has neither a tag nor the commit of protos/BASELINE")
        return True
    print(f"comparing protos with {baseline}", flush=True)
    checkout = directory / "checkout"
    checkout.mkdir()
    archive = subprocess.run(["git", "archive", baseline, "protos"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", checkout], input=archive.stdout, check=True)
    before = workspace(directory / "before", checkout / "protos")
    command = [BUF, "breaking", "protos", "--against", before / "protos", "--exclude-imports"]
    return subprocess.run(command, cwd=now, check=False).returncode == 0


def baseline_commit() -> str | None:
    """Return the last tag, else the commit of protos/BASELINE if this checkout has it, else None."""
    if tag := git("describe", "--tags", "--abbrev=0"):
        return tag
    named = (ROOT / "protos" / "BASELINE").read_text(encoding="ascii").split()[0]
    return named if git("cat-file", "-t", named) == "commit" else None


def git(*arguments: str) -> str:
    """Return what git answers, "" if it fails."""
    try:
        result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
