"""Looking at a map in a child process before it is opened.

LMDB maps its file into memory: reading a page that a truncated file lacks is not an error but a
SIGBUS, which ends the process (design.md, Map).  So a child reads first, and its end tells.

A file that is shorter than its last page number says may still be whole: LMDB numbers pages that a
transaction took and gave back before its end, and never writes them.  Only then are all rows read.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

import lmdb

from pbs_watch.errors import MapError

DATA = "data.mdb"
"""LMDB's name for the file of an environment."""

_SOUND, _UNKNOWN = 0, 2
"""How the child exits; what it does not know is left to the one who opens the map."""


def no_map(path: Path) -> MapError:
    """The error that there is no map at ``path``."""
    return MapError(
        f"{path}: there is no map here; name the daemon's with --map, "
        "or start the daemon, which makes it"
    )


def probe(path: Path) -> None:
    """Raise :class:`MapError` where reading the map at ``path`` would end the process."""
    try:
        if not (path / DATA).stat().st_size:
            return
    except OSError:
        return
    child = os.fork()
    if not child:
        _look(path)
    _, status = os.waitpid(child, 0)
    if status not in {_SOUND << 8, _UNKNOWN << 8}:
        raise MapError(
            f"{path}: the map is damaged, pages of {DATA} are missing; stop the daemon and run "
            "pbs-watch rebuild, which reads the logs again"
        )


def _look(path: Path) -> None:
    """In the child: read what can be read, and leave without any cleaning up."""
    status = _UNKNOWN
    try:
        with lmdb.open(str(path), readonly=True, lock=False, create=False, max_dbs=16) as env:
            needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
            short = (path / DATA).stat().st_size < needed
            with env.begin() as txn:
                for name in list(txn.cursor().iternext(values=False)):
                    cursor = txn.cursor(env.open_db(name, txn=txn, create=False))
                    # Copying each value reads each page of it.
                    if short:
                        deque(cursor, maxlen=0)
                    else:
                        cursor.first()
        status = _SOUND
    finally:
        os._exit(status)
