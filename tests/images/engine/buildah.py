"""Builds deploy/images/Containerfile with buildah, the engine of podman, without a registry. It needs root."""

from __future__ import annotations

import ast
import json
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
CONTAINERFILE = ROOT / "deploy" / "images" / "Containerfile"
BASE = "docker.io/library/debian:bookworm-slim"
CERTIFICATES = "/etc/certificates-of-this-machine.pem"
PIP_SETTINGS = ("index-url", "extra-index-url", "proxy", "trusted-host")


class Buildah:
    """An engine with its images and layers in one folder, which the next run uses again."""

    def __init__(self, folder: Path) -> None:
        self._store = ["--storage-driver", "overlay", "--root", str(folder / "root"), "--runroot", str(folder / "run")]

    def __call__(self, command: str, *arguments: str | Path) -> str:
        """Runs a command of buildah; returns its output. What a build says goes to the test's."""
        return subprocess.run(
            ["buildah", *self._store, command, *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def make_base(self) -> None:
        """Makes an image of Debian under the name that the Containerfile has, unless it is there."""
        if self("images", "--quiet", "--filter", f"reference={BASE}"):
            return
        with tempfile.TemporaryDirectory() as scratch:
            system = Path(scratch) / "debian.tar"
            subprocess.run(["mmdebstrap", "--quiet", "--variant=apt", "bookworm", system], check=True)
            container = self("from", "scratch").strip()
            self("add", "--quiet", container, system, "/")
            self("commit", "--quiet", "--rm", container, BASE)

    def build(self, target: str) -> str:
        """Builds one target; returns the image's name. pip inside uses the index that pip here uses."""
        image = f"localhost/{target}:engine"
        with tempfile.TemporaryDirectory() as scratch:
            pip = Path(scratch) / "pip.conf"
            pip.write_text(_pip_settings())
            certificates = ssl.get_default_verify_paths().cafile
            self(
                "build",
                *("--isolation", "chroot", "--layers", "--pull-never"),
                *("--volume", f"{pip}:/etc/pip.conf:ro"),
                *(("--volume", f"{certificates}:{CERTIFICATES}:ro") if certificates else ()),
                *("--file", CONTAINERFILE, "--target", target, "--tag", image, "."),
            )
        return image

    def settings(self, image: str) -> dict[str, Any]:
        """How a container of the image starts: Env, User, WorkingDir, and so on."""
        return json.loads(self("inspect", "--type", "image", image))["OCIv1"]["config"]

    @contextmanager
    def container(self, image: str) -> Generator[tuple[str, Path]]:
        """Yields the name of a container of the image, and the folder that has its files."""
        name = self("from", "--pull-never", image).strip()
        try:
            yield name, Path(self("mount", name).strip())
        finally:
            self("rm", name)


def _pip_settings() -> str:
    """Returns a pip.conf; nothing of it stays in an image."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True)
    found = {"cert": CERTIFICATES} if ssl.get_default_verify_paths().cafile else {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        setting = name.rpartition(".")[2]
        if setting in PIP_SETTINGS:
            found[setting] = ast.literal_eval(value)
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in found.items())]) + "\n"
