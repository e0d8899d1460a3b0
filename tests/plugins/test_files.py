"""Writing files whole or not at all: by itself, through imageio and by the command."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from errno import EACCES, EBUSY, EIO, ENOSPC, EPERM, EXDEV
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from images import noise
from PIL import Image

import llicti_plugin
from llicti_core import atomic
from llicti_core.atomic import write_whole

llicti_plugin.register()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_new_and_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for data in (b"first", memoryview(b"second"), b""):
        write_whole("a.llc", data)
        assert (tmp_path / "a.llc").read_bytes() == data
    assert names(tmp_path) == ["a.llc"]


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_whole(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o400)
    if not os.access(path, os.W_OK):  # the superuser may write anything
        with pytest.raises(PermissionError):
            write_whole(path, b"newer")
        assert path.read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.llc").symlink_to("folder/a.llc")
    for data in (b"first", b"second"):
        write_whole(tmp_path / "link.llc", data)
        assert (tmp_path / "link.llc").is_symlink()
        assert (tmp_path / "folder" / "a.llc").read_bytes() == data
    assert names(tmp_path / "folder") == ["a.llc"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_pipes_and_devices(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.llc"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"through")
    reader.join(10)
    assert received == [b"through"]
    write_whole(os.devnull, b"away")
    assert not Path(os.devnull).is_file()


def test_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.llc").mkdir()
    for path in (tmp_path / "a.llc", tmp_path / "none" / "a.llc"):
        with pytest.raises(OSError, match=r"\w"):
            write_whole(path, b"data")
    assert names(tmp_path) == ["a.llc"]


def test_many_at_once(tmp_path: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    threads = [threading.Thread(target=write_whole, args=(tmp_path / "a.llc", data)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.llc").read_bytes() in contents
    assert names(tmp_path) == ["a.llc"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "^C"])
def test_failures_leave_the_old_file(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_some(path: Path, data: bytes, durable: bool, mode: int) -> None:
        path.write_bytes(data[: len(data) // 2])
        raise error

    (tmp_path / "a.llc").write_bytes(b"old")
    monkeypatch.setattr(atomic, "_write_new", write_some)
    with pytest.raises(type(error)):
        write_whole(tmp_path / "a.llc", b"new content")
    assert (tmp_path / "a.llc").read_bytes() == b"old"
    assert names(tmp_path) == ["a.llc"]


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_hard_links_stay(tmp_path: Path) -> None:
    path, other = tmp_path / "a.llc", tmp_path / "b.llc"
    path.write_bytes(b"a longer old one")
    other.hardlink_to(path)
    for data in (b"new", b"a new one that is longer than the old one"):
        write_whole(path, data, durable=True)
        assert other.read_bytes() == path.read_bytes() == data
    assert names(tmp_path) == ["a.llc", "b.llc"]


def test_extended_attributes_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.rating", b"5")
    except (AttributeError, OSError):
        pytest.skip("this file system has none")
    write_whole(path, b"new")
    assert (path.read_bytes(), os.getxattr(path, "user.rating")) == (b"new", b"5")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only the superuser gives files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.llc"
    path.write_bytes(b"old")
    os.chown(path, 1234, 2345)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


@pytest.mark.parametrize("error", [EBUSY, EPERM, EXDEV])
def test_files_that_cannot_be_renamed_over(error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount point, a file of another's in a folder with the sticky bit: the old file gets the new content."""

    def refuse(path: Path, target: Path) -> None:
        assert path.read_bytes() == data, "complete before the old one is touched"
        raise OSError(error, os.strerror(error), str(path), None, str(target))

    path = tmp_path / "a.llc"
    path.write_bytes(b"old content")
    monkeypatch.setattr(Path, "replace", refuse)
    for data in (b"new", b"new content that is longer"):
        write_whole(path, data)
        assert path.read_bytes() == data
    with pytest.raises(OSError, match=os.strerror(error)):
        write_whole(tmp_path / "b.llc", data)
    assert names(tmp_path) == ["a.llc"]


def test_a_folder_that_takes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old file that may be written to is written to, as other formats' are."""

    def refuse(path: Path, data: bytes, durable: bool, mode: int) -> None:
        raise PermissionError(EACCES, os.strerror(EACCES), str(path))

    path = tmp_path / "a.llc"
    path.write_bytes(b"old")
    monkeypatch.setattr(atomic, "_write_new", refuse)
    write_whole(path, b"new content")
    assert path.read_bytes() == b"new content"
    with pytest.raises(PermissionError):
        write_whole(tmp_path / "b.llc", b"new content")
    assert names(tmp_path) == ["a.llc"]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="POSIX only")
def test_no_room_in_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    path = tmp_path / "a.llc"
    path.write_bytes(b"old")
    (tmp_path / "b.llc").hardlink_to(path)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"longer than the old one")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.llc", "b.llc"]


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_a_disk_that_fails_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been written beside the damaged file is kept, and said where."""

    def fail(file: object) -> None:
        if calls:
            raise OSError(EIO, os.strerror(EIO))
        calls.append(file)  # the new file's

    calls: list[object] = []
    path = tmp_path / "a.llc"
    path.write_bytes(b"old")
    (tmp_path / "b.llc").hardlink_to(path)
    monkeypatch.setattr(atomic, "_sync", fail)
    with pytest.raises(OSError, match="the new file is") as error:
        write_whole(path, b"new", durable=True)
    (kept,) = (tmp_path / name for name in names(tmp_path) if name.startswith(".llc"))
    assert kept.read_bytes() == b"new"
    assert str(kept) in str(error.value)


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
@pytest.mark.parametrize("takes_files", [True, False])
@pytest.mark.parametrize("after", ["room is there", "writing"])
@pytest.mark.parametrize("error", [OSError(EIO, "Input/output error"), KeyboardInterrupt()], ids=["disk", "^C"])
def test_the_old_content_is_put_back(
    error: BaseException, after: str, takes_files: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file is written into and that is stopped."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(EACCES, os.strerror(EACCES))

    def stop(*arguments: Any) -> None:
        monkeypatch.undo()
        getattr(place, name)(*arguments)
        raise error

    path = tmp_path / "a.llc"
    path.write_bytes(b"old content")
    (tmp_path / "b.llc").hardlink_to(path)
    if not takes_files:
        monkeypatch.setattr(atomic, "_write_new", refuse)
    place, name = (atomic, "_overwrite") if after == "writing" else (os, "posix_fallocate")
    if not hasattr(place, name):
        pytest.skip("this system makes no room beforehand")
    monkeypatch.setattr(place, name, stop)
    with pytest.raises(type(error)):
        write_whole(path, b"new content that is longer")
    assert path.read_bytes() == b"old content"
    assert names(tmp_path) == ["a.llc", "b.llc"]


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_a_private_file_is_private_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(path: Path, data: bytes, durable: bool, mode: int) -> None:
        write(path, data, durable, mode)
        modes.append(path.stat().st_mode & 0o777)

    modes: list[int] = []
    write = atomic._write_new
    monkeypatch.setattr(atomic, "_write_new", look)
    old, new = tmp_path / "a.llc", tmp_path / "b.llc"
    old.write_bytes(b"old")
    for mode in (0o600, 0o644):
        old.chmod(mode)
        write_whole(old, b"new")
        assert old.stat().st_mode & 0o777 == mode
    write_whole(new, b"new")
    (tmp_path / "c").touch()
    usual = (tmp_path / "c").stat().st_mode & 0o777
    assert modes == [0o600, 0o600, usual]
    assert new.stat().st_mode & 0o777 == usual


@pytest.mark.skipif(os.name != "posix", reason="links as POSIX has them")
def test_links_are_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where somebody guesses which name a file has until it is whole."""
    (tmp_path / "other").write_bytes(b"another's")
    monkeypatch.setattr(os, "urandom", bytes)
    (tmp_path / f".llc-{bytes(8).hex()}").symlink_to("other")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a.llc", b"new")
    assert (tmp_path / "other").read_bytes() == b"another's"


@pytest.mark.parametrize("way", ["imageio", "command"])
def test_a_disk_that_is_full(way: str, tmp_path: Path) -> None:
    """The system refuses the last part of a real file."""
    pytest.importorskip("resource")
    old = noise(20, 30)
    iio.imwrite(tmp_path / "a.llc", old)
    Image.fromarray(noise(60, 60, seed=1)).save(tmp_path / "new.png")
    write = {
        "imageio": "import imageio.v3 as iio; iio.imwrite('a.llc', iio.imread('new.png'))",
        "command": "from llicti_plugin import cli; sys.exit(cli.main(['encode', 'new.png', '-o', 'a.llc', '--force']))",
    }[way]
    program = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000)); {write}"
    process = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert process.returncode == 1
    assert "File too large" in process.stderr
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.llc"), old)
    assert names(tmp_path) == ["a.llc", "new.png"]
