"""Files that are there as a whole or as they were."""

import os
import resource
import signal
import stat
import threading

import pytest

from sklearn_mmfusion import CheckpointError, FileError
from sklearn_mmfusion._state.atomic_files import check_target, remove_leftovers, write_atomically

LEFT = ".model.0123456789abcdef.mmfusion-tmp"


def test_content_is_written_and_replaced_and_nothing_else_is_left(tmp_path):
    for content in (b"one", b"two"):
        write_atomically(tmp_path / "model", [content[:1], memoryview(content)[1:]])
        assert (tmp_path / "model").read_bytes() == content
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_mode_of_a_new_file_is_what_the_umask_leaves(mask, tmp_path):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "model", [b"x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o666 & ~mask


def test_mode_of_a_file_that_was_there_stays(tmp_path):
    (tmp_path / "model").touch()
    (tmp_path / "model").chmod(0o640)
    write_atomically(tmp_path / "model", [b"x"])
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o640


def test_symbolic_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "sub" / "model")
    write_atomically(tmp_path / "link", [b"x"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "sub" / "model").read_bytes() == b"x"


def _directory(path):
    (path / "model").mkdir()


def _pipe(path):
    os.mkfifo(path / "model")


def _link_to_a_device(path):
    (path / "model").symlink_to("/dev/null")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (_directory, "it is a directory"),
        (_pipe, "no regular file"),
        (_link_to_a_device, "no regular file"),
    ],
)
def test_what_is_no_regular_file_is_not_replaced(make, text, tmp_path):
    make(tmp_path)
    for attempt in (check_target, lambda path: write_atomically(path, [b"x"])):
        with pytest.raises(FileError, match=text):
            attempt(tmp_path / "model")
    assert os.listdir(tmp_path) == ["model"]


def test_missing_directory_is_named_with_the_remedy(tmp_path):
    with pytest.raises(OSError, match="create the directory") as raised:
        check_target(tmp_path / "none" / "model", CheckpointError)
    assert type(raised.value) is CheckpointError
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="Not a directory"):
        check_target(tmp_path / "file" / "model")


def test_directory_that_may_not_be_written_to_is_named(tmp_path, monkeypatch):
    # Root may write everywhere, so that the mode of the directory alone says nothing here.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(FileError, match=r"Permission denied.*may write"):
        check_target(tmp_path / "model")


def test_failure_leaves_the_earlier_file_and_no_other(tmp_path):
    (tmp_path / "model").write_bytes(b"old")

    def parts():
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "model", parts())
    assert os.listdir(tmp_path) == ["model"]
    assert (tmp_path / "model").read_bytes() == b"old"


def test_full_disk_leaves_the_earlier_file_and_no_other(tmp_path):
    # A limit on the size of files fails a write as a full disk does.
    (tmp_path / "model").write_bytes(b"old")
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # Python's own setting
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(FileError, match="File too large"):
            write_atomically(tmp_path / "model", [bytes(10_000_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["model"]
    assert (tmp_path / "model").read_bytes() == b"old"


def test_writers_at_the_same_time_leave_the_file_of_one(tmp_path):
    contents = [bytes([i]) * 200_000 for i in range(4)]

    def write(content):
        for _ in range(5):
            write_atomically(tmp_path / "model", [content])

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "model").read_bytes() in contents
    assert os.listdir(tmp_path) == ["model"]


def test_leftovers_of_the_same_target_alone_are_removed(tmp_path):
    others = [".model.mmfusion-tmp", ".other.0123456789abcdef.mmfusion-tmp", "model"]
    for name in [LEFT, *others]:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "model", min_age=3600)
    assert sorted(os.listdir(tmp_path)) == sorted([LEFT, *others])
    remove_leftovers(tmp_path / "model")
    assert sorted(os.listdir(tmp_path)) == sorted(others)
