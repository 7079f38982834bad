"""Replaces a file whole or not at all: a temporary name beside it, the disk, and a rename."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import current_thread, main_thread

from pbs_watch.errors import UsageError


def replace(
    path: Path, pieces: Iterable[bytes], mode: int, *, like_its_folder: bool = False
) -> None:
    """Write ``pieces`` as the file ``path``, with the mode and owner of the one that is there.

    ``mode``: that of a new one.  ``like_its_folder``: it belongs to the folder's owner, and a link
    in its place is replaced, not followed, since others may write in that folder.  Raises
    :class:`UsageError`; the old file then stays as it is.
    """
    if not like_its_folder:
        refuse_strangers(path)
        path = Path(os.path.realpath(path))
    written: Path | None = None
    try:
        old = None if like_its_folder else status(path)
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise UsageError(f"{path}: not a file; name one, or leave --output out")
        with _ending_in_order():
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            written = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                like(descriptor, old, mode)
                if like_its_folder:
                    folder = path.parent.stat()
                    with suppress(PermissionError):
                        os.fchown(descriptor, folder.st_uid, folder.st_gid)
                file.writelines(pieces)
                file.flush()
                os.fsync(descriptor)
            written.replace(path)
            written = None
            sync_directory(path.parent)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written ({error.strerror}); name a file that this user may write"
        ) from None
    finally:
        if written is not None:
            with suppress(OSError):
                written.unlink()


def refuse_strangers(path: Path) -> None:
    """Raise :class:`UsageError` where a stranger may have put there what ``path`` names.

    In a folder that everybody may write, such as /tmp, a link leads where its maker likes, and a
    file stays its owner's, who reads what is written later.
    """
    try:
        found, folder = path.lstat(), path.parent.stat()
    except OSError:
        return  # nothing there, or whoever writes is told
    if folder.st_mode & stat.S_IWOTH and found.st_uid not in {0, os.geteuid()}:
        raise UsageError(
            f"{path}: belongs to somebody else, in a folder that everybody may write; "
            "name a file in a folder of yours"
        )


def status(path: Path) -> os.stat_result | None:
    """What the file is like; ``None`` where there is none."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def like(descriptor: int, old: os.stat_result | None, mode: int) -> None:
    """Give a new file the mode and owner of an old one, as far as this user may."""
    if old is None:
        os.fchmod(descriptor, mode)
        return
    with suppress(PermissionError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def sync_directory(path: Path) -> None:
    """Let a rename reach the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM ends the program as SIGINT does, so that nothing half written is left behind.

    Not in a thread of the daemon, whose signals are its own affair: it waits for its threads.
    """
    if current_thread() is not main_thread():
        yield
        return

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    try:
        old = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread: the daemon, whose signals end it in order anyway
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
