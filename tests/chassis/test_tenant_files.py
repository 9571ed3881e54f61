"""What users' processes put in place of a file or directory neither blocks who opens it nor leads anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace_chassis import tenant_files
from headrace_chassis.tenant_files import NotAsMade

APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def put_pipe(path: Path) -> None:
    os.mkfifo(path)


def put_link(path: Path) -> None:
    other = path.with_name("of another user")
    other.write_text("secret")
    path.symlink_to(other)


def put_link_to_directory(path: Path) -> None:
    other = path.with_name("directory of another user")
    other.mkdir()
    path.symlink_to(other)


def put_directory(path: Path) -> None:
    path.mkdir()
    (path / "within").mkdir()


def put_file(path: Path) -> None:
    path.write_text("mine")


Put = Callable[[Path], None]


@pytest.mark.parametrize("put", [put_pipe, put_link, put_directory])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, APPEND])
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, put: Put, flags: int) -> None:
    put(tmp_path / "log")
    with pytest.raises(NotAsMade, match="log is not"):
        tenant_files.open_file(tmp_path / "log", flags)


@pytest.mark.parametrize("put", [put_pipe, put_link, put_link_to_directory, put_file])
def test_what_is_no_directory_is_not_opened(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "logs")
    for opened in (tenant_files.open_directory, tenant_files.make_directory):
        with pytest.raises(NotAsMade, match="logs is not"):
            opened(tmp_path / "logs")
    with pytest.raises(NotAsMade, match="logs is not"):
        tenant_files.open_file(tmp_path / "logs" / "log", APPEND)


def test_files_and_directories_are_made_for_their_owner_only(tmp_path: Path) -> None:
    os.close(tenant_files.make_directory(tmp_path / "logs"))
    os.close(tenant_files.make_directory(tmp_path / "logs"))
    os.close(tenant_files.open_file(tmp_path / "logs" / "log", APPEND))
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "logs", tmp_path / "logs" / "log")] == [0o700, 0o600]


def test_what_is_missing_is_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "log", tmp_path / "logs" / "log"):
        with pytest.raises(FileNotFoundError):
            tenant_files.open_file(path)


@pytest.mark.parametrize("put", [put_pipe, put_link, put_link_to_directory, put_directory, put_file])
def test_anything_is_removed_and_nothing_that_it_leads_to(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "work")
    tenant_files.remove(tmp_path / "work")
    tenant_files.remove(tmp_path / "work")
    assert not os.path.lexists(tmp_path / "work")
    assert all(path.exists() for path in tmp_path.iterdir())
    assert "secret" in [path.read_text() for path in tmp_path.iterdir() if path.is_file()] or put is not put_link


def test_a_directory_of_many_levels_is_removed(tmp_path: Path) -> None:
    top, here = tmp_path / "top", os.open(tmp_path, os.O_DIRECTORY)
    for name in ["top", *(["deep"] * 2000)]:
        os.mkdir(name, dir_fd=here)
        deeper = os.open(name, os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    tenant_files.remove(top)
    assert not top.exists()


def test_a_directory_is_removed_twice_at_the_same_time(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for name in range(300):
        (top / str(name)).mkdir(parents=True)
        (top / str(name) / "file").touch()
    with ThreadPoolExecutor() as threads:
        for removed in [threads.submit(tenant_files.remove, top) for _ in range(4)]:
            removed.result()
    assert not top.exists()
