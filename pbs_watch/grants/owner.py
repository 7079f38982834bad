"""Who has a map: one daemon, or two would each believe that what they read is the whole log.

And who is carrying out an order in it, so that the daemon finishes only what was cut short.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path

from pbs_watch.errors import MapError
from pbs_watch.grants.probe import DATA, no_map

_LOCK = "daemon.lock"


class OwnedError(MapError):
    """Another process has the map."""


class Owner:
    """Holds a map for this process until :meth:`release`, or until the process ends."""

    def __init__(self, path: Path) -> None:
        """Raises :class:`MapError` where another process holds the map at ``path``."""
        try:
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            if (folder := path.stat()).st_uid != os.geteuid() == 0:
                # The daemon, which runs as a user of its own, is to have it after us.
                os.fchown(self._descriptor, folder.st_uid, folder.st_gid)
        except OSError as error:
            raise MapError(
                f"{path}: this user cannot keep a map there ({error.strerror}); "
                "name a directory that it may write with --map"
            ) from None
        try:
            flock(self._descriptor, LOCK_EX | LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise OwnedError(
                f"{path}: a running daemon uses this map; stop it, or name another directory"
            ) from None

    def release(self) -> None:
        """Let another process have the map."""
        os.close(self._descriptor)


@contextmanager
def unless_owned(path: Path) -> Iterator[bool]:
    """Whether no daemon has the map at ``path``; if so none begins to, until this ends.

    Raises :class:`MapError`.
    """
    try:
        owner = Owner(path)
    except OwnedError:
        yield False
        return
    try:
        yield True
    finally:
        owner.release()


@contextmanager
def carrying_out(path: Path) -> Iterator[None]:
    """While somebody gives an order: the daemon leaves it to him to remove what becomes void.

    Enter before the map is opened: until this ends no rebuild puts another one in its place.  The
    lock ends with the process, however that ends.  Raises :class:`MapError`.
    """
    descriptor = _locked(path, LOCK_SH)
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def nobody_carries_out(path: Path) -> Iterator[None]:
    """While nobody gives an order: waits for those who do.  Raises :class:`MapError`."""
    descriptor = _locked(path, LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path, how: int) -> int:
    """LMDB's data file, locked, and not one that lost its name while we waited."""
    while True:
        descriptor = _data(path)
        flock(descriptor, how)
        try:
            if os.path.samestat(os.fstat(descriptor), (path / DATA).stat()):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


@contextmanager
def unless_carried_out(path: Path) -> Iterator[bool]:
    """Whether nobody gives an order now; if so nobody begins to, until this ends."""
    descriptor = _data(path)
    try:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _data(path: Path) -> int:
    """LMDB's data file, which LMDB itself does not lock."""
    try:
        return os.open(path / DATA, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise no_map(path) from None
    except OSError as error:
        raise MapError(
            f"{path}: cannot be looked at ({error.strerror}); run as root or as the daemon's user"
        ) from None
