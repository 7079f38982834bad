"""Waking the poller early when a log changes: watchdog's events, as a hint.

Polling finds every change by itself; an event only saves waiting for the next poll.  An event
costs more than a read, so the watch is armed while the logs are idle and dropped at the first
event, or when polling was first.  Where the system has no events for a log (a network file system,
too many watches) nothing is lost but the hint.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any


class Waker:
    """Calls ``wake`` at the first change of one of ``paths`` after each :meth:`arm`.

    Arming and disarming start and end threads, so a thread of our own does it; the caller waits for
    nothing.  ``wake`` is called from other threads, and so is ``report``, once at most: with a line
    that says why a log cannot be watched.
    """

    def __init__(
        self, paths: Sequence[str], wake: Callable[[], None], report: Callable[[str], None]
    ) -> None:
        self._paths = paths
        self._wake = wake
        self._report = report
        self._reported = False
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

    def disarm(self) -> None:
        """A change was found without an event: what is watched may be the log no more."""
        if self._armed:
            self._fired.set()

    def close(self) -> None:
        """End the watch."""
        self._ended = True
        self._fired.set()
        self._wanted.set()
        self._thread.join(timeout=1)

    def _work(self) -> None:
        while self._wanted.wait() and not self._closed():
            self._wanted.clear()
            self._fired.clear()
            if self._closed():
                break
            # One for each, so that a log that cannot be watched takes nothing from the others.
            watches = [self._watch(path) for path in self._paths]
            # A change between the last look and the watch brought no event: look once more.
            self._wake()
            self._fired.wait()
            for watch in watches:
                _end(watch)
            self._armed = False
            self._wake()

    def _closed(self) -> bool:
        return self._ended

    def _watch(self, path: str) -> Any:
        """An observer of the file, ``None`` where it cannot be watched."""
        path = os.path.realpath(path)
        if not os.path.exists(path):
            return None  # polling finds it when it comes
        observer = None
        try:
            observer = _observer(path, self._fired.set)
            observer.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread is left
            _end(observer)
            self._cannot(path, error)
            return None
        return observer

    def _cannot(self, path: str, error: Exception) -> None:
        if not self._reported:
            self._reported = True
            self._report(
                f"{path}: the system tells of no changes ({error}); it is looked at every second"
            )


def _observer(path: str, changed: Callable[[], None]) -> Any:
    """Something that calls ``changed`` at each change of the file once it is started."""
    from watchdog.events import FileSystemEvent, FileSystemEventHandler  # noqa: PLC0415
    from watchdog.observers import Observer  # noqa: PLC0415 - a replay never needs it

    # What it has to say (a queue of events that overflowed) concerns nobody.
    logging.getLogger("watchdog").addHandler(logging.NullHandler())

    class _Anything(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            # Our own reading is reported as well (opened, closed without writing).
            if event.event_type not in {"opened", "closed_no_write"}:
                changed()

    observer: Any = Observer()
    try:
        watch = observer.schedule(_Anything(), path)
    except BaseException:
        _end(observer)
        raise
    if hasattr(watch, "resolved_path"):
        # Later versions watch the file's directory: every line of every log there would be an
        # event, which costs more than a second's polling.
        watch.path = watch.resolved_path
    return observer


def _end(observer: Any) -> None:
    """End an observer, started or not."""
    if observer is not None:
        observer.stop()
        with contextlib.suppress(RuntimeError):
            observer.join()
