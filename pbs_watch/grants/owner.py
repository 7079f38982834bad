"""One daemon a map: two would each believe that what they read is the whole log."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from pbs_watch.errors import MapError

_LOCK = "daemon.lock"


class Owner:
    """Holds a map for this process until :meth:`release`, or until the process ends."""

    def __init__(self, path: Path) -> None:
        """Raises :class:`MapError` where another process holds the map at ``path``."""
        try:
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise MapError(
                f"{path}: this user cannot keep a map there ({error.strerror}); "
                "name a directory that it may write with --map"
            ) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise MapError(
                f"{path}: a running daemon uses this map; stop it, or name another directory"
            ) from None

    def release(self) -> None:
        """Let another process have the map."""
        os.close(self._descriptor)
