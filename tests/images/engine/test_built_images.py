"""What an engine makes of the Containerfile is what the tests on Kubernetes run: the same files, the same start.

``make test-images`` runs this; it takes minutes when nothing is cached, so `make test` leaves it out.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.images.engine.buildah import Buildah
from tests.kubernetes import images

CACHE = images.ROOT / ".cache" / "buildah"
PACKAGES = Path("var/lib/dpkg/status.d")
# Their content follows from where and with which version of a tool they are made.
OF_TOOLS = re.compile(r"\.pyc$|\.dist-info/(RECORD|WHEEL|direct_url\.json)$|/headrace\w*-[\d.]+\.dist-info/METADATA$")


@pytest.fixture(scope="module")
def buildah() -> Buildah:
    engine = Buildah(CACHE)
    engine.make_base()
    return engine


@pytest.fixture(scope="module", params=["headrace", "headrace-dask"])
def target(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def built(buildah: Buildah, target: str) -> Iterator[tuple[str, Path]]:
    with buildah.container(buildah.build(target)) as container:
        yield container


@pytest.fixture(scope="module")
def of_the_tests(target: str) -> list[Path]:
    """The layers of the tests' image, made unless they are there."""
    subprocess.run([sys.executable, "-m", images.__name__, target], cwd=images.ROOT, check=True)
    return [layer.folder for layer in images.images()[target].layers]


@pytest.mark.timeout(1200, func_only=False)
def test_it_has_the_files_of_the_tests_image(built: tuple[str, Path], of_the_tests: list[Path]) -> None:
    expected = {path: fact for layer in of_the_tests for path, fact in _files(layer).items()}
    found = _files(built[1])
    assert sorted(found.keys() ^ expected.keys()) == []
    debian = {path for path in found if path.startswith(str(PACKAGES)) and found[path] != expected[path]}
    assert not debian, f"Debian has newer packages than one of .cache/buildah and .cache/images: remove both\n{debian}"
    assert {path: (fact, expected[path]) for path, fact in found.items() if fact != expected[path]} == {}


def test_a_container_starts_as_in_the_tests(buildah: Buildah, built: tuple[str, Path], target: str) -> None:
    settings = buildah.settings(f"localhost/{target}:engine")
    expected = images.images()[target].settings
    assert {name: settings.get(name) or type(value)() for name, value in expected.items()} == expected


def test_nothing_in_it_belongs_to_anybody_but_root(built: tuple[str, Path]) -> None:
    owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in built[1].rglob("*")}
    assert owners == {(0, 0)}


def test_it_runs(buildah: Buildah, built: tuple[str, Path], target: str) -> None:
    module = "headrace_controller" if target == "headrace" else "headrace.agent"
    code = f"import os, {module}; print({module}.__name__, os.getuid(), os.getcwd())"
    said = buildah("run", "--isolation", "chroot", built[0], "--", "python3", "-c", code)
    assert said.split() == [module, "1000", "/home/headrace"]


def _files(root: Path) -> dict[str, tuple[str, str]]:
    """Mode and content of all files below a folder, by path; a link's content is where it leads."""
    found: dict[str, tuple[str, str]] = {}
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(folder) / name
            place = str(path.relative_to(root))
            mode = path.lstat().st_mode
            content = ""
            if stat.S_ISLNK(mode):
                content = str(path.readlink())
            elif stat.S_ISREG(mode) and not OF_TOOLS.search(place):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[place] = (stat.filemode(mode), content)
    return found
