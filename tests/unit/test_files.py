"""A file is replaced once the new one is whole, and not a moment before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import orgx_source.files
from orgx_source.files import whole_file


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


@pytest.fixture
def older() -> Path:
    path = Path("page.html")
    path.write_text("older")
    return path


def test_the_older_file_stays_until_the_new_one_is_whole(older: Path) -> None:
    with whole_file(older) as unfinished:
        unfinished.write_text("new")
        assert older.read_text() == "older"
        assert names() == ["page.html", "page.html.unfinished"]
    assert older.read_text() == "new"
    assert names() == ["page.html"]


def test_a_name_can_be_chosen_for_the_time_before() -> None:
    with whole_file(Path("page.html"), unfinished=".hidden") as unfinished:
        unfinished.write_text("new")
        assert names() == [".hidden"]
    assert names() == ["page.html"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_leaves_the_older_file_and_nothing_else(older: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), whole_file(older, durable=True, log=".wal") as unfinished:
        unfinished.write_text("half")
        Path("page.html.unfinished.wal").write_text("half")
        Path("page.html.wal").write_text("of the older file")
        raise error
    assert older.read_text() == "older"
    assert names() == ["page.html", "page.html.wal"]


def test_the_log_of_the_older_file_and_what_a_killed_process_left_are_gone(older: Path) -> None:
    for name in ("page.html.wal", "page.html.unfinished", "page.html.unfinished.wal"):
        Path(name).write_text("of the past")
    with whole_file(older, log=".wal") as unfinished:
        assert names() == ["page.html", "page.html.wal"]
        unfinished.write_text("new")
    assert names() == ["page.html"]


def test_a_durable_file_is_on_disk_before_it_takes_its_place_and_keeps_the_permissions(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older.chmod(0o640)
    on_disk: list[tuple[str, str]] = []
    monkeypatch.setattr(orgx_source.files, "_to_disk", lambda path: on_disk.append((path.name, older.read_text())))
    with whole_file(older, durable=True) as unfinished:
        unfinished.write_text("new")
        unfinished.chmod(0o600)
    assert on_disk == [("page.html.unfinished", "older"), (Path.cwd().name, "new")]
    assert older.stat().st_mode & 0o777 == 0o640


def test_a_disk_that_is_full_at_the_end_leaves_the_older_file_and_its_log(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(orgx_source.files, "_to_disk", full)
    Path("page.html.wal").write_text("of the older file")
    with pytest.raises(OSError, match="No space"), whole_file(older, durable=True, log=".wal") as unfinished:
        unfinished.write_text("new")
    assert older.read_text() == "older"
    assert names() == ["page.html", "page.html.wal"]


def write(path: Path) -> None:
    with whole_file(path) as unfinished:
        unfinished.write_text("new")


@pytest.mark.parametrize("leads_to", ["page.html", "next", "missing"])
def test_a_link_stays_and_what_it_leads_to_is_replaced(older: Path, leads_to: str) -> None:
    Path("folder").mkdir()
    Path("folder/link").symlink_to(f"../{leads_to}")
    Path("next").symlink_to("page.html")
    write(Path("folder/link"))
    assert Path("folder/link").is_symlink() and Path("next").is_symlink()
    assert Path(leads_to).read_text() == "new"
    assert [path.name for path in Path("folder").iterdir()] == ["link"]


def test_a_pipe_is_written_to_and_stays() -> None:
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(Path("pipe"))
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert Path("pipe").is_fifo()
    assert names() == ["pipe"]


def test_a_device_is_written_to_also_by_a_link_and_stays() -> None:
    Path("link").symlink_to("/dev/null")
    for path in (Path("/dev/null"), Path("link")):
        write(path)
        assert path.is_char_device()
    assert names() == ["link"]


def test_a_folder_and_a_link_in_circles_are_refused_and_stay() -> None:
    Path("folder").mkdir()
    Path("one").symlink_to("other")
    Path("other").symlink_to("one")
    for path in (Path("folder"), Path("one")):
        with pytest.raises(OSError, match=r"Is a directory|Too many levels"):
            write(path)
    assert names() == ["folder", "one", "other"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_a_new_file_follows_the_umask_and_a_replaced_one_keeps_its_permissions(older: Path, umask: int) -> None:
    older.chmod(0o604)
    before = os.umask(umask)
    try:
        write(older)
        write(Path("other.html"))
    finally:
        os.umask(before)
    assert older.stat().st_mode & 0o777 == 0o604
    assert Path("other.html").stat().st_mode & 0o777 == 0o666 & ~umask
