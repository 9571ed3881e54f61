"""Fails if protos/ breaks what was released: the last tag, or without tags the parent commit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUF = Path(sys.executable).with_name("buf")


def main() -> int:
    """Compares; returns the exit code."""
    against = earlier_commit()
    if against is None:
        print("protos not compared: the history (shallow clone, or no git) does not reach back to an earlier commit")
        return 0
    if not git("ls-tree", "-r", "--name-only", against, "protos"):
        print(f"protos not compared: {against} has none")
        return 0
    # subdir is not needed: buf.yaml of that commit says where its protos are.
    print(f"comparing protos with {against}", flush=True)
    commit = git("rev-parse", f"{against}^{{commit}}")
    result = subprocess.run([str(BUF), "breaking", "--against", f".git#ref={commit}"], cwd=ROOT, check=False)
    return result.returncode


def earlier_commit() -> str | None:
    """Returns the last tag, else the parent commit, else None."""
    return git("describe", "--tags", "--abbrev=0") or ("HEAD^" if git("rev-parse", "--verify", "HEAD^") else None)


def git(*arguments: str) -> str:
    """Returns what git says, "" if it fails."""
    try:
        result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
