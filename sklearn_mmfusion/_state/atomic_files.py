"""Files that are there as a whole or not at all, and the reading of regular files alone."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from sklearn_mmfusion._errors import FileError, UnsafeFileError

__all__ = ["check_target", "open_regular", "remove_leftovers", "target_of", "write_atomically"]

_SUFFIX = ".mmfusion-tmp"
_REMEDIES = {
    errno.ENOENT: "create the directory first",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.EROFS: "choose a place that you may write to",
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "free some space, or choose another disk",
    errno.EFBIG: "the system limits the size of files",
}


def target_of(path: str | os.PathLike[str]) -> Path:
    """Return the file behind a path: that of a symbolic link is what it points to, as in open."""
    return Path(os.path.realpath(os.fspath(path)))


def check_target(path: str | os.PathLike[str], error: type[FileError] = FileError) -> Path:
    """Return the file that a path stands for, if one can be written there.

    Parameters
    ----------
    path : str or path-like
        Where to write.
    error : type, default=FileError
        What to raise.

    Returns
    -------
    Path
        The target, symbolic links resolved.

    Raises
    ------
    FileError
        If the directory is missing or read-only, or something that is no regular file is there.
    """
    target = target_of(path)
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        pass
    except OSError as fault:
        raise _explained(path, fault, error) from fault
    else:
        if not stat.S_ISREG(mode):
            what = "a directory" if stat.S_ISDIR(mode) else "no regular file"
            raise error(
                f"cannot write {os.fspath(path)!r}: it is {what}; name a file in an existing "
                "directory"
            )
    directory = target.parent
    if not directory.is_dir():
        reason = errno.ENOTDIR if directory.exists() else errno.ENOENT
        raise _explained(path, OSError(reason, os.strerror(reason)), error)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise _explained(path, OSError(errno.EACCES, os.strerror(errno.EACCES)), error)
    return target


def write_atomically(
    path: str | os.PathLike[str],
    parts: Iterable[bytes | memoryview],
    error: type[FileError] = FileError,
) -> None:
    """Write a file that is there as a whole, or as it was before.

    Parameters
    ----------
    path : str or path-like
        Where to write. A symbolic link stays, and what it points to is replaced.
    parts : iterable of bytes
        Content.
    error : type, default=FileError
        What to raise.

    Raises
    ------
    FileError
        If it cannot be written; an earlier file of that name is as it was.

    Notes
    -----
    The content goes to a new file beside the target, to the disk, and then takes the target's
    name in one step. The mode is that of an existing target, else what the umask leaves.
    """
    target = check_target(path, error)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}{_SUFFIX}")
    try:
        # "x" never follows a link that somebody put there.
        with temporary.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    except BaseException as fault:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(fault, OSError):
            raise _explained(path, fault, error) from fault
        raise
    _sync_directory(target.parent)


def remove_leftovers(path: str | os.PathLike[str], min_age: float = 0.0) -> None:
    """Remove what a process that was killed in :func:`write_atomically` left.

    Parameters
    ----------
    path : str or path-like
        The target.
    min_age : float, default=0
        Seconds since the last change; younger files may be another process's at work.
    """
    target = target_of(path)
    prefix = f".{target.name}."
    with contextlib.suppress(OSError):
        for file in target.parent.iterdir():
            token = file.name[len(prefix) : -len(_SUFFIX)]
            ours = file.name == f"{prefix}{token}{_SUFFIX}" and len(token) == 16
            with contextlib.suppress(OSError):
                if ours and time.time() - file.stat().st_mtime >= min_age:
                    file.unlink()


@contextlib.contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a regular file for reading; a pipe would wait, and a device may have no end.

    Raises
    ------
    UnsafeFileError
        If it is something else.
    """
    # Without O_NONBLOCK the opening of a pipe would wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        opened = os.open(os.fspath(path), flags)
    except FileNotFoundError:
        raise
    except OSError as fault:
        if Path(path).is_file():
            raise
        reason = fault.strerror or str(fault)
        raise UnsafeFileError(f"{os.fspath(path)!r} is no regular file: {reason}") from fault
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise UnsafeFileError(f"{os.fspath(path)!r} is no regular file")
    with os.fdopen(opened, "rb") as file:
        yield file


def _sync_directory(directory: Path) -> None:
    """Put the new name on the disk, where the system lets a directory be opened."""
    with contextlib.suppress(OSError):
        opened = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _explained(path: str | os.PathLike[str], fault: OSError, error: type[FileError]) -> FileError:
    reason = fault.strerror or str(fault)
    remedy = _REMEDIES.get(fault.errno or 0)
    text = f"cannot write {os.fspath(path)!r}: {reason}" + (f"; {remedy}" if remedy else "")
    explained = error(text)
    explained.errno = fault.errno
    return explained
