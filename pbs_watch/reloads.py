"""Reading settings and patterns again while the daemon runs, and what became of it.

Loading takes a thread of its own: patterns are compiled and tried on their examples meanwhile, and
no lookup waits for that.  Whoever asked for it, by SIGHUP or ``pbs-watch reload``, is told: in the
log, or by the number that he was given.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from pbs_watch.errors import PbsWatchError
from pbs_watch.service import Loaded


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a reload: ``error`` says why it was refused, ``notes`` what it left out."""

    error: str = ""
    notes: tuple[str, ...] = ()


class Reloads:
    """One reload at a time; ``wake`` is called from the thread when :meth:`loaded` has something.

    ``load`` reads everything; it raises :class:`PbsWatchError`.
    """

    def __init__(self, load: Callable[[], Loaded], wake: Callable[[], None]) -> None:
        self._load = load
        self._wake = wake
        self._asked = self._begun = self._done = 0
        self._thread: threading.Thread | None = None
        self._found: Loaded | PbsWatchError | None = None
        self._verdict = Verdict()

    def ask(self) -> int:
        """A reload is wanted, of what is written now; its number."""
        self._asked += 1
        return self._asked

    def verdict(self, number: int) -> Verdict | None:
        """What became of that reload; ``None``: it goes on.  Only the latest is known."""
        return self._verdict if self._done >= number else None

    def begin(self) -> bool:
        """Begin to load if that is wanted and no other goes on; whether it begins."""
        if self._thread is not None or self._begun == self._asked:
            return False
        self._begun = self._asked
        self._thread = threading.Thread(target=self._work, name="reload", daemon=True)
        self._thread.start()
        return True

    def loaded(self) -> Loaded | PbsWatchError | None:
        """What was loaded, or why nothing was, once; ``None``: nothing yet."""
        if self._thread is None or self._thread.is_alive():
            return None
        self._thread = None
        found, self._found = self._found, None
        return found

    def settle(self, verdict: Verdict) -> None:
        """This became of what was loaded."""
        self._verdict = verdict
        self._done = self._begun

    def _work(self) -> None:
        try:
            self._found = self._load()
        except PbsWatchError as error:
            self._found = error
        except Exception as error:  # noqa: BLE001 - or nobody learns what became of it
            self._found = PbsWatchError(f"{error!r} while loading; the settings stay as they were")
        self._wake()
