"""Python modules of a policy follow their files, and one that fails leaves the one in force as it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace_controller.policy.modules import CannotImport, load, stamps


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with modules, mounted as Kubernetes does it: all of them behind a link that is swapped."""
    mount = tmp_path / "python"
    (mount / "..1").mkdir(parents=True)
    (mount / "..data").symlink_to("..1")
    monkeypatch.syspath_prepend(mount)
    before = set(sys.modules)
    yield mount
    for name in sys.modules.keys() - before:
        del sys.modules[name]


def write(python: Path, text: str, name: str = "site_choices") -> Path:
    """Write a module into the directory of now."""
    written = python / "..data" / f"{name}.new"
    written.write_text(text)
    written.rename(written.with_suffix(".py"))  # many clocks of files tick only every 4 ms
    file = python / f"{name}.py"
    if not file.is_symlink():
        file.symlink_to(f"..data/{name}.py")
    return file


def swap(python: Path, text: str) -> None:
    (python / "..2").mkdir()
    (python / "..2" / "site_choices.py").write_text(text)
    (python / "..new").symlink_to("..2")
    (python / "..new").rename(python / "..data")


def test_a_module_is_loaded_again_when_its_file_changes_and_only_then(python: Path) -> None:
    write(python, "count = 1\ndef ask(): return count")
    first, before = load("site_choices"), stamps(["site_choices"])
    assert load("site_choices") is first
    write(python, "count = 2\ndef ask(): return count")  # as long, and within a tick of the clock
    assert stamps(["site_choices"]) != before
    second = load("site_choices")
    assert (first.ask(), second.ask()) == (1, 2)  # calls of the old one go on with its own globals
    assert sys.modules["site_choices"] is second
    assert load("site_choices") is second


def test_the_swap_of_a_link_is_a_change(python: Path) -> None:
    write(python, "count = 1")
    load("site_choices")
    swap(python, "count = 2")
    assert load("site_choices").count == 2


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("x = 1\nif:", "{file}, line 2: SyntaxError: invalid syntax"),
        ("count = 2\n\nraise KeyError('x')", "{file}, line 3: KeyError: 'x'"),
        ("import sys\nsys.exit('no')", "{file}, line 2: SystemExit: no"),
        ("import site_helper", "{helper}, line 1: ZeroDivisionError: division by zero"),
        ("from no_such_module import x", "{file}, line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("\0", "source code string cannot contain null bytes"),
        (None, "No such file or directory: '{file}'"),
    ],
)
def test_a_broken_version_is_told_with_file_and_line_and_the_one_in_force_stays(
    python: Path, broken: str | None, told: str
) -> None:
    helper = write(python, "1 / 0", "site_helper")
    file = write(python, "count = 1\ndef ask(): return count")
    first = load("site_choices")
    if broken is None:
        file.unlink()
    else:
        write(python, broken)
    with pytest.raises(CannotImport) as caught:
        load("site_choices")
    assert str(caught.value).startswith("cannot be imported: ")
    assert told.format(file=file, helper=helper) in str(caught.value)
    assert sys.modules["site_choices"] is first
    assert first.ask() == 1
    write(python, "count = 3")
    assert load("site_choices").count == 3


def test_a_module_that_is_not_there_yet_has_no_stamp(python: Path) -> None:
    assert stamps(["site_choices", "site_gone.choices", "sys"]) == dict.fromkeys(
        ["site_choices", "site_gone.choices", "sys"]
    )
    with pytest.raises(CannotImport, match="cannot be imported: ModuleNotFoundError: No module named 'site_choices'"):
        load("site_choices")
    write(python, "count = 1")
    assert stamps(["site_choices"])["site_choices"] is not None
    assert load("site_choices").count == 1


def test_what_a_new_version_declares_finds_its_own_module(python: Path) -> None:
    text = "from __future__ import annotations\nfrom pydantic import BaseModel\nclass {0}: pass\n"
    model = "class Model(BaseModel, arbitrary_types_allowed=True):\n  one: {0}"
    write(python, (text + model).format("Old"))
    load("site_choices")
    write(python, (text + model).format("New"))
    assert load("site_choices").Model.model_fields["one"].annotation.__name__ == "New"


def test_a_module_of_a_package_and_the_package_itself_change(python: Path) -> None:
    package = python / "site_package"
    package.mkdir()
    (package / "__init__.py").write_text("import site_package.inner\nnow = site_package.inner.count")
    (package / "inner.py").write_text("count = 1")
    assert load("site_package.inner").count == 1
    (package / "inner.py").write_text("count = 20")
    inner = load("site_package.inner")
    assert load("site_package").inner is inner
    (package / "__init__.py").write_text("import site_package.inner\nnow = site_package.inner.count + 1")
    assert load("site_package").now == 21
