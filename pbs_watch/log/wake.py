"""Waking the poller early when a log changes: watchdog's events, as a hint.

Polling finds every change by itself; an event only saves waiting for the next poll.  An event
costs more than a read, so the watch is armed while the logs are idle and dropped at the first
event.  Where the system has no events for a log (a network file system, too many watches) nothing
is lost but the hint.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class Waker:
    """Calls ``wake`` at the first change of one of ``paths`` after each :meth:`arm`.

    Arming and disarming start and end threads, so a thread of our own does it; the caller waits for
    nothing.  ``wake`` is called from other threads.
    """

    def __init__(self, paths: Sequence[str], wake: Callable[[], None]) -> None:
        self._paths = paths
        self._wake = wake
        self._wanted = threading.Event()
        self._armed = False
        self._ended = False
        self._fired = threading.Event()
        self._thread = threading.Thread(target=self._work, name="wake", daemon=True)
        self._thread.start()

    def arm(self) -> None:
        """Watch for the next change; nothing happens while one is watched for already."""
        if not self._armed:
            self._armed = True
            self._wanted.set()

    def close(self) -> None:
        """End the watch."""
        self._ended = True
        self._fired.set()
        self._wanted.set()
        self._thread.join(timeout=1)

    def _work(self) -> None:
        from watchdog.events import FileSystemEvent, FileSystemEventHandler  # noqa: PLC0415
        from watchdog.observers import Observer  # noqa: PLC0415 - a replay never needs it

        fired = self._fired

        class _Anything(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                # Our own reading is reported as well (opened, closed without writing).
                if event.event_type not in {"opened", "closed_no_write"}:
                    fired.set()

        observer: Any = Observer()
        observer.start()
        while self._wanted.wait() and not self._closed():
            self._wanted.clear()
            fired.clear()
            if self._closed():
                break
            self._watch(observer, _Anything())
            # A change between the last look and the watch brought no event: look once more.
            self._wake()
            fired.wait()
            observer.unschedule_all()
            self._armed = False
            self._wake()
        observer.stop()

    def _closed(self) -> bool:
        return self._ended

    def _watch(self, observer: Any, handler: Any) -> None:
        for path in self._paths:
            # Without the file there is nothing to watch: polling finds it when it comes.
            if Path(path).exists():
                # RuntimeError: the system has no thread or no watch left.
                with contextlib.suppress(OSError, RuntimeError):
                    observer.schedule(handler, path)
